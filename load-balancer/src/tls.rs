//! TLS on both sides: what clients and operators are shown (`server`), what backends are asked for (`client`), and the one
//! type of stream that both make (`stream`).
//!
//! rustls with ring alone: TLS 1.2 and 1.3, no renegotiation, no compression, no early data. What files say is read and tried
//! before it is put in force: a [`Server`] or [`Client`] that exists works, and is replaced whole. How it fails: files that
//! cannot be used are a [`Fault`] that names the file; a handshake is a [`Failed`] with its reason from a closed set.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

mod accept;
pub mod client;
mod expiry;
mod files;
mod made;
mod names;
pub mod server;
mod stream;

pub use accept::{Failed, RESULTS, accept};
pub use client::Client;
pub use made::Made;
pub use server::Server;
pub use stream::Stream;

use crate::seen::Stamp;

/// HTTP/1.1's name in ALPN.
const HTTP1: &[u8] = b"http/1.1";
/// HTTP/2's.
pub const HTTP2: &[u8] = b"h2";

/// The oldest version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// TLS 1.2 and 1.3.
    V12,
    /// TLS 1.3 alone.
    V13,
}

impl Version {
    fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        match self {
            Version::V12 => &BOTH,
            Version::V13 => &BOTH[..1],
        }
    }
}

/// A certificate with its intermediates, and the key that belongs to it: two files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate first, then whoever vouches for it.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which.
    pub file: PathBuf,
    /// Why, and what would help.
    pub why: String,
}

impl Fault {
    fn new(file: &Path, why: impl Into<String>) -> Self {
        Fault { file: file.to_owned(), why: why.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.as_os_str().is_empty() {
            return f.write_str(&self.why);
        }
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

/// Where certificates are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Towards clients.
    Traffic,
    /// Towards operators.
    Admin,
    /// Towards backends.
    Backends,
}

impl Place {
    /// All of them.
    pub const ALL: [Place; 3] = [Place::Traffic, Place::Admin, Place::Backends];

    /// The value of the label `place`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Place::Traffic => "traffic",
            Place::Admin => "admin",
            Place::Backends => "backends",
        }
    }
}

/// What is in force now, everywhere: replaced whole when files change.
#[derive(Debug, Clone, Default)]
pub struct Certified {
    /// Towards clients; `None` where TLS is off.
    pub traffic: Option<Arc<Server>>,
    /// Towards operators.
    pub admin: Option<Arc<Server>>,
    /// Towards backends.
    pub backends: Option<Arc<Client>>,
}

/// A replacement for one place.
#[derive(Debug, Clone)]
pub enum Renewed {
    /// For a listener.
    Server(Arc<Server>),
    /// For connections to backends.
    Client(Arc<Client>),
}

impl Renewed {
    /// The files it was made from, as they were then.
    #[must_use]
    pub fn files(&self) -> &[(PathBuf, Option<Stamp>)] {
        match self {
            Renewed::Server(server) => server.files(),
            Renewed::Client(client) => client.files(),
        }
    }

    /// When the certificates end, in seconds since the Unix epoch, each with its file.
    #[must_use]
    pub fn ends(&self) -> &[(PathBuf, u64)] {
        match self {
            Renewed::Server(server) => server.ends(),
            Renewed::Client(client) => client.ends(),
        }
    }

    /// Reads the same files again.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn again(&self) -> Result<Renewed, Fault> {
        match self {
            Renewed::Server(server) => server.again().map(Arc::new).map(Renewed::Server),
            Renewed::Client(client) => client.again().map(Arc::new).map(Renewed::Client),
        }
    }
}

impl Certified {
    /// What is in force at `place`.
    #[must_use]
    pub fn at(&self, place: Place) -> Option<Renewed> {
        match place {
            Place::Traffic => self.traffic.clone().map(Renewed::Server),
            Place::Admin => self.admin.clone().map(Renewed::Server),
            Place::Backends => self.backends.clone().map(Renewed::Client),
        }
    }

    /// Puts `renewed` in force at `place`.
    pub fn put(&mut self, place: Place, renewed: Renewed) {
        match (place, renewed) {
            (Place::Traffic, Renewed::Server(server)) => self.traffic = Some(server),
            (Place::Admin, Renewed::Server(server)) => self.admin = Some(server),
            (Place::Backends, Renewed::Client(client)) => self.backends = Some(client),
            // Whoever reads files again reads what was there.
            _ => {}
        }
    }
}

/// The one set of primitives.
fn provider() -> Arc<CryptoProvider> {
    static RING: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(&RING)
}

#[cfg(test)]
mod tests;
