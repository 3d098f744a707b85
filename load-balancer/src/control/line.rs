//! A connection to a backend for the balancer's own questions, made as those of requests are: the same address, the same
//! TLS, the same belief. What it says in between is HTTP/1.1 by hyper.
//!
//! Whoever asks bounds the time. Every failure is one line of text; dropping a line closes it.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, header};
use tokio::task::JoinHandle;

use crate::config::Address;
use crate::forward::{Unreached, connect};
use crate::proxy_protocol::{self, Version};
use crate::registry::Backend;
use crate::socket::Socket;
use crate::tls::Client;

/// Whom to ask.
pub(super) struct Target {
    address: Address,
    secure: Option<String>,
    tls: Option<Arc<Client>>,
    host: String,
    /// What a connection begins with: where backends are told whose it is, that it is nobody's.
    hello: Vec<u8>,
}

impl Target {
    /// The backend itself; `tls` is what TLS is spoken by, `proxied` how backends are told of clients.
    pub(super) fn of(backend: &Backend, tls: Option<&Arc<Client>>, proxied: Option<Version>) -> Self {
        let (address, secure) = (backend.address.clone(), backend.secure.clone());
        let named = secure.as_ref().filter(|name| **name != address.host());
        let host = named.map_or_else(|| address.to_string(), |name| format!("{name}:{}", address.port()));
        let hello = proxied.map(|version| proxy_protocol::header(version, None)).unwrap_or_default();
        Target { address, secure, tls: tls.cloned(), host, hello }
    }

    /// Another server on its host, which is spoken with in clear.
    pub(super) fn beside(backend: &Backend, port: u16) -> Self {
        let address = match &backend.address {
            Address::Ip(address) => Address::Ip((address.ip(), port).into()),
            Address::Name(name, _) => Address::Name(name.clone(), port),
        };
        let host = address.to_string();
        Target { address, secure: None, tls: None, host, hello: Vec::new() }
    }
}

/// An open connection.
pub(super) struct Line {
    sender: SendRequest<Empty<Bytes>>,
    driving: JoinHandle<()>,
}

impl Line {
    pub(super) async fn open(to: &Target) -> Result<Line, Unreached> {
        let stream = connect(&to.address, &to.hello, to.secure.as_deref(), to.tls.as_deref(), false).await?;
        let shaken = http1::handshake(Socket::new(stream)).await;
        let (sender, connection) =
            shaken.map_err(|error| Unreached::Tcp(std::io::Error::other(innermost(&error))))?;
        let driving = tokio::task::spawn_local(async move {
            // An error is told to whoever waits for the answer.
            let _ = connection.await;
        });
        Ok(Line { sender, driving })
    }

    /// Asks for `path` and waits for the answer's head.
    pub(super) async fn get(
        &mut self,
        to: &Target,
        path: &str,
        accept: &str,
    ) -> Result<Response<Incoming>, String> {
        let request = Request::get(path)
            .header(header::HOST, &to.host)
            .header(header::ACCEPT, accept)
            .body(Empty::new())
            .map_err(|error| format!("{path}: {error}"))?;
        self.sender.ready().await.map_err(|error| innermost(&error))?;
        self.sender.send_request(request).await.map_err(|error| innermost(&error))
    }

    /// Whether the other side has not closed it yet, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// The innermost cause: "Connection refused" says more than "error sending request".
pub(super) fn innermost(error: &dyn Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}
