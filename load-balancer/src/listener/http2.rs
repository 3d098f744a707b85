//! One HTTP/2 connection (RFC 9113) from its preface to its last stream: each stream is a request of its own, and goes the
//! same way as one over HTTP/1.1.
//!
//! The library speaks the protocol. What is ours: deadlines (of heads, of reading, of idleness), the end of connections that
//! only make work ([`Calm`]), and draining by GOAWAY: streams that are there are answered, new ones go elsewhere.
//! It fails by ending the connection, with GOAWAY where that can be said.

use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header;
use hyper::server::conn::http2;
use hyper_util::rt::TokioTimer;

mod calm;
mod frames;
mod io;
mod link;
mod stream;
mod websocket;

pub use calm::{Calm, Flood};
pub(super) use frames::PREFACE;
pub use frames::{Frame, Frames, Kind as FrameKind};

use self::io::FrameIo;
use self::link::{Late, Link};
use self::stream::{Pieces, Streams};
use super::client::{Client, Timer};
use crate::error::Kind;
use crate::http;
use crate::observe::LIBRARY;
use crate::socket::Socket;
use crate::stage::Stage;
use crate::worker::Worker;

/// Bytes that a client may send on one stream before we have taken them in.
const STREAM_WINDOW: u32 = 256 << 10;
/// The same of all its streams together: what one connection can make us keep of bodies.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes kept of what a stream has to say while the client takes in nothing.
const SEND_BUFFER: usize = 64 << 10;
/// Without a frame for so long, the client is asked whether it is still there: a stream may be silent for as long as it
/// likes, and only so is one whose client is gone told from it.
const PING_AFTER: Duration = Duration::from_secs(30);
/// For its answer.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// For a client to close a connection that it was told is over.
const LINGER: Duration = Duration::from_secs(2);

/// How a connection ended.
enum End {
    /// The library is done with it.
    Done(hyper::Result<()>),
    /// It made only work.
    Flood(Flood),
    /// It was late.
    Late(Late),
}

/// Drives one connection to its end; `early` was read from it already.
pub(super) async fn drive(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    stream: Socket,
    early: Vec<u8>,
    mut timer: Timer,
) {
    let link = Link::new(worker, client);
    let service = hyper::service::service_fn(|mut request: hyper::Request<Incoming>| {
        let (worker, client) = (Rc::clone(worker), Rc::new(client.of_stream(worker)));
        *link.next.borrow_mut() = Some(Rc::clone(&client));
        if worker.stage.get().parts() {
            // As an HTTP/1.1 connection ends with the next response.
            link.last.set(true);
        }
        let (link, websocket) = (Rc::clone(&link), websocket::asked(&worker, &mut request));
        async move {
            let mut response = http::handle(&worker, &client, request).await;
            // About the connection, of which nothing is said in a stream (RFC 9113, 8.2.2).
            response.headers_mut().remove(header::CONNECTION);
            if let Some(asked) = websocket {
                websocket::answered(&link, &client, asked, &mut response);
            }
            Ok::<_, std::convert::Infallible>(response.map(|body| Pieces::new(body, &client)))
        }
    });
    let io = FrameIo::new(stream, early, &link);
    let mut connection = builder(worker, &link).serve_connection(io, service);
    let mut told = None;
    let end = std::future::poll_fn(|cx| {
        client.remember(cx);
        loop {
            // GOAWAY takes nothing from a client that is just sending: where there is a successor, all are told at once.
            let ending = link.last.get() || worker.stage.get() >= Stage::HandedOver;
            if ending && told.is_none() {
                told = Some(worker.now());
                Pin::new(&mut connection).graceful_shutdown();
            }
            let polled = Pin::new(&mut connection).poll(cx);
            if let Some(flood) = link.flood.get() {
                return Poll::Ready(End::Flood(flood));
            }
            if let Poll::Ready(result) = polled {
                return Poll::Ready(End::Done(result));
            }
            if link.last.get() && told.is_none() {
                continue;
            }
            let due = link.due();
            let due = match told {
                // Who was told to go has less time, once nothing is left to do.
                Some(told) => due.map(|(at, late)| match late {
                    Late::Idle => (link.idle_since().max(told).after(LINGER), late),
                    _ => (at, late),
                }),
                None => due,
            };
            let Some((at, late)) = due else { return Poll::Pending };
            if timer.poll(cx, &worker.shared.clock, at).is_pending() {
                return Poll::Pending;
            }
            match late {
                Late::Idle if told.is_none() => link.last.set(true),
                late => return Poll::Ready(End::Late(late)),
            }
        }
    })
    .await;
    link.cut.set(matches!(end, End::Flood(_) | End::Late(Late::Head | Late::Reading)));
    match end {
        End::Done(Ok(())) | End::Late(Late::Idle) => {}
        End::Done(Err(error)) => {
            count(worker, &error);
            tracing::debug!(peer = %client.peer, %error, "HTTP/2 connection ended early");
        }
        End::Flood(flood) => {
            worker.meters.flooded(flood.word());
            tracing::debug!(peer = %client.peer, kind = flood.word(), "HTTP/2 connection ended: it only made work");
        }
        End::Late(Late::Head) => worker.meters.aborted(Kind::RequestTimeout.reason()),
        End::Late(Late::Reading) => worker.meters.aborted(Kind::CUT),
    }
}

/// Counts a connection that the library has ended for what the client did.
fn count(worker: &Worker, error: &hyper::Error) {
    let source = std::error::Error::source(error).and_then(|e| e.downcast_ref::<h2::Error>());
    match source.filter(|e| e.is_go_away() && e.is_library()).and_then(h2::Error::reason) {
        Some(h2::Reason::ENHANCE_YOUR_CALM) => worker.meters.flooded(LIBRARY),
        Some(_) => worker.meters.aborted(Kind::BadRequest.reason()),
        None => {}
    }
}

fn builder(worker: &Worker, link: &Rc<Link>) -> http2::Builder<Streams> {
    let config = worker.config();
    let mut builder = http2::Builder::new(Streams(Rc::clone(link)));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .auto_date_header(false)
        .max_concurrent_streams(config.http2.streams)
        .max_header_list_size(config.limits.header_bytes as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    if websocket::offered(&config) {
        builder.enable_connect_protocol();
    }
    builder
}
