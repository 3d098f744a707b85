//! One connection to a backend, driven by whichever request holds it; over HTTP/2 (see [`super::multiplex`]) a place on one.
//!
//! hyper's connection is a future that somebody must poll. Usually a task of its own does, which costs two task switches a
//! request. Here the request polls it while it waits; between requests nobody does, and [`Live::still_idle`] looks whether
//! the backend has closed it, where something has moved ([`Nudge`]). Dropping it closes the connection.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use lb_core::Tick;
use std::future::Future;

use super::connect::{Unreached, connect};
use super::multiplex::{Multiplex, Place};
use super::nudge::Nudge;
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
    wire: Wire,
    idle_since: Tick,
    /// It is one client's: no other's request may be sent over it.
    own: bool,
}

/// hyper's side of a connection.
struct Wire {
    /// `None` once hyper has finished with it and a request was still waiting inside.
    connection: Option<http1::Connection<UpstreamIo, RequestBody>>,
    /// hyper has finished with the connection: closed, or upgraded.
    finished: bool,
    nudge: Nudge,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shared = matches!(self.0, Carrier::Shared(_));
        f.debug_struct("Live").field("shared", &shared).finish_non_exhaustive()
    }
}

/// What a look for more of a body finds.
type Piece = Poll<Option<hyper::Result<Frame<Bytes>>>>;

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
        let (sender, connection) = http1::Builder::new().handshake(UpstreamIo::new(stream)).await?;
        Ok(Live(Carrier::Own(Box::new(Inner {
            sender,
            wire: Wire { connection: Some(connection), finished: false, nudge: Nudge::default() },
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
        let Inner { sender, wire, .. } = &mut **inner;
        // The answer comes by driving and in no other way, so it needs no waker; and it must not say that the task has had its
        // share when it is there.
        let mut answer = pin!(tokio::task::unconstrained(sender.try_send_request(request)));
        let mut here = Context::from_waker(Waker::noop());
        let result = std::future::poll_fn(|cx| {
            wire.drive(cx);
            match answer.as_mut().poll(&mut here) {
                Poll::Pending if wire.finished => {
                    // The connection ended without taking the request: letting go of it hands the request back.
                    wire.connection = None;
                    answer.as_mut().poll(&mut here)
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

    /// The next piece of the body of the answer that came over it, and whether it was there before this look.
    pub fn poll_frame(&mut self, body: &mut Incoming, cx: &mut Context<'_>) -> (Piece, bool) {
        let Carrier::Own(inner) = &mut self.0 else { return (Pin::new(body).poll_frame(cx), false) };
        let wire = &mut inner.wire;
        // As with the answer. What has come with the head is there already.
        let mut here = Context::from_waker(Waker::noop());
        let polled = wire.nudge.ignored(|| Pin::new(&mut *body).poll_frame(&mut here));
        if polled.is_ready() {
            return (polled, true);
        }
        wire.drive(cx);
        (wire.nudge.ignored(|| Pin::new(body).poll_frame(&mut here)), false)
    }

    /// After a complete response: the connection itself, if it can carry another request and is nobody else's.
    pub fn rest(self, now: Tick) -> Option<Live> {
        match self.0 {
            Carrier::Own(mut inner) => {
                inner.idle_since = now;
                inner.wire.nudge.rest();
                // Ready means that hyper is through with the answer; mostly it is, by what was driven to read it.
                let rests = |inner: &mut Inner| !inner.wire.finished && inner.sender.is_ready();
                let fit = !inner.own && (rests(&mut inner) || inner.look());
                fit.then_some(Live(Carrier::Own(inner)))
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
        let young = now.since(inner.idle_since) < limit;
        (young && (!inner.wire.nudge.moved() || inner.look())).then_some(Live(Carrier::Own(inner)))
    }

    /// After a 101: the bare stream and what was read ahead, once hyper has let go of it.
    pub async fn upgraded(self) -> Option<(Stream, Bytes)> {
        let Carrier::Own(mut inner) = self.0 else { return None };
        std::future::poll_fn(|cx| {
            inner.wire.drive(cx);
            if inner.wire.finished { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let parts = inner.wire.connection?.into_parts();
        Some((parts.io.into_stream(), parts.read_buf))
    }
}

impl Inner {
    /// Whether another request may be sent, after a look at what has come. Nobody waits for an idle connection.
    fn look(&mut self) -> bool {
        self.wire.drive(&mut Context::from_waker(Waker::noop()));
        !self.wire.finished && self.sender.is_ready()
    }
}

impl Wire {
    fn drive(&mut self, cx: &mut Context<'_>) {
        // An error reaches whoever waits for the response or its body; here it only means the end.
        if let Some(connection) = &mut self.connection
            && !self.finished
        {
            self.finished = connection.poll_without_shutdown(&mut self.nudge.on_behalf_of(cx)).is_ready();
        }
    }
}
