//! Between accept and the first byte of HTTP: whether a connection may stay, and whose it is.
//!
//! Who is one too many of its network is closed at once, for the price of the accept. A peer in `proxy_protocol.from` must say
//! first for whom it speaks; from everybody else such a header is never read. What is refused here is counted by reason and
//! told every few seconds: it comes in floods.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::proxy_protocol::{self, Ends};
use crate::worker::Worker;

mod networks;

pub use networks::Networks;
use networks::Place;

/// Bytes of a header looked at together: nearly all headers are shorter.
const PIECE: usize = 512;

/// Why a connection was refused: values of the metric label `reason`.
pub(crate) const REFUSALS: [&str; 3] = [NETWORK, HEADER, SILENT];
const NETWORK: &str = "network";
const HEADER: &str = "proxy_header";
const SILENT: &str = "proxy_timeout";

/// A connection that was accepted.
pub(super) struct Arrival {
    peer: SocketAddr,
    /// It must say first for whom it speaks.
    speaks: bool,
    /// Its place among the connections of its network, where those are counted.
    place: Option<Place>,
}

/// Whose a connection is.
pub(super) struct Origin {
    /// The client: the peer, or whom it speaks for.
    pub(super) client: SocketAddr,
    /// What the client connected to, where somebody wants to know.
    pub(super) server: Option<SocketAddr>,
    /// It came through a proxy that said so, for whoever it was.
    pub(super) relayed: bool,
    /// The address is the client's, and not that of a proxy that does not say whose connection it is.
    pub(super) named: bool,
    _place: Option<Place>,
}

/// Takes in who has connected; `None` where it is one too many.
pub(super) fn arrive(worker: &Worker, stream: &TcpStream, peer: SocketAddr) -> Option<Arrival> {
    // The latest: connections may come while no requests do.
    let scene = worker.scene();
    let ip = peer.ip().to_canonical();
    let speaks = scene.snapshot.config.proxy_protocol.from.iter().any(|net| net.contains(&ip));
    if speaks {
        return Some(Arrival { peer, speaks, place: None });
    }
    match place(worker, peer) {
        Ok(place) => Some(Arrival { peer, speaks, place }),
        Err(Full) => {
            // A reset leaves nothing behind, neither here nor in the kernel; a farewell would stay there for a minute.
            let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
            refuse(worker, peer, NETWORK, "limits.connections_per_network is reached");
            None
        }
    }
}

/// Finds out whose the connection is; `None` where it does not say so as it must.
pub(super) async fn introduce(
    worker: &Rc<Worker>,
    stream: &mut TcpStream,
    arrival: Arrival,
) -> Option<Origin> {
    let Arrival { peer, speaks, place: taken } = arrival;
    if !speaks {
        let server = server(worker, stream);
        return Some(Origin { client: peer, server, relayed: false, named: true, _place: taken });
    }
    let limit = worker.config().proxy_protocol.timeout;
    let ends = match tokio::time::timeout(limit, header(stream)).await {
        Ok(Ok(ends)) => ends,
        Ok(Err(error)) => {
            refuse(worker, peer, HEADER, &error.to_string());
            return None;
        }
        Err(_elapsed) => {
            refuse(worker, peer, SILENT, "no header within proxy_protocol.timeout");
            return None;
        }
    };
    let Some(Ends { client, server }) = ends else {
        return Some(Origin { client: peer, server: None, relayed: true, named: false, _place: None });
    };
    match place(worker, client) {
        Ok(place) => Some(Origin { client, server: Some(server), relayed: true, named: true, _place: place }),
        Err(Full) => {
            refuse(worker, client, NETWORK, "limits.connections_per_network is reached");
            None
        }
    }
}

/// What a client connected to, where backends are told.
fn server(worker: &Worker, stream: &TcpStream) -> Option<SocketAddr> {
    worker.config().pool.proxy_protocol.and_then(|_| stream.local_addr().ok())
}

/// Its network has as many connections as it may.
struct Full;

/// A place for `client`; `None` where its connections are not counted.
fn place(worker: &Worker, client: SocketAddr) -> Result<Option<Place>, Full> {
    let (config, ip) = (worker.config(), client.ip().to_canonical());
    let Some(most) = config.limits.connections_per_network else { return Ok(None) };
    // Many clients share a trusted proxy's connections.
    if config.client.trusted_proxies.iter().any(|net| net.contains(&ip)) {
        return Ok(None);
    }
    let network = config.limits.networks.of(ip);
    worker.shared.networks.enter(network, most).map(Some).ok_or(Full)
}

/// Reads the header in front of the connection's own bytes, and none of those.
async fn header(stream: &mut TcpStream) -> std::io::Result<Option<Ends>> {
    let wrong =
        |fault: proxy_protocol::Malformed| std::io::Error::new(std::io::ErrorKind::InvalidData, fault);
    let mut bytes = Vec::with_capacity(256);
    // Not on the stack: it would be the task's for as long as the connection lives.
    let mut seen = vec![0; PIECE];
    loop {
        let new = stream.peek(&mut seen).await?;
        if new == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let had = bytes.len();
        bytes.extend_from_slice(&seen[..new]);
        let parsed = proxy_protocol::parse(&bytes).map_err(wrong)?;
        // What is not of the header stays; what is must go, or it would be seen again for ever.
        let take = parsed.map_or(new, |header| header.len - had);
        stream.read_exact(&mut seen[..take]).await?;
        if let Some(header) = parsed {
            return Ok(header.ends);
        }
    }
}

fn refuse(worker: &Worker, peer: SocketAddr, reason: &'static str, why: &str) {
    worker.meters.refused(reason);
    if let Some(untold) = worker.refusals.due(worker.now()) {
        tracing::warn!(%peer, reason, why, untold, "a connection is refused");
    }
}
