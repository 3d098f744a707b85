//! A connection to a backend for the balancer's own questions, made as those of requests are: the same address, the same
//! TLS, the same belief, the same version of HTTP.
//!
//! Whoever asks bounds the time. Every failure is one line of text; dropping a line closes it.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response, header};
use tokio::task::JoinHandle;

use crate::config::{Address, Pool, Spoken};
use crate::forward::{Local, Unreached, connect};
use crate::proxy_protocol;
use crate::registry::Backend;
use crate::socket::Socket;
use crate::tls::Client;

/// Bytes that a backend may send over HTTP/2 before they are asked for: an answer that is too long is not kept (RFC 9113's
/// own, 6.9.2).
const WINDOW: u32 = 65_535;

/// Whom to ask.
pub(super) struct Target {
    address: Address,
    secure: Option<String>,
    tls: Option<Arc<Client>>,
    spoken: Spoken,
    host: String,
    /// What a connection begins with: where backends are told whose it is, that it is nobody's.
    hello: Vec<u8>,
}

impl Target {
    /// The backend itself, as requests of `pool` ask it; `tls` is what TLS is spoken by.
    pub(super) fn of(backend: &Backend, tls: Option<&Arc<Client>>, pool: &Pool) -> Self {
        let (address, secure) = (backend.address.clone(), backend.secure.clone());
        let named = secure.as_ref().filter(|name| **name != address.host());
        let host = named.map_or_else(|| address.to_string(), |name| format!("{name}:{}", address.port()));
        let hello = pool.proxy_protocol.map(|version| proxy_protocol::header(version, None));
        Target {
            address,
            secure,
            tls: tls.cloned(),
            spoken: pool.protocol,
            host,
            hello: hello.unwrap_or_default(),
        }
    }

    /// Another server on its host, which is spoken with in clear, over HTTP/1.1.
    pub(super) fn beside(backend: &Backend, port: u16) -> Self {
        let address = match &backend.address {
            Address::Ip(address) => Address::Ip((address.ip(), port).into()),
            Address::Name(name, _) => Address::Name(name.clone(), port),
        };
        let host = address.to_string();
        Target { address, secure: None, tls: None, spoken: Spoken::Http1, host, hello: Vec::new() }
    }

    /// The beginning of a request for `path`: over HTTP/2 the target says whom it is for (RFC 9113, 8.3.1).
    pub(super) fn request(&self, method: Method, path: &str) -> Builder {
        let request = Request::builder().method(method);
        match self.spoken {
            Spoken::Http1 => request.uri(path).header(header::HOST, &self.host),
            Spoken::Http2 => {
                let scheme = if self.secure.is_some() { "https" } else { "http" };
                request.uri(format!("{scheme}://{}{path}", self.host))
            }
        }
    }
}

/// An open connection.
pub(super) struct Line {
    sender: Sender,
    driving: JoinHandle<()>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Line {
    pub(super) async fn open(to: &Target) -> Result<Line, Unreached> {
        let http2 = to.spoken == Spoken::Http2;
        let stream = connect(&to.address, &to.hello, to.secure.as_deref(), to.tls.as_deref(), http2).await?;
        let (stream, unfit) =
            (Socket::new(stream), |error| Unreached::Tcp(std::io::Error::other(told(&error))));
        if !http2 {
            let (sender, connection) = http1::handshake(stream).await.map_err(unfit)?;
            return Ok(Line::driven(Sender::Http1(sender), connection));
        }
        let mut builder = http2::Builder::new(Local);
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (sender, connection) = builder.handshake(stream).await.map_err(unfit)?;
        Ok(Line::driven(Sender::Http2(sender), connection))
    }

    fn driven(sender: Sender, connection: impl Future<Output = hyper::Result<()>> + 'static) -> Line {
        let driving = tokio::task::spawn_local(async move {
            // An error is told to whoever waits for the answer.
            let _ = connection.await;
        });
        Line { sender, driving }
    }

    /// Asks for `path` and waits for the answer's head.
    pub(super) async fn get(
        &mut self,
        to: &Target,
        path: &str,
        accept: &str,
    ) -> Result<Response<Incoming>, String> {
        let request = to.request(Method::GET, path).header(header::ACCEPT, accept).body(Full::default());
        self.send(request.map_err(|error| format!("{path}: {error}"))?).await
    }

    /// Sends a request that [`Target::request`] began, and waits for the answer's head.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
        let answer = match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await.map_err(|error| told(&error))?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await.map_err(|error| told(&error))?;
                sender.send_request(request).await
            }
        };
        answer.map_err(|error| told(&error))
    }

    /// Whether the other side has not closed it yet, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// What is wrong with a connection. What is no HTTP/2 at all is said to be that, before which rule it breaks.
fn told(error: &hyper::Error) -> String {
    let source = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    match source {
        Some(h2) if h2.is_go_away() && h2.is_library() => {
            format!("what it says is no HTTP/2: {}", innermost(error))
        }
        _ => innermost(error),
    }
}

/// The innermost cause: "Connection refused" says more than "error sending request".
pub(crate) fn innermost(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
