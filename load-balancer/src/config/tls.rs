//! TLS as the configuration has it: what listeners show, what backends are asked for. The files have been read and tried.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Address;
use crate::tls;

/// Towards clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// Where TLS is spoken beside `listen.traffic`; `None` where it is spoken there.
    pub beside: Option<SocketAddr>,
    /// What is shown and asked for.
    pub server: Arc<tls::Server>,
}

/// Towards backends.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Upstream {
    /// Whether TLS is spoken with those of whom nothing else is said.
    pub enabled: bool,
    /// What their certificates must name; `None` is the host of their address.
    pub server_name: Option<String>,
    /// Whom to believe and what to show; `None` where no backend is spoken TLS with.
    pub client: Option<Arc<tls::Client>>,
}

impl super::Pool {
    /// What the certificate of the backend called `name` must name; `None` where it is spoken with in clear.
    #[must_use]
    pub fn secures(&self, name: &str, address: &Address) -> Option<String> {
        let configured = self.backends.iter().find(|b| b.name == name && b.address.as_ref() == Some(address));
        if !configured.and_then(|b| b.tls).unwrap_or(self.tls.enabled) {
            return None;
        }
        let own = configured.and_then(|b| b.server_name.clone()).or_else(|| self.tls.server_name.clone());
        Some(own.unwrap_or_else(|| address.host()))
    }
}
