//! Streams at flat memory: `/bytes/<n>`, `/sse`, `/trailers`.
//!
//! Byte i of `/bytes` is i mod 251, a prime, so that a lost, doubled or shifted piece shows wherever it happens. The
//! trailer of `/trailers` is the FNV-1a checksum of the body in hexadecimal; by RFC 9110 it is only sent to a client
//! that said `TE: trailers`. How it fails: numbers out of range are 400 with the range.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http_body_util::StreamBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde::Deserialize;

use crate::app::App;
use crate::reply;

/// The pattern's period, bytes.
const PERIOD: usize = 251;

/// One piece: a whole number of periods near 64 KiB, the size at which copying no longer gets cheaper.
const PIECE: usize = PERIOD * 261;

/// Largest `/bytes`: a tebibyte, days at any rate a laptop reaches.
const BYTES_MAX: u64 = 1 << 40;

/// Most events of one `/sse`.
const EVENTS_MAX: u64 = 1_000_000;

/// Events when nobody says how many.
const EVENTS: u64 = 10;

/// Longest pause between events, and the pause when nobody says, milliseconds.
const PAUSE_MAX_MS: u64 = 60_000;
const PAUSE_MS: u64 = 100;

/// The body of `/trailers`, one chunk each.
const CHUNKS: [&str; 3] = ["first\n", "second\n", "third\n"];

static PATTERN: [u8; PIECE] = pattern();

#[expect(clippy::cast_possible_truncation, reason = "a remainder of 251 fits a byte")]
const fn pattern() -> [u8; PIECE] {
    let mut bytes = [0; PIECE];
    let mut i = 0;
    while i < PIECE {
        bytes[i] = (i % PERIOD) as u8;
        i += 1;
    }
    bytes
}

/// So many bytes of the pattern are left.
struct Pattern(u64);

impl HttpBody for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.0 == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.0).map_or(PIECE, |left| left.min(PIECE));
        self.0 -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PATTERN[..length])))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

pub(in crate::routes) async fn bytes(Path(text): Path<String>) -> Response {
    match text.parse().ok().filter(|n| *n <= BYTES_MAX) {
        Some(n) => {
            ([(header::CONTENT_TYPE, "application/octet-stream")], Body::new(Pattern(n))).into_response()
        }
        None => reply::bad_request(format!("{text:?} is no length; send a number from 0 to {BYTES_MAX}")),
    }
}

#[derive(Debug, Deserialize)]
pub(in crate::routes) struct Wish {
    n: Option<u64>,
    every_ms: Option<u64>,
}

/// The first event comes at once, the others `every_ms` apart; then the stream ends, as it does when the server stops.
pub(in crate::routes) async fn events(State(app): State<Arc<App>>, Query(wish): Query<Wish>) -> Response {
    let (n, every) = (wish.n.unwrap_or(EVENTS), wish.every_ms.unwrap_or(PAUSE_MS));
    if n > EVENTS_MAX || every > PAUSE_MAX_MS {
        return reply::bad_request(format!("send n up to {EVENTS_MAX} and every_ms up to {PAUSE_MAX_MS}"));
    }
    let every = Duration::from_millis(every);
    let name = app.config.name.clone();
    let events = stream::iter(0..n).then(move |i| {
        let event = Event::default().id(i.to_string()).event("tick").data(&name);
        async move {
            if i > 0 {
                tokio::time::sleep(every).await;
            }
            Ok::<_, Infallible>(event)
        }
    });
    Sse::new(events.take_until(Box::pin(app.stopping()))).into_response()
}

pub(in crate::routes) async fn trailers() -> Response {
    let data = CHUNKS.iter().map(|chunk| Frame::data(Bytes::from_static(chunk.as_bytes())));
    let sum = format!("{:016x}", fnv1a(CHUNKS.concat().as_bytes()));
    let value = HeaderValue::try_from(sum).unwrap_or_else(|_| HeaderValue::from_static("-"));
    let end = Frame::trailers(HeaderMap::from_iter([(CHECKSUM, value)]));
    let frames: Vec<Result<_, Infallible>> = data.chain([end]).map(Ok).collect();
    let body = Body::new(StreamBody::new(stream::iter(frames)));
    ([(header::TRAILER, CHECKSUM.as_str()), (header::CONTENT_TYPE, "text/plain")], body).into_response()
}

/// Name of the trailer.
const CHECKSUM: header::HeaderName = header::HeaderName::from_static("x-checksum");

/// FNV-1a, 64 bits: a checksum that a test can redo in three lines.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_fnv_1a() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn pieces_continue_the_pattern() {
        assert_eq!(PATTERN[PERIOD..2 * PERIOD], PATTERN[..PERIOD]);
        assert_eq!(usize::from(PATTERN[PIECE - 1]), PERIOD - 1);
    }
}
