//! gRPC over HTTP/2: its deadlines, its way to say that a request failed, and what its statuses say about a backend.
//!
//! Calls are proxied as any other request: trailers, streams both ways and cancellation are HTTP/2's own. Statuses are
//! numbers of gRPC's `statuscodes.md`, their relation to HTTP's is that of `http-grpc-status-mapping.md`.

use std::time::Duration;

use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response};

use super::headers::REQUEST_ID;
use crate::error::{Kind, ProxyError};
use crate::forward::Body;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Most digits of a deadline.
const DIGITS_MOST: usize = 8;

/// Whether a message with these fields is gRPC's: `application/grpc`, alone or with `+proto`, `;charset=…` behind it.
#[must_use]
pub fn is(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(CONTENT_TYPE.as_bytes()));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How long the client is willing to wait, where it says so (`100m` is 100 ms).
#[must_use]
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let fits = (1..=DIGITS_MOST).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    let n: u64 = number.parse().ok().filter(|_| fits)?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3_600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

/// Whether a call's status says that its backend is not well: UNKNOWN (what an exception becomes), INTERNAL, UNAVAILABLE and
/// DATA_LOSS. Others are the client's doing, a short deadline and an unknown method among them.
#[must_use]
pub fn blames_backend(fields: &HeaderMap) -> bool {
    fields.get(STATUS).is_some_and(|status| matches!(status.as_bytes(), b"2" | b"13" | b"14" | b"15"))
}

/// The balancer's refusal of a call: status and message in the place of trailers, HTTP's status being 200.
#[must_use]
pub fn refusal(error: &ProxyError, id: &HeaderValue) -> Response<Body> {
    let message = if error.kind.tells_detail() { &*error.detail } else { error.kind.message() };
    let mut response = Response::new(Body::Full(None));
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    head.insert(STATUS, status(error.kind).into());
    head.insert(MESSAGE, escaped(message));
    head.insert(REQUEST_ID, id.clone());
    response
}

/// The status of a call that failed here.
const fn status(kind: Kind) -> u16 {
    const DEADLINE_EXCEEDED: u16 = 4;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    match kind {
        Kind::TotalTimeout | Kind::RequestTimeout => DEADLINE_EXCEEDED,
        Kind::PathNotAllowed | Kind::MethodNotAllowed => UNIMPLEMENTED,
        _ => match kind.status().as_u16() {
            403 => PERMISSION_DENIED,
            413 | 414 | 431 => RESOURCE_EXHAUSTED,
            429 | 502..=504 => UNAVAILABLE,
            _ => INTERNAL,
        },
    }
}

/// A message as it may stand in a field: everything but printable ASCII, and `%` itself, is percent-encoded.
fn escaped(message: &str) -> HeaderValue {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => text.push_str(&format!("%{byte:02X}")),
            plain => text.push(char::from(plain)),
        }
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("refused"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        [(HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn only_its_own_type_is_grpc() {
        for good in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
            assert!(is(&with("content-type", good)), "{good}");
        }
        for bad in ["application/grpc-web", "application/grpcx", "application/json", ""] {
            assert!(!is(&with("content-type", bad)), "{bad}");
        }
        assert!(!is(&HeaderMap::new()));
    }

    #[test]
    fn deadlines_are_read_strictly() {
        let of = |value| timeout(&with("grpc-timeout", value));
        assert_eq!(of("1H"), Some(Duration::from_secs(3_600)));
        assert_eq!(of("2M"), Some(Duration::from_secs(120)));
        assert_eq!(of("3S"), Some(Duration::from_secs(3)));
        assert_eq!(of("250m"), Some(Duration::from_millis(250)));
        assert_eq!(of("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(of("1n"), Some(Duration::from_nanos(1)));
        for bad in ["", "m", "1", "-1S", "+1S", "1.5S", "1 S", "123456789S", "1d", "1SS"] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn failures_have_a_status_and_a_message_that_is_a_field() {
        for (kind, expected) in [
            (Kind::NoBackend, 14),
            (Kind::UpstreamReset, 14),
            (Kind::FirstByteTimeout, 14),
            (Kind::TotalTimeout, 4),
            (Kind::PathNotAllowed, 12),
            (Kind::AlgorithmNotAllowed, 7),
            (Kind::BodyTooLarge, 8),
            (Kind::BadHost, 13),
        ] {
            let refusal = refusal(&ProxyError::new(kind, "a\n100 % é"), &HeaderValue::from_static("id"));
            assert_eq!(refusal.status(), 200);
            assert_eq!(refusal.headers()["grpc-status"], expected.to_string());
        }
        assert_eq!(escaped("a\n100 % é"), "a%0A100 %25 %C3%A9");
    }

    #[test]
    fn statuses_that_a_client_brings_about_blame_nobody() {
        let blamed: Vec<u16> = (0..=16)
            .filter(|code| {
                let status = HeaderValue::from(*code);
                blames_backend(&[(STATUS, status)].into_iter().collect())
            })
            .collect();
        assert_eq!(blamed, [2, 13, 14, 15]);
        assert!(!blames_backend(&HeaderMap::new()));
    }
}
