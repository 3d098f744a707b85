//! HTTP/2 towards backends: a few connections per worker and backend, each carrying many requests at once.
//!
//! A connection drives itself in a task of its own, since nobody alone holds it. The peer's limit of streams is respected by
//! opening another connection, up to [`MOST`]; beyond, requests wait for a stream. A connection that has died is noticed by
//! a ping, one that was told to go (GOAWAY) takes no new requests. What a request gives up is reset.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::{Request, Response};
use hyper_util::rt::TokioTimer;
use lb_core::Tick;
use tokio::sync::{Mutex, Notify};

use super::connect::Unreached;
use super::upload::{Leash, RequestBody};
use super::upstream::Refused;
use crate::error::Kind;
use crate::socket::Socket;
use crate::tls::Stream;

/// Connections to one backend, per worker.
const MOST: usize = 8;
/// Requests on one connection, whatever the backend allows: beyond, one lost connection would cost too many of them.
const STREAMS_MOST: usize = 256;
/// Bytes that a backend may send on one stream before the client has taken them in.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same of all streams of a connection.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Without a frame for so long, a backend that owes answers is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(5);
/// For its answer: then the connection is dead, and its requests have failed.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// One worker's connections to one backend.
#[derive(Default)]
pub struct Multiplex {
    open: RefCell<Vec<Rc<Connection>>>,
    /// Held by whoever connects: all others wait for what comes of it.
    connecting: Mutex<()>,
}

impl std::fmt::Debug for Multiplex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Multiplex").field("open", &self.open.borrow().len()).finish_non_exhaustive()
    }
}

/// The library's side of a connection.
type Driver = http2::Connection<Heard, RequestBody, Local>;

struct Connection {
    /// Polled by its own task; asked here how many streams the backend allows. `None` once it has ended, so that whoever
    /// waits for it hears of that.
    driver: Rc<RefCell<Option<Driver>>>,
    sender: SendRequest<RequestBody>,
    streams: Cell<usize>,
    idle_since: Cell<Tick>,
}

impl Connection {
    fn room(&self) -> bool {
        let driver = self.driver.borrow();
        let allowed = driver.as_ref().map_or(0, Driver::current_max_send_streams);
        self.streams.get() < allowed.min(STREAMS_MOST)
    }
}

/// One request's place on a connection. Dropping it gives the place back, and resets what is not complete.
pub(super) struct Place {
    connection: Rc<Connection>,
    leash: Option<Leash>,
}

impl Place {
    fn on(connection: &Rc<Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Place { connection: Rc::clone(connection), leash: None }
    }

    /// Sends a request and waits for the response head.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Refused> {
        let (request, leash) = leashed(request);
        self.leash = Some(leash);
        let mut sender = self.connection.sender.clone();
        sender.try_send_request(request).await.map_err(|mut error| {
            let unsent = error.take_message();
            refused(&error.into_error(), unsent)
        })
    }

    /// The answer is complete at `now`.
    pub(super) fn rest(self, now: Tick) {
        self.connection.idle_since.set(now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get() - 1);
    }
}

fn leashed(request: Request<RequestBody>) -> (Request<RequestBody>, Leash) {
    let (head, mut body) = request.into_parts();
    let leash = body.leash();
    (Request::from_parts(head, body), leash)
}

/// What a failure means: whether the backend has seen the request, and what it did wrong.
fn refused(error: &hyper::Error, unsent: Option<Request<RequestBody>>) -> Refused {
    let source = std::error::Error::source(error).and_then(|e| e.downcast_ref::<h2::Error>());
    // RFC 9113, 8.7: these say that nothing was done for the request.
    let untouched = source.is_some_and(|e| {
        let refused = e.is_reset() && e.reason() == Some(h2::Reason::REFUSED_STREAM);
        let left = e.is_go_away() && e.reason() == Some(h2::Reason::NO_ERROR);
        e.is_remote() && (refused || left)
    });
    let odd = source.is_some_and(|e| e.is_library());
    let kind = if odd { Kind::UpstreamProtocol } else { Kind::UpstreamReset };
    let detail = source.map_or_else(|| error.to_string(), ToString::to_string);
    Refused { kind, detail, unsent, untouched }
}

impl Multiplex {
    /// A place on a connection that is there; `None` where there is none with room, and another one may be made.
    pub(super) fn place(&self) -> Option<Place> {
        let mut open = self.open.borrow_mut();
        open.retain(|connection| !connection.sender.is_closed());
        let full = open.len() >= MOST;
        let places = open.iter().filter(|connection| full || connection.room());
        places.min_by_key(|connection| connection.streams.get()).map(Place::on)
    }

    /// A place on a connection that `connect` makes, or that somebody else has made meanwhile. Whether it was made here.
    ///
    /// # Errors
    /// What stood in the way of `connect`.
    pub(super) async fn make(
        &self,
        connect: impl Future<Output = Result<Stream, Unreached>>,
    ) -> Result<(Place, bool), Unreached> {
        let _turn = self.connecting.lock().await;
        if let Some(place) = self.place() {
            return Ok((place, false));
        }
        let socket = Socket::new(connect.await?);
        let mut builder = http2::Builder::new(Local);
        builder
            .timer(TokioTimer::new())
            // Until the backend has said how many.
            .initial_max_send_streams(0)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let first = Rc::<Notify>::default();
        let heard = Heard { socket, first: Some(Rc::clone(&first)) };
        let (sender, driver) = builder.handshake(heard).await?;
        let driver = Rc::new(RefCell::new(Some(driver)));
        let driven = Rc::clone(&driver);
        tokio::task::spawn_local(std::future::poll_fn(move |cx| {
            let mut driver = driven.borrow_mut();
            if let Some(driver) = &mut *driver {
                // An error reaches whoever waits for an answer; here it only means the end.
                ready!(Pin::new(driver).poll(cx)).ok();
            }
            *driver = None;
            Poll::Ready(())
        }));
        let connection =
            Rc::new(Connection { driver, sender, streams: Cell::new(0), idle_since: Cell::new(Tick::ZERO) });
        // Its settings come first (RFC 9113, 3.4); before them nobody knows how many streams it takes.
        first.notified().await;
        let place = Place::on(&connection);
        self.open.borrow_mut().push(connection);
        Ok((place, true))
    }

    /// Closes connections that have had nothing to do for `limit`.
    pub(crate) fn sweep(&self, now: Tick, limit: Duration) {
        self.open.borrow_mut().retain(|connection| {
            let busy = connection.streams.get() > 0 || now.since(connection.idle_since.get()) < limit;
            busy && !connection.sender.is_closed()
        });
    }
}

/// A socket that tells when a backend has first said something, or is gone.
struct Heard {
    socket: Socket,
    first: Option<Rc<Notify>>,
}

impl Read for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, buf));
        if let Some(first) = self.first.take() {
            first.notify_one();
        }
        Poll::Ready(read)
    }
}

impl Write for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }
}

/// Runs the library's futures on the thread that made them.
#[derive(Debug, Clone)]
pub struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
