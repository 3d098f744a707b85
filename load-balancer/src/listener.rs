//! Client connections: accepted under a permit, admitted (`admit`), driven to their end, drained when told.
//!
//! Fails by refusing service, never by growing: without a permit a worker accepts one more connection at most and the rest
//! wait in the kernel's queue; when descriptors run out accepting pauses instead of spinning. Who is one too many of its network
//! is closed.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::sparse::Sparse;
use crate::stage::Stage;
use crate::worker::Worker;

mod admit;
mod bind;
mod client;
mod drive;
mod gate;
mod http1;
mod http2;
mod io;
mod secure;
mod sniff;

pub use admit::Networks;
pub(crate) use admit::REFUSALS;
pub use bind::{Doors, bind, spread};
pub use client::{Client, Elapsed, Phase, Place, Tunnel};
pub use gate::{Fault, Gate, Passed, forbidden_trailer, framing_in_disguise};
pub use http2::{Calm, Flood, Frame, FrameKind, Frames};
pub use secure::Secure;

/// Pause after a failed accept (out of descriptors, mostly): long enough not to spin, short enough to recover unseen.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Beyond `timeouts.drain_tunnel`, for tunnels that end in that moment.
const LAST_TUNNELS: Duration = Duration::from_millis(500);

/// Serves until draining begins and every client is gone or the drain deadline has passed. Where another process accepts on
/// the same sockets from some moment on, clients have until the drain to move there.
pub async fn serve(worker: &Rc<Worker>, sockets: Vec<std::net::TcpListener>) {
    let (mut draining, mut leaving) = (worker.shared.stage.clone(), worker.shared.stage.clone());
    let listener = match Doors::new(sockets) {
        Ok(doors) => doors,
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
            _ = draining.wait_for(|&stage| stage >= Stage::HandedOver) => break,
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
    let handed_over = *draining.borrow() == Stage::HandedOver;
    // Whoever was accepted before the order came is served, not reset. Who still waits is the successor's, where there is one.
    loop {
        let arrived = match waiting.take() {
            Some(arrived) => Some(arrived),
            None if handed_over => break,
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
    if handed_over {
        worker.stage.set(Stage::HandedOver);
        worker.clients.borrow().values().for_each(|client| client.wake());
        tokio::select! {
            _ = gone.recv() => return,
            _ = draining.wait_for(|&stage| stage == Stage::Draining) => {}
        }
    }
    worker.stage.set(Stage::Draining);
    worker.clients.borrow().values().for_each(|client| client.wake());
    drain(worker, &mut gone).await;
}

/// Waits until all clients have gone, as long as requests and then tunnels may take.
async fn drain(worker: &Worker, gone: &mut tokio::sync::mpsc::Receiver<()>) {
    let (requests, tunnels) = {
        let timeouts = &worker.config().timeouts;
        (timeouts.drain, timeouts.drain_tunnel)
    };
    if tokio::time::timeout(requests, gone.recv()).await.is_ok() {
        return;
    }
    worker.overdue.set(true);
    let cut = worker.clients.borrow().values().filter(|client| client.end_request()).count();
    if cut > 0 {
        tracing::warn!(cut, "drain deadline passed: remaining requests are cut");
    }
    // Tunnels end by themselves at their deadline; the time beyond it is for those that do so in this moment.
    let rest = tunnels.saturating_sub(requests) + LAST_TUNNELS;
    if tokio::time::timeout(rest, gone.recv()).await.is_err() {
        tracing::warn!(left = worker.clients.borrow().len(), "remaining connections are cut");
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
    let task = Rc::<OnceCell<AbortHandle>>::default();
    let own = Rc::clone(&task);
    let driven = tokio::task::spawn_local(async move {
        // Small answers must not wait for Nagle's timer; a socket that refuses is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let Some(origin) = admit::introduce(&worker, &mut stream, arrival).await else { return };
        let client = Rc::new(Client::new(&origin, &worker));
        client.task.replace(own.get().cloned());
        let _open = Open::new(&worker, id, &client);
        // Shaken hands within the task: nobody who connects waits for another's handshake.
        if let Some(stream) = secure::secured(&worker, &client, stream).await {
            drive::drive(&worker, &client, stream).await;
        }
        drop((guards, origin));
    });
    // Nothing of it has run yet.
    let _ = task.set(driven.abort_handle());
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
