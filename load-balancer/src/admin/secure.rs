//! Operators' connections, by TLS where `[tls.admin]` has certificates.
//!
//! A handshake goes on in the connection's own task, within `timeouts.tls_handshake`. A failure closes the connection and is
//! counted.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use crate::observe::Metrics;
use crate::registry::Registry;
use crate::tls::{self, Place, Stream};

/// The stream to speak HTTP on; `None` where there is no handshake.
pub(super) async fn secured(
    registry: &Registry,
    metrics: &Metrics,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Stream> {
    let snapshot = registry.load();
    let Some(server) = snapshot.certified.admin.clone() else { return Some(Stream::Plain(stream)) };
    match tls::accept(&server, stream, snapshot.config.timeouts.tls_handshake).await {
        Ok((stream, version)) => {
            metrics.handshake(Place::Admin.name(), version, "ok");
            Some(stream)
        }
        Err(failed) => {
            metrics.handshake(Place::Admin.name(), "none", failed.result);
            let (result, detail) = (failed.result, failed.detail);
            tracing::debug!(%peer, result, detail, "no TLS handshake with an operator");
            None
        }
    }
}
