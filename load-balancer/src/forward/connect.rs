//! How a backend is reached: a TCP connection, and TLS over it where that is spoken.

use std::fmt;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::config::Address;
use crate::descriptors;
use crate::error::Kind;
use crate::tls::{Client, Stream};

/// Why a backend was not reached.
#[derive(Debug)]
pub enum Unreached {
    /// No connection.
    Tcp(std::io::Error),
    /// A connection, and then no handshake, or a certificate that is not believed.
    Tls(std::io::Error),
}

impl Unreached {
    /// Whether only this process's want of file descriptors stood in the way.
    #[must_use]
    pub fn starved(&self) -> bool {
        matches!(self, Unreached::Tcp(error) if descriptors::exhausted(error))
    }

    /// The result as the metrics know it, and the row of the table of errors.
    #[must_use]
    pub fn told(&self) -> (&'static str, Kind) {
        match self {
            Unreached::Tcp(_) => ("refused", Kind::UpstreamConnect),
            Unreached::Tls(_) => ("tls", Kind::UpstreamTls),
        }
    }
}

/// A connection on which HTTP could not be begun.
impl From<hyper::Error> for Unreached {
    fn from(error: hyper::Error) -> Self {
        Unreached::Tcp(std::io::Error::other(error))
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreached::Tcp(error) | Unreached::Tls(error) => error.fmt(f),
        }
    }
}

/// Connects and says `hello`, a header of the PROXY protocol or nothing; the caller bounds the time. Where the other side's certificate has to name `secure`, nothing is said in clear,
/// and with `http2` it has to agree to HTTP/2 by ALPN.
///
/// # Errors
/// What stood in the way.
pub async fn connect(
    address: &Address,
    hello: &[u8],
    secure: Option<&str>,
    tls: Option<&Client>,
    http2: bool,
) -> Result<Stream, Unreached> {
    let stream = match address {
        Address::Ip(address) => TcpStream::connect(address).await,
        Address::Name(host, port) => TcpStream::connect((host.as_str(), *port)).await,
    };
    let mut stream = stream.map_err(Unreached::Tcp)?;
    stream.set_nodelay(true).map_err(Unreached::Tcp)?;
    stream.write_all(hello).await.map_err(Unreached::Tcp)?;
    let Some(name) = secure else { return Ok(Stream::Plain(stream)) };
    let Some(tls) = tls else {
        return Err(Unreached::Tls(std::io::Error::other("nobody is believed: see [pool.tls]")));
    };
    tls.connect(name, stream, http2).await.map_err(Unreached::Tls)
}
