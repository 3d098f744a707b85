//! Client connections: accepted under a permit, admitted ([`admit`]), driven to their end, drained when told.
//!
//! Fails by refusing service, never by growing: without a permit a worker accepts one more connection at most and the rest
//! wait in the kernel's queue; when descriptors run out accepting pauses instead of spinning. Who is one too many of its network
//! is closed.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

use crate::sparse::Sparse;
use crate::stage::Stage;
use crate::worker::Worker;

mod admit;
mod client;
mod drive;
mod gate;
mod io;

pub use admit::Networks;
pub(crate) use admit::REFUSALS;
pub use client::{Client, Elapsed, Phase, Place, Tunnel};
pub use gate::{Fault, Gate, Passed};

/// Connections the kernel may hold before they are accepted.
const BACKLOG: i32 = 1_024;
/// Pause after a failed accept (out of descriptors, mostly): long enough not to spin, short enough to recover unseen.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Opens one listening socket per worker on the same address; port 0 takes a free one for all.
///
/// # Errors
/// Where the address is taken or not ours. A plain bind comes first, because SO_REUSEPORT would silently share the port
/// with another balancer.
pub fn bind(
    address: SocketAddr,
    workers: usize,
) -> std::io::Result<(SocketAddr, Vec<std::net::TcpListener>)> {
    let claim = socket(address, false)?;
    let address = claim.local_addr()?;
    drop(claim);
    let sockets: std::io::Result<Vec<_>> = (0..workers).map(|_| socket(address, true)).collect();
    Ok((address, sockets?))
}

fn socket(address: SocketAddr, share: bool) -> std::io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves until draining begins and every client is gone or the drain deadline has passed.
pub async fn serve(worker: &Rc<Worker>, socket: std::net::TcpListener) {
    let (mut draining, mut leaving) = (worker.shared.stage.clone(), worker.shared.stage.clone());
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the listening socket cannot be used"),
    };
    let mut next = 0;
    let (alive, mut gone) = tokio::sync::mpsc::channel::<()>(1);
    let mut serve = |stream, arrival, permit| {
        next += 1;
        start(worker, next, stream, arrival, (permit, alive.clone()));
    };
    let failing = Sparse::default();
    // The permit comes second: workers that wait for clients must not hold what another worker's client needs.
    let permits = &worker.shared.connections;
    let mut waiting = None;
    loop {
        tokio::select! {
            biased;
            _ = draining.wait_for(|&stage| stage == Stage::Draining) => break,
            _ = leaving.wait_for(|&stage| stage == Stage::Leaving), if worker.stage.get() == Stage::Serving => {
                worker.stage.set(Stage::Leaving);
            }
            permit = Arc::clone(permits).acquire_owned(), if waiting.is_some() => {
                if let (Ok(permit), Some((stream, arrival))) = (permit, waiting.take()) {
                    serve(stream, arrival, permit);
                }
            }
            accepted = listener.accept(), if waiting.is_none() => match accepted {
                Ok((stream, peer)) => {
                    waiting = admit::arrive(worker, &stream, peer).map(|arrival| (stream, arrival));
                }
                Err(error) => {
                    worker.meters.accept_failures.inc();
                    worker.drop_idle();
                    if let Some(untold) = failing.due(worker.now()) {
                        tracing::warn!(%error, untold, "accepting connections pauses");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Whoever was accepted before the order came is served, not reset.
    loop {
        let arrived = match waiting.take() {
            Some(arrived) => Some(arrived),
            None => match tokio::time::timeout(Duration::ZERO, listener.accept()).await {
                Ok(Ok((stream, peer))) => {
                    admit::arrive(worker, &stream, peer).map(|arrival| (stream, arrival))
                }
                _ => break,
            },
        };
        if let (Some((stream, arrival)), Ok(permit)) = (arrived, Arc::clone(permits).try_acquire_owned()) {
            serve(stream, arrival, permit);
        }
    }
    drop((listener, alive));
    worker.stage.set(Stage::Draining);
    worker.clients.borrow().values().for_each(|client| client.wake());
    if tokio::time::timeout(worker.config().timeouts.drain, gone.recv()).await.is_err() {
        tracing::warn!(
            left = worker.clients.borrow().len(),
            "drain deadline passed: remaining connections are cut"
        );
    }
}

fn start<G: 'static>(
    worker: &Rc<Worker>,
    id: u64,
    mut stream: tokio::net::TcpStream,
    arrival: admit::Arrival,
    guards: G,
) {
    worker.meters.accepted.inc();
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        // Small answers must not wait for Nagle's timer; a socket that refuses is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let Some(origin) = admit::introduce(&worker, &mut stream, arrival).await else { return };
        let client = Rc::new(Client::new(&origin, &worker));
        let _open = Open::new(&worker, id, &client);
        drive::drive(&worker, &client, stream).await;
        drop((guards, origin));
    });
}

/// A connection being counted: out again however it ends, a panic included.
struct Open {
    worker: Rc<Worker>,
    id: u64,
}

impl Open {
    fn new(worker: &Rc<Worker>, id: u64, client: &Rc<Client>) -> Self {
        worker.meters.connections.add(1);
        worker.clients.borrow_mut().insert(id, Rc::clone(client));
        Open { worker: Rc::clone(worker), id }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.worker.clients.borrow_mut().remove(&self.id);
        self.worker.meters.connections.add(-1);
    }
}
