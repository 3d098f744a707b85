//! One client connection of HTTP/1.1: hyper's state machine, the connection's timer, draining, and what follows an upgrade.
//!
//! hyper keeps some 25 KiB for a connection, whether it is used or not. So a connection that rests is parked: taken out of hyper,
//! which is made anew for it by the next byte. What is left is the socket and what is known about the client.
//! How it fails: where anything is under way, nothing is parked; a parked connection has no bytes that anybody could lose.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::{Response, StatusCode, Version};
use tokio::io::AsyncWriteExt;

use super::client::{Client, Phase, Timer};
use super::drive::{LINGER, linger};
use super::io::ClientIo;
use crate::error::{Kind, ProxyError};
use crate::forward::Body;
use crate::http::{self, refusal};
use crate::socket::Socket;
use crate::stage::Stage;
use crate::tls::Stream;
use crate::worker::Worker;

/// How a connection ended.
enum End {
    /// hyper is done with it; where an upgrade was agreed, the tunnel follows.
    Done(hyper::Result<()>),
    /// It goes on, by itself, until something comes.
    Parked,
    /// Nothing came for `timeouts.client_idle`.
    Idle,
    /// The request head did not arrive in `timeouts.request_head`.
    SlowHead,
    /// Sending the response made no progress, or took longer than allowed.
    Cut,
}

/// Drives a connection of HTTP/1.1 to its end; `early` was read from it already.
pub(super) async fn drive(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    socket: Socket,
    early: Vec<u8>,
    mut timer: Timer,
) {
    let mut io = ClientIo::new(socket, early, client, worker);
    // Boxed, so that a parked connection's task has no room for it.
    while let Some(parked) = Box::pin(serve(worker, client, io, &mut timer)).await {
        io = parked;
        if !awakes(worker, client, &mut io, &mut timer).await {
            return;
        }
    }
}

/// Serves requests until the connection has ended, or is parked: that is returned.
async fn serve(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    io: ClientIo,
    timer: &mut Timer,
) -> Option<ClientIo> {
    let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
        let (worker, client) = (Rc::clone(worker), Rc::clone(client));
        async move {
            let version = request.version();
            let mut response = http::handle(&worker, &client, request).await;
            if worker.stage.get().parts() {
                end_with(&mut response, version);
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let mut connection = builder(worker).serve_connection(io, service);
    let (mut looked, mut told) = (false, false);
    let ending = || worker.stage.get() == Stage::Draining;
    let end = std::future::poll_fn(|cx| {
        client.remember(cx);
        loop {
            // Before anything is written: a response that is ready now must already say that it is the last. But between
            // requests not before a look at what has arrived: hyper would close the connection upon an unread request.
            let between = matches!(client.phase(), Phase::Idle | Phase::Head);
            if ending() && !told && (looked || !between) {
                told = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
            // To its end, so that hyper flushes what it holds; the socket itself outlives it (see `ClientIo`).
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(End::Done(result));
            }
            if ending() && !looked {
                looked = true;
                continue;
            }
            if timer.poll(cx, &worker.shared.clock, client.deadline()).is_pending() {
                return Poll::Pending;
            }
            match client.phase() {
                Phase::Idle if client.rests_on() => {
                    if client.body_done.get() {
                        return Poll::Ready(End::Parked);
                    }
                }
                Phase::Idle => return Poll::Ready(End::Idle),
                Phase::Head => return Poll::Ready(End::SlowHead),
                Phase::Streaming | Phase::Flushing if client.goes_on(worker) => {}
                Phase::Streaming | Phase::Flushing => return Poll::Ready(End::Cut),
                Phase::Waiting => client.expire(),
            }
        }
    })
    .await;
    match end {
        End::Parked => {
            let parts = connection.into_parts();
            return Some(parts.io.parked(&parts.read_buf));
        }
        End::Done(result) => {
            let stream = {
                let parts = connection.into_parts();
                let (stream, early) = parts.io.into_parts();
                // What hyper has read and not used was sent before what was kept from it.
                (stream, [&parts.read_buf[..], &early].concat())
            };
            finish(worker, client, stream, result).await;
        }
        End::Idle => {}
        End::SlowHead => {
            let detail = "the request head did not arrive within timeouts.request_head";
            let answer = refusal::on_the_wire(worker, &ProxyError::new(Kind::RequestTimeout, detail));
            let mut stream = connection.into_parts().io.into_parts().0;
            // A client this slow may be gone: telling it is a courtesy, and bounded.
            let telling = async {
                stream.write_all(&answer).await?;
                stream.shutdown().await
            };
            let _ = tokio::time::timeout(LINGER, telling).await;
        }
        End::Cut => client.cut.set(Some(Kind::CUT)),
    }
    None
}

/// Waits for anything to happen on a parked connection; false where nothing did for `timeouts.client_idle`. The end of the
/// stream, a fault and a drain happen, too: they are hyper's to see.
async fn awakes(worker: &Worker, client: &Client, io: &mut ClientIo, timer: &mut Timer) -> bool {
    let _parked = Parked::new(worker);
    std::future::poll_fn(|cx| {
        if io.poll_arrival(cx).is_ready() || worker.stage.get() == Stage::Draining {
            return Poll::Ready(true);
        }
        timer.poll(cx, &worker.shared.clock, client.deadline()).map(|()| false)
    })
    .await
}

/// One more that is parked, for as long as this lives.
struct Parked<'a>(&'a Worker);

impl<'a> Parked<'a> {
    fn new(worker: &'a Worker) -> Self {
        worker.meters.parked.add(1);
        Parked(worker)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.meters.parked.add(-1);
    }
}

/// Makes this response the last of its connection, unless it turns it into another protocol's. `version` is the request's:
/// of HTTP/1.0, hyper keeps a connection that a response of HTTP/1.1 would end.
fn end_with(response: &mut Response<Body>, version: Version) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        *response.version_mut() = version;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

fn builder(worker: &Worker) -> http1::Builder {
    let limits = &worker.config().limits;
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).auto_date_header(false).max_header_size(limits.header_bytes);
    // hyper keeps up to 100 header fields on the stack; asking for another number allocates per request.
    if limits.headers != 100 {
        builder.max_headers(limits.headers);
    }
    builder
}

async fn finish(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    (mut stream, early): (Stream, Vec<u8>),
    result: hyper::Result<()>,
) {
    let tunnel = client.tunnel.borrow_mut().take();
    match (result, tunnel) {
        (Ok(()), Some(tunnel)) => {
            client.tunnelled.set(true);
            http::upgrade::carry(worker, tunnel, stream, early.into()).await;
        }
        (result, _) => {
            let refused = result.is_err();
            if let Err(error) = result {
                tracing::debug!(peer = %client.peer, %error, "client connection ended early");
            }
            if refused || !client.body_done.get() {
                linger(stream).await;
            } else {
                // The client has said all it had to say. With TLS that takes a last record, which it may not take.
                let _ = tokio::time::timeout(LINGER, stream.shutdown()).await;
            }
        }
    }
}
