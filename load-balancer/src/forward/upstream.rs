//! One connection to a backend, driven by whichever request holds it.
//!
//! hyper's connection is a future that somebody must poll. Usually a task of its own does, which costs two task switches a
//! request. Here the request polls it while it waits; between requests nobody does, and [`Live::still_idle`] looks once
//! whether the backend has closed it. Dropping it closes the connection.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use lb_core::Tick;
use std::future::Future;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::upload::RequestBody;
use crate::config::Address;
use crate::error::Kind;
use crate::socket::Socket as UpstreamIo;

/// A connection to a backend. Boxed: it is handed around a dozen times a request, and is over a kilobyte.
pub struct Live(Box<Inner>);

struct Inner {
    sender: SendRequest<RequestBody>,
    /// `None` once hyper has finished with it and a request was still waiting inside.
    connection: Option<http1::Connection<UpstreamIo, RequestBody>>,
    /// hyper has finished with the connection: closed, or upgraded.
    finished: bool,
    idle_since: Tick,
    /// It is one client's: no other's request may be sent over it.
    own: bool,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("finished", &self.0.finished).finish_non_exhaustive()
    }
}

/// Why no response head came.
pub struct Refused {
    /// Which row of the error table.
    pub kind: Kind,
    /// hyper's words.
    pub detail: String,
    /// The request, where none of it was sent.
    pub unsent: Option<Request<RequestBody>>,
}

impl Live {
    /// Connects, and says `hello` (who the client is) where that is something; the caller bounds the time.
    ///
    /// # Errors
    /// As the system reports them.
    pub async fn connect(address: &Address, hello: &[u8]) -> std::io::Result<Live> {
        let mut stream = match address {
            Address::Ip(address) => TcpStream::connect(address).await?,
            Address::Name(host, port) => TcpStream::connect((host.as_str(), *port)).await?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(hello).await?;
        let (sender, connection) =
            http1::Builder::new().handshake(UpstreamIo::new(stream)).await.map_err(std::io::Error::other)?;
        Ok(Live(Box::new(Inner {
            sender,
            connection: Some(connection),
            finished: false,
            idle_since: Tick::ZERO,
            own: !hello.is_empty(),
        })))
    }

    /// Sends a request and waits for the response head.
    ///
    /// # Errors
    /// `Refused`, telling whether anything was sent.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, Refused> {
        let inner = &mut *self.0;
        let mut answer = pin!(inner.sender.try_send_request(request));
        let result = std::future::poll_fn(|cx| {
            drive(&mut inner.connection, &mut inner.finished, cx);
            match answer.as_mut().poll(cx) {
                Poll::Pending if inner.finished => {
                    // The connection ended without taking the request: letting go of it hands the request back.
                    inner.connection = None;
                    answer.as_mut().poll(cx)
                }
                polled => polled,
            }
        })
        .await;
        result.map_err(|mut error| {
            let unsent = error.take_message();
            let error = error.into_error();
            let kind = if error.is_parse() { Kind::UpstreamProtocol } else { Kind::UpstreamReset };
            Refused { kind, detail: error.to_string(), unsent }
        })
    }

    /// Moves bytes while a body is on its way.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.0.connection, &mut self.0.finished, cx);
    }

    /// After a complete response: the connection itself, if it can carry another request.
    pub fn rest(mut self, now: Tick) -> Option<Live> {
        self.0.idle_since = now;
        (!self.0.own && self.look()).then_some(self)
    }

    /// The connection, if it is not too old and the backend has not closed it.
    pub fn still_idle(mut self, now: Tick, limit: Duration) -> Option<Live> {
        (now.since(self.0.idle_since) < limit && self.look()).then_some(self)
    }

    /// Whether another request may be sent. Polled without a waker: nobody waits for an idle connection.
    fn look(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.0.finished && self.0.sender.is_ready()
    }

    /// After a 101: the bare stream and what was read ahead, once hyper has let go of it.
    pub async fn upgraded(mut self) -> Option<(TcpStream, Bytes)> {
        std::future::poll_fn(|cx| {
            self.drive(cx);
            if self.0.finished { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = self.0.connection?.into_parts();
        Some((parts.io.into_stream(), parts.read_buf))
    }
}

fn drive(
    connection: &mut Option<http1::Connection<UpstreamIo, RequestBody>>,
    finished: &mut bool,
    cx: &mut Context<'_>,
) {
    // An error reaches whoever waits for the response or its body; here it only means the end.
    if let Some(connection) = connection
        && !*finished
    {
        *finished = connection.poll_without_shutdown(cx).is_ready();
    }
}
