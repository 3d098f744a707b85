//! WebSockets over HTTP/2 (extended CONNECT, RFC 8441): a stream asks for one, its backend hears the upgrade of HTTP/1.1 that
//! it means, and after a 101 the stream is the tunnel.
//!
//! Between the two it is a request like any other: picked for, limited, counted, its tunnel with the same deadlines. Other
//! protocols than `websocket` stay the CONNECT that they are, which is refused. Browsers ask so by themselves where the
//! server's settings offer it, and they do where backends speak HTTP/1.1.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::header::{self, HeaderValue};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use lb_core::Rng;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::Link;
use super::stream::Open;
use crate::config::{Config, Spoken};
use crate::forward::Body;
use crate::http::upgrade;
use crate::listener::Client;
use crate::worker::Worker;

const WEBSOCKET: &str = "websocket";

/// Whether it is offered under these settings: HTTP/2 towards backends has no upgrade to make of it.
pub(super) fn offered(config: &Config) -> bool {
    config.pool.protocol == Spoken::Http1
}

/// Makes of a request for a WebSocket the upgrade that it means, and returns what becomes its tunnel; `None` of any other.
pub(super) fn asked(worker: &Worker, request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    let protocol = request.extensions().get::<Protocol>()?;
    if request.method() != Method::CONNECT || !protocol.as_str().eq_ignore_ascii_case(WEBSOCKET) {
        return None;
    }
    if !offered(&worker.config()) {
        return None;
    }
    let tunnel = hyper::upgrade::on(&mut *request);
    *request.method_mut() = Method::GET;
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
    headers.insert(header::SEC_WEBSOCKET_KEY, key(&mut worker.rng.borrow_mut()));
    Some(tunnel)
}

/// Makes of a 101 what it is over HTTP/2, and begins the tunnel. Any other answer stays as it is, but for a success: that would
/// mean a tunnel, too (RFC 8441, 5). Backends' are errors by now; what is left is the balancer's own, for operators and in gRPC.
pub(super) fn answered(
    link: &Rc<Link>,
    client: &Rc<Client>,
    asked: OnUpgrade,
    response: &mut Response<Body>,
) {
    let Some(tunnel) = client.tunnel.borrow_mut().take() else {
        if response.status().is_success() {
            *response = Response::new(Body::Full(None));
            *response.status_mut() = StatusCode::BAD_REQUEST;
        }
        return;
    };
    *response.status_mut() = StatusCode::OK;
    // The answer to a key that the client has not sent.
    response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
    response.headers_mut().remove(header::UPGRADE);
    let (worker, carried) = (Rc::clone(&link.worker), Carried::new(link, client));
    tokio::task::spawn_local(async move {
        // A stream that was reset before the answer went out drops the exchange, which counts that.
        if let Ok(stream) = asked.await {
            let client = Side { stream: TokioIo::new(stream), ended: false };
            upgrade::carry(&worker, tunnel, client, Bytes::new()).await;
        }
        drop(carried);
    });
}

/// The client's side of a tunnel, on which a reset is an error. hyper reads an end where a stream was reset by CANCEL; only its
/// writing half is told, by a task of its own that the same frame wakes. Else a backend that keeps its half open would be
/// held for a client that has gone.
struct Side {
    stream: TokioIo<Upgraded>,
    ended: bool,
}

impl AsyncRead for Side {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        if into.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        if !std::mem::replace(&mut self.ended, true) {
            // That task first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl AsyncWrite for Side {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A tunnel being carried: its stream is open, and its connection has the deadlines of tunnels.
struct Carried {
    link: Rc<Link>,
    _open: Open,
}

impl Carried {
    fn new(link: &Rc<Link>, client: &Rc<Client>) -> Self {
        link.tunnels.set(link.tunnels.get() + 1);
        link.client.tunnelled.set(true);
        Carried { link: Rc::clone(link), _open: Open::new(link, client) }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let left = self.link.tunnels.get() - 1;
        self.link.tunnels.set(left);
        self.link.client.tunnelled.set(left > 0);
        if left == 0 && self.link.worker.overdue.get() {
            // For its sake the rest of the connection was let go on.
            self.link.client.end_request();
        }
        // Perhaps nothing is left to do.
        self.link.client.wake();
    }
}

/// Sixteen random bytes in base64 (RFC 6455, 4.1): 21 digits of six bits, and one of the last two.
fn key(rng: &mut Rng) -> HeaderValue {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut key = *b"AAAAAAAAAAAAAAAAAAAAAAA=";
    for digit in &mut key[..21] {
        *digit = DIGITS[rng.below(64) as usize];
    }
    key[21] = b"AQgw"[rng.below(4) as usize];
    key[22] = b'=';
    HeaderValue::from_bytes(&key).unwrap_or(HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sixteen_bytes_and_another_each_time() {
        let mut rng = Rng::seeded(3);
        let (one, two) = (key(&mut rng), key(&mut rng));
        assert_ne!(one, two);
        for key in [one, two] {
            let text = key.to_str().unwrap();
            assert!(text.len() == 24 && text.ends_with("=="), "{text}");
            assert!(text[..22].bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b)), "{text}");
            assert!("AQgw".contains(&text[21..22]), "{text}");
        }
    }
}
