//! One client connection from its first byte to its last: which protocol it speaks. What follows is [`http1`]'s or [`http2`]'s.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::client::{Client, Timer};
use super::sniff::sniff;
use super::{http1, http2};
use crate::socket::Socket;
use crate::tls::{HTTP2, Stream};
use crate::worker::Worker;

/// How long and how much an ended connection is read on.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// Bytes: enough for what was in flight when the client learned of its refusal.
const LINGER_BYTES: usize = 4 << 20;

/// Drives one connection to its end.
pub(super) async fn drive(worker: &Rc<Worker>, client: &Rc<Client>, stream: Stream) {
    let agreed = stream.alpn().map(|name| name == HTTP2);
    let mut socket = Socket::new(stream);
    let mut timer = Timer::new(&worker.shared.clock, client.deadline());
    let (http2, early) = match agreed {
        Some(http2) => (http2, Vec::new()),
        None if !worker.config().http2.enabled => (false, Vec::new()),
        None => sniff(worker, client, &mut socket, &mut timer).await,
    };
    worker.meters.http2().speaks(http2);
    if http2 {
        // Boxed, so that the task of a client of HTTP/1.1 has no room for it.
        return Box::pin(http2::drive(worker, client, socket, early, timer)).await;
    }
    http1::drive(worker, client, socket, early, timer).await;
}

/// Ends our side, then reads away what the client may still be sending: closing with unread bytes would reset the
/// connection, and the client might never see our last answer (a 413 in the middle of its upload).
pub(super) async fn linger(mut stream: Stream) {
    let drain = async {
        stream.shutdown().await?;
        let mut sink = vec![0; 16 << 10];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut sink).await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // Whatever happens here concerns a connection that is over.
    let _ = tokio::time::timeout(LINGER, drain).await;
}
