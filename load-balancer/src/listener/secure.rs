//! TLS with clients: which connections, by what is in force at that moment, and what became of each handshake.
//!
//! A handshake takes `timeouts.tls_handshake` at most, in the connection's own task and under its permit. Whoever speaks HTTP
//! where TLS is spoken is told so in HTTP; every other failure closes the connection and is counted.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;

use super::client::{Client, Phase};
use super::drive;
use crate::error::{Kind, ProxyError};
use crate::http::refusal;
use crate::tls::{self, Place, Stream};
use crate::worker::Worker;

/// Which connections are spoken with by TLS.
#[derive(Debug, Clone, Copy)]
pub enum Secure {
    /// None.
    Nowhere,
    /// All.
    Everywhere,
    /// Those to this address.
    At(SocketAddr),
}

impl Secure {
    fn includes(self, stream: &TcpStream) -> bool {
        match self {
            Secure::Nowhere => false,
            Secure::Everywhere => true,
            // One that is gone already has no address: whatever it was, it fails at its first read.
            Secure::At(listening) => stream.local_addr().is_ok_and(|local| at(listening, local)),
        }
    }
}

/// Whether who connected to `local` connected to `listening`.
fn at(listening: SocketAddr, local: SocketAddr) -> bool {
    let any = listening.ip().is_unspecified();
    listening.port() == local.port() && (any || listening.ip().to_canonical() == local.ip().to_canonical())
}

/// The stream to speak HTTP on; `None` where there is no handshake.
pub(super) async fn secured(worker: &Rc<Worker>, client: &Rc<Client>, stream: TcpStream) -> Option<Stream> {
    if !worker.shared.secure.includes(&stream) {
        return Some(Stream::Plain(stream));
    }
    let metrics = &*worker.shared.metrics;
    let limit = worker.config().timeouts.tls_handshake;
    let server = worker.scene().snapshot.certified.traffic.clone()?;
    // Boxed, so that the connection's task keeps no room for a handshake.
    match Box::pin(tls::accept((Place::Traffic, metrics), &server, (stream, client.peer), limit)).await {
        Ok(stream) => {
            client.secure.set(true);
            let deadline = worker.now().after(worker.config().timeouts.request_head);
            client.enter(Phase::Head, Some(deadline));
            Some(stream)
        }
        Err(failed) => {
            if let Some(plain) = failed.plain {
                let error = ProxyError::new(Kind::BadRequest, "TLS is spoken here: ask for https://");
                // What the socket takes at once: the answer is its first.
                let _ = plain.try_write(&refusal::on_the_wire(worker, &error));
                Box::pin(drive::linger(Stream::Plain(plain))).await;
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_told_apart_by_where_they_came_to() {
        let at = |listening: &str, local: &str| at(listening.parse().unwrap(), local.parse().unwrap());
        assert!(at("0.0.0.0:443", "10.0.0.7:443") && at("[::]:443", "[::ffff:10.0.0.7]:443"));
        assert!(at("10.0.0.7:443", "[::ffff:10.0.0.7]:443"));
        assert!(!at("0.0.0.0:443", "10.0.0.7:80") && !at("10.0.0.8:443", "10.0.0.7:443"));
    }
}
