//! Responses' bodies on their way through: counted and timed, frame by frame, never collected.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::{Response, StatusCode, header};
use lb_core::Tick;

use super::{Exchange, Live};
use crate::http::{grpc, headers};
use crate::listener::{Client, Phase, Tunnel};
use crate::worker::{Lane, Worker};

/// Why a body could not be passed on to its end. The peer only sees its connection end; the reason is for our records.
#[derive(Debug)]
pub struct Broken {
    why: &'static str,
    /// The error of HTTP/2 by which the stream is reset.
    code: h2::Error,
}

impl Broken {
    /// Whoever sent it broke it off.
    pub(super) fn off(why: &'static str) -> Self {
        Broken { why, code: h2::Reason::INTERNAL_ERROR.into() }
    }

    /// Nobody wants it any more.
    pub(super) fn canceled(why: &'static str) -> Self {
        Broken { why, code: h2::Reason::CANCEL.into() }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.why)
    }
}

impl std::error::Error for Broken {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.code)
    }
}

/// A response's body on its way to a client.
pub enum Body {
    /// The balancer's own words.
    Full(Option<Bytes>),
    /// A backend's.
    Proxied(Box<Download>),
    /// The admin router's, on the traffic port.
    Control(Box<ControlAnswer>),
}

/// The admin router's words on the traffic port, with the exchange that they end. `/decisions` may go on for ever.
pub struct ControlAnswer {
    body: axum::body::Body,
    worker: Rc<Worker>,
    exchange: Exchange,
}

/// Makes an answer of the admin router's the client's.
pub fn answer(
    worker: &Rc<Worker>,
    client: &Client,
    response: Response<axum::body::Body>,
    mut exchange: Exchange,
) -> Response<Body> {
    exchange.answered(response.status().as_u16());
    let events = streams_events(response.headers());
    let (head, body) = response.into_parts();
    let mut answer = Box::new(ControlAnswer { body, worker: Rc::clone(worker), exchange });
    let now = worker.now();
    if answer.body.is_end_stream() {
        answer.exchange.finish(now);
    } else {
        if events {
            client.unbounded();
        }
        client.enter(Phase::Streaming, None);
        let idle = worker.config().timeouts.body_idle.filter(|_| !events);
        client.arm(idle.map(|t| now.after(t)));
    }
    Response::from_parts(head, Body::Control(answer))
}

/// Whether a response is an event stream, which may be silent for as long as it likes.
fn streams_events(headers: &header::HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"text/event-stream"))
}

impl ControlAnswer {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(data)) = polled.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)) {
            self.exchange.passed_on(data.map_or(0, |data| data.len() as u64));
        }
        if polled.is_none() || self.body.is_end_stream() {
            self.exchange.finish(self.worker.now());
        }
        Poll::Ready(polled.map(|frame| frame.map_err(|_| Broken::off("an admin answer broke off"))))
    }
}

/// A backend's body, with everything that must outlive the handler.
pub struct Download {
    incoming: Incoming,
    /// When its head came, and with it what there was of the body.
    head_at: Tick,
    /// It is of a stream of HTTP/2.
    http2: bool,
    /// It may be silent for as long as it likes: an event stream, or a call of gRPC.
    lasts: bool,
    live: Option<Live>,
    lane: Rc<Lane>,
    client: Rc<Client>,
    worker: Rc<Worker>,
    exchange: Exchange,
}

/// Makes a backend's response the client's: hop-by-hop fields go, the exchange rides on the body.
pub(super) fn respond(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    lane: &Rc<Lane>,
    live: Live,
    response: Response<Incoming>,
    mut exchange: Exchange,
    now: Tick,
) -> Response<Body> {
    let (mut head, incoming) = response.into_parts();
    exchange.answered(head.status.as_u16());
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        headers::clean_upgrade(&mut head.headers);
        client.unbounded();
        client.enter(Phase::Streaming, None);
        exchange.goes_on();
        *client.tunnel.borrow_mut() = Some(Tunnel { live, exchange });
        return Response::from_parts(head, Body::Full(None));
    }
    headers::clean_response(&mut head.headers);
    head.extensions.clear();
    let http2 = std::mem::replace(&mut head.version, hyper::Version::HTTP_11) == hyper::Version::HTTP_2;
    let mut download = Box::new(Download {
        incoming,
        head_at: now,
        http2,
        lasts: false,
        live: Some(live),
        lane: Rc::clone(lane),
        client: Rc::clone(client),
        worker: Rc::clone(worker),
        exchange,
    });
    if download.incoming.is_end_stream() {
        download.finish(now);
    } else {
        download.lasts = streams_events(&head.headers) || grpc::is(&head.headers);
        // Who has said how long it will wait waits no longer.
        if download.lasts && !client.told.get() {
            client.unbounded();
            download.exchange.goes_on();
        }
        client.enter(Phase::Streaming, None);
        let idle = worker.config().timeouts.body_idle.filter(|_| !download.lasts);
        client.arm(idle.map(|t| now.after(t)));
    }
    Response::from_parts(head, Body::Proxied(download))
}

/// Keeps a connection for the next request, if there is room and it can carry one.
fn put_back(worker: &Worker, lane: &Lane, live: Live, now: Tick) {
    let mut idle = lane.idle.borrow_mut();
    if idle.len() < worker.config().limits.upstream_idle
        && let Some(live) = live.rest(now)
    {
        lane.meters.idle.add(1);
        idle.push(live);
    }
}

/// Most that is read of a response nobody will see, in bytes: more costs more than the new connection it saves.
const DISCARD_BYTES: usize = 16 << 10;

/// Reads a response away, as far as it is here already: its connection rests, if that was all of it, and closes otherwise.
pub(super) fn discard(worker: &Worker, lane: &Lane, mut live: Live, mut body: Incoming, now: Tick) {
    // Polled without a waker: nobody waits for the rest.
    let mut cx = Context::from_waker(Waker::noop());
    let mut left = DISCARD_BYTES;
    while !body.is_end_stream() {
        match live.poll_frame(&mut body, &mut cx).0 {
            Poll::Ready(Some(Ok(frame))) => match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => return,
            },
            Poll::Ready(None) => break,
            Poll::Ready(Some(Err(_))) | Poll::Pending => return,
        }
    }
    put_back(worker, lane, live, now);
}

impl Download {
    /// The last byte is here: the connection may rest, and the attempt counts as complete.
    fn finish(&mut self, now: Tick) {
        if let Some(live) = self.live.take() {
            put_back(&self.worker, &self.lane, live, now);
        }
        self.exchange.finish(now);
    }

    fn broken(&mut self) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.live = None;
        self.exchange.broken(self.worker.now());
        Poll::Ready(Some(Err(Broken::off("the backend broke off its response"))))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let (polled, early) = match &mut self.live {
            Some(live) => live.poll_frame(&mut self.incoming, cx),
            None => (Pin::new(&mut self.incoming).poll_frame(cx), false),
        };
        self.client.backend_silent.set(polled.is_pending());
        match ready!(polled) {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.worker.meters.response_bytes.inc_by(bytes);
                self.exchange.passed_on(bytes);
                let now = if early { self.head_at } else { self.worker.now() };
                if let Some(trailers) = frame.trailers_ref().filter(|_| self.lasts)
                    && grpc::blames_backend(trailers)
                {
                    self.exchange.failed_late(now);
                }
                // hyper asks for nothing after trailers.
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.finish(now);
                } else if !self.lasts {
                    self.client.arm(self.worker.config().timeouts.body_idle.map(|t| now.after(t)));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(_)) => self.broken(),
            // An HTTP/2 stream that was reset without an error ends here, too.
            None if self.http2 && !self.incoming.is_end_stream() => self.broken(),
            None => {
                self.finish(self.worker.now());
                Poll::Ready(None)
            }
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Body::Proxied(download) => download.poll_frame(cx),
            Body::Control(answer) => answer.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(bytes) => bytes.is_none(),
            Body::Proxied(download) => download.incoming.is_end_stream(),
            Body::Control(answer) => answer.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Body::Proxied(download) => download.incoming.size_hint(),
            Body::Control(answer) => answer.body.size_hint(),
        }
    }
}
