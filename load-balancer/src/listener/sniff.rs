//! Which protocol a client speaks, where nobody has said so before: HTTP/2 begins with 24 bytes that no request of HTTP/1.1
//! begins with (RFC 9113, 3.4). The first bytes that differ decide, so HTTP/1.1 waits for nothing.
//!
//! It decides for HTTP/1.1 whenever it cannot know: what follows answers a slow, an ended or a draining connection.

use std::rc::Rc;
use std::task::Poll;

use super::client::{Client, Timer};
use super::http2::PREFACE;
use crate::socket::Socket;
use crate::stage::Stage;
use crate::worker::Worker;

/// Reads until it is clear. Whether it is HTTP/2, and what was read.
pub(super) async fn sniff(
    worker: &Rc<Worker>,
    client: &Client,
    socket: &mut Socket,
    timer: &mut Timer,
) -> (bool, Vec<u8>) {
    let mut early = Vec::new();
    let http2 = std::future::poll_fn(|cx| {
        client.remember(cx);
        loop {
            let read = {
                let mut scratch = worker.scratch.borrow_mut();
                let read = socket.poll_fill(cx, &mut scratch);
                if let Poll::Ready(Ok(read)) = read {
                    early.extend_from_slice(&scratch[..read]);
                }
                read
            };
            match read {
                Poll::Ready(Ok(1..)) if early.len() < PREFACE.len() && PREFACE.starts_with(&early) => {}
                Poll::Ready(_) => return Poll::Ready(early.starts_with(PREFACE)),
                Poll::Pending if worker.stage.get() == Stage::Draining => return Poll::Ready(false),
                Poll::Pending => {
                    return timer.poll(cx, &worker.shared.clock, client.deadline()).map(|()| false);
                }
            }
        }
    })
    .await;
    (http2, early)
}
