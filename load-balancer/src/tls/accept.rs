//! A handshake with whoever has just connected, and why it came to nothing.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::{Error, ProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{Place, Server, Stream};
use crate::observe::Metrics;

/// The first byte of a TLS connection: a record of the handshake.
const HANDSHAKE: u8 = 0x16;

/// Every value of the label `result` of handshakes.
pub const RESULTS: [&str; 8] =
    ["ok", "plaintext", "timeout", "closed", "incompatible", "client_certificate", "refused", "protocol"];

/// A handshake that came to nothing.
#[derive(Debug)]
pub struct Failed {
    /// One of [`RESULTS`].
    pub result: &'static str,
    /// What was wrong.
    pub detail: String,
    /// The connection, where the other side does not speak TLS and could be told so.
    pub plain: Option<TcpStream>,
}

impl Failed {
    fn new(result: &'static str, detail: impl Into<String>) -> Self {
        Failed { result, detail: detail.into(), plain: None }
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let result = match inner {
            Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => "incompatible",
            Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)) => "client_certificate",
            Some(Error::AlertReceived(_)) => "refused",
            Some(_) => "protocol",
            None if error.kind() == ErrorKind::InvalidData => "protocol",
            None => "closed",
        };
        Failed::new(result, error.to_string())
    }
}

/// Shakes hands with `peer` within `limit`, and counts what came of it at `place`.
///
/// # Errors
/// Why it came to nothing. The connection is closed then, unless it is handed back.
pub async fn accept(
    (place, metrics): (Place, &Metrics),
    server: &Server,
    (stream, peer): (TcpStream, SocketAddr),
    limit: Duration,
) -> Result<Stream, Failed> {
    let shaken = shake(server, stream, limit).await;
    let (version, result) = match &shaken {
        Ok((_, version)) => (*version, "ok"),
        Err(failed) => ("none", failed.result),
    };
    metrics.tls_handshakes.with_label_values(&[place.name(), version, result]).inc();
    if let Err(Failed { result, detail, .. }) = &shaken {
        tracing::debug!(%peer, place = place.name(), result, detail, "no TLS handshake");
    }
    shaken.map(|(stream, _)| stream)
}

/// The stream, and the label of its version.
async fn shake(
    server: &Server,
    stream: TcpStream,
    limit: Duration,
) -> Result<(Stream, &'static str), Failed> {
    let shaking = async {
        // Looked at before rustls takes it: who speaks HTTP here can be answered in words, not by an alert.
        let mut first = [0];
        match stream.peek(&mut first).await? {
            0 => return Err(Failed::new("closed", "nothing was said")),
            _ if first[0] != HANDSHAKE => {
                let detail = "what came is no TLS".to_owned();
                return Err(Failed { result: "plaintext", detail, plain: Some(stream) });
            }
            _ => {}
        }
        Ok(TlsAcceptor::from(server.config()).accept(stream).await?)
    };
    match tokio::time::timeout(limit, shaking).await {
        Err(_) => Err(Failed::new("timeout", format!("no handshake within {limit:?}"))),
        Ok(Err(failed)) => Err(failed),
        Ok(Ok(shaken)) => {
            let version = match shaken.get_ref().1.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "1.2",
                _ => "1.3",
            };
            Ok((Stream::Tls(Box::new(shaken.into())), version))
        }
    }
}
