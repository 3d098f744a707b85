//! One connection to a backend, driven by whichever request holds it; over HTTP/2 (see [`super::multiplex`]) a place on one.
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

use super::connect::{Unreached, connect};
use super::multiplex::{Multiplex, Place};
use super::upload::RequestBody;
use crate::error::Kind;
use crate::registry::Backend;
use crate::socket::Socket as UpstreamIo;
use crate::tls::{self, Stream};

/// What carries a request to a backend: a connection of its own, or a place on one of HTTP/2. The connection is boxed: it is
/// handed around a dozen times a request, and is over a kilobyte.
pub struct Live(Carrier);

enum Carrier {
    Own(Box<Inner>),
    Shared(Place),
}

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
        let shared = matches!(self.0, Carrier::Shared(_));
        f.debug_struct("Live").field("shared", &shared).finish_non_exhaustive()
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
    /// The backend said that it has done nothing for it.
    pub untouched: bool,
}

impl Live {
    /// Connects to `backend`, by `tls` where TLS is spoken with it, and says `hello` (who the client is) before everything else;
    /// the caller bounds the time.
    ///
    /// # Errors
    /// What stood in the way.
    pub async fn connect(
        backend: &Backend,
        tls: Option<&tls::Client>,
        hello: &[u8],
    ) -> Result<Live, Unreached> {
        let stream = connect(&backend.address, hello, backend.secure.as_deref(), tls, false).await?;
        let (sender, connection) = http1::Builder::new()
            .handshake(UpstreamIo::new(stream))
            .await
            .map_err(|error| Unreached::Tcp(std::io::Error::other(error)))?;
        Ok(Live(Carrier::Own(Box::new(Inner {
            sender,
            connection: Some(connection),
            finished: false,
            idle_since: Tick::ZERO,
            own: !hello.is_empty(),
        }))))
    }

    /// A place on one of the connections of HTTP/2 that are there.
    #[must_use]
    pub fn place(multiplex: &Multiplex) -> Option<Live> {
        multiplex.place().map(|stream| Live(Carrier::Shared(stream)))
    }

    /// A place on another one; whether it was made here. The caller bounds the time.
    ///
    /// # Errors
    /// What stood in the way.
    pub async fn multiplexed(
        multiplex: &Multiplex,
        backend: &Backend,
        tls: Option<&tls::Client>,
    ) -> Result<(Live, bool), Unreached> {
        let connecting = connect(&backend.address, &[], backend.secure.as_deref(), tls, true);
        let (stream, made) = multiplex.make(connecting).await?;
        Ok((Live(Carrier::Shared(stream)), made))
    }

    /// Whether it is a place among others.
    #[must_use]
    pub fn shared(&self) -> bool {
        matches!(self.0, Carrier::Shared(_))
    }

    /// Sends a request and waits for the response head.
    ///
    /// # Errors
    /// `Refused`, telling whether anything was sent.
    pub async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, Refused> {
        let inner = match &mut self.0 {
            Carrier::Own(inner) => inner,
            Carrier::Shared(stream) => return stream.send(request).await,
        };
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
            Refused { kind, detail: error.to_string(), unsent, untouched: false }
        })
    }

    /// Moves bytes while a body is on its way.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if let Carrier::Own(inner) = &mut self.0 {
            inner.drive(cx);
        }
    }

    /// After a complete response: the connection itself, if it can carry another request and is nobody else's.
    pub fn rest(self, now: Tick) -> Option<Live> {
        match self.0 {
            Carrier::Own(mut inner) => {
                inner.idle_since = now;
                (!inner.own && inner.look()).then_some(Live(Carrier::Own(inner)))
            }
            Carrier::Shared(stream) => {
                stream.rest(now);
                None
            }
        }
    }

    /// The connection, if it is not too old and the backend has not closed it.
    pub fn still_idle(self, now: Tick, limit: Duration) -> Option<Live> {
        let Carrier::Own(mut inner) = self.0 else { return None };
        (now.since(inner.idle_since) < limit && inner.look()).then_some(Live(Carrier::Own(inner)))
    }

    /// After a 101: the bare stream and what was read ahead, once hyper has let go of it.
    pub async fn upgraded(self) -> Option<(Stream, Bytes)> {
        let Carrier::Own(mut inner) = self.0 else { return None };
        std::future::poll_fn(|cx| {
            inner.drive(cx);
            if inner.finished { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = inner.connection?.into_parts();
        Some((parts.io.into_stream(), parts.read_buf))
    }
}

impl Inner {
    fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.connection, &mut self.finished, cx);
    }

    /// Whether another request may be sent. Polled without a waker: nobody waits for an idle connection.
    fn look(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.finished && self.sender.is_ready()
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
