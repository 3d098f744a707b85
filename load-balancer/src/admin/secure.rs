//! Operators' connections, by TLS where `[tls.admin]` has certificates.
//!
//! Handshakes go on beside each other, each within `timeouts.tls_handshake`: accepting waits for none. A failure closes the
//! connection and is counted.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::observe::Metrics;
use crate::registry::Registry;
use crate::tls::{self, Place, Stream};

/// The admin listener's socket.
pub struct Door {
    listener: TcpListener,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    shaken: (mpsc::UnboundedSender<(Stream, SocketAddr)>, mpsc::UnboundedReceiver<(Stream, SocketAddr)>),
}

impl Door {
    /// Whoever comes to `listener` is spoken with as the snapshot says.
    #[must_use]
    pub fn new(listener: TcpListener, registry: Arc<Registry>, metrics: Arc<Metrics>) -> Self {
        Door { listener, registry, metrics, shaken: mpsc::unbounded_channel() }
    }
}

impl Listener for Door {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            let (stream, peer) = tokio::select! {
                Some(ready) = self.shaken.1.recv() => return ready,
                accepted = Listener::accept(&mut self.listener) => accepted,
            };
            let (registry, metrics, done) =
                (Arc::clone(&self.registry), Arc::clone(&self.metrics), self.shaken.0.clone());
            tokio::spawn(async move {
                if let Some(stream) = secured(&registry, &metrics, stream, peer).await {
                    // Without a listener nobody answers.
                    let _ = done.send((stream, peer));
                }
            });
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The stream to speak HTTP on; `None` where there is no handshake.
async fn secured(
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
