//! A health check by gRPC: `grpc.health.v1.Health/Check`, as Kubernetes, Envoy and HAProxy ask it.
//!
//! The messages have one field each, which is why nobody's protobuf is needed: the request is a name, the answer a number.
//! Whatever is not SERVING with the status OK fails the check, in gRPC's own words.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, header};

use super::line::{Line, Target, innermost};

const PATH: &str = "/grpc.health.v1.Health/Check";

/// Most of an answer that is read, bytes: it has two of them behind its prefix.
const MOST: usize = 1 << 10;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Most that `grpc-timeout` can say in one unit: 8 digits.
const TIMEOUT_MOST: u128 = 99_999_999;

/// gRPC's statuses (statuscodes.md), each at its number.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Asks on `line` whether `service` is served, "" being the server as a whole; `timeout` is how long the asker waits.
///
/// # Errors
/// What was answered instead.
pub(super) async fn ask(
    line: &mut Line,
    to: &Target,
    service: &str,
    timeout: Duration,
) -> Result<(), String> {
    let request = to
        .request(Method::POST, PATH)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header("grpc-timeout", format!("{}m", timeout.as_millis().clamp(1, TIMEOUT_MOST)))
        .body(Full::new(question(service)))
        .map_err(|error| error.to_string())?;
    let (head, mut rest) = line.send(request).await?.into_parts();
    if head.status != hyper::StatusCode::OK {
        return Err(format!("status {}", head.status.as_u16()));
    }
    let (mut body, mut fields) = (BytesMut::new(), head.headers);
    while let Some(frame) = rest.frame().await {
        let frame = frame.map_err(|error| format!("the answer broke off: {}", innermost(&error)))?;
        match frame.into_data() {
            Ok(piece) if body.len() + piece.len() > MOST => return Err("too long an answer".to_owned()),
            Ok(piece) => body.extend_from_slice(&piece),
            Err(frame) => fields.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    verdict(&fields, &body, service)
}

/// What an answer means: its status, in trailers or in their place, and its message.
fn verdict(fields: &HeaderMap, body: &[u8], service: &str) -> Result<(), String> {
    let status = fields.get("grpc-status").and_then(|status| status.to_str().ok()?.parse::<usize>().ok());
    let Some(code) = status else { return Err("an answer without grpc-status".to_owned()) };
    let name = STATUSES.get(code).copied().unwrap_or("unknown");
    let why = match name {
        "OK" => return said(body),
        "NOT_FOUND" => format!(": it knows no service {service:?}"),
        "UNIMPLEMENTED" => ": it has no grpc.health.v1.Health".to_owned(),
        _ => String::new(),
    };
    Err(format!("grpc-status {code} {name}{why}"))
}

/// What a message says of the service.
fn said(body: &[u8]) -> Result<(), String> {
    let word = match status(body) {
        Some(1) => return Ok(()),
        Some(0) => "UNKNOWN",
        Some(2) => "NOT_SERVING",
        Some(3) => "SERVICE_UNKNOWN",
        Some(_) => "a status that nobody knows",
        None => "an answer that is no HealthCheckResponse",
    };
    Err(word.to_owned())
}

/// A `HealthCheckRequest` behind its prefix: field 1 is the service, and is not there where it is "".
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        let mut length = service.len();
        while length > 0x7f {
            message.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put(message);
    framed.freeze()
}

/// Field 1 of a `HealthCheckResponse` behind its prefix, 0 where it has none; `None` where it is no message.
fn status(body: &[u8]) -> Option<u64> {
    let (prefix, mut rest) = body.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    if prefix[0] != 0 || rest.len() != length as usize {
        return None;
    }
    let mut status = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let skip = match tag & 7 {
            0 => {
                let value = varint(&mut rest)?;
                status = if tag >> 3 == 1 { value } else { status };
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        rest = rest.get(skip..)?;
    }
    Some(status)
}

/// A number of at most 64 bits, the lowest seven first.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    fn ended(status: &'static str, body: &[u8]) -> Result<(), String> {
        verdict(&HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]), body, "s")
    }

    #[test]
    fn a_question_is_what_protobuf_makes_of_it() {
        assert_eq!(question(""), [0, 0, 0, 0, 0][..]);
        assert_eq!(question("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b'][..]);
        let long = question(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
        assert_eq!(long.len(), 5 + 3 + 300);
    }

    #[test]
    fn only_serving_passes() {
        assert_eq!(ended("0", &framed(&[8, 1])), Ok(()));
        // Fields that nobody has heard of are passed over, of any kind; the last of its own counts.
        let more = [0x10, 0x96, 1, 0x1a, 2, 8, 2, 0x25, 1, 2, 3, 4, 0x29, 1, 2, 3, 4, 5, 6, 7, 8, 8, 2, 8, 1];
        assert_eq!(ended("0", &framed(&more)), Ok(()));
        for (message, word) in [
            (&[][..], "UNKNOWN"),
            (&[8, 0], "UNKNOWN"),
            (&[8, 2], "NOT_SERVING"),
            (&[8, 3], "SERVICE_UNKNOWN"),
            (&[8, 4], "nobody knows"),
            (&[8], "no HealthCheckResponse"),
            (&[0x0b], "no HealthCheckResponse"),
            (&[0x0a, 9, 1], "no HealthCheckResponse"),
        ] {
            let told = ended("0", &framed(message)).unwrap_err();
            assert!(told.contains(word), "{message:?}: {told}");
        }
        for body in
            [&[][..], &[0, 0, 0, 0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 9, 8, 1], &[0, 0, 0, 0, 1, 8, 1]]
        {
            assert!(ended("0", body).unwrap_err().contains("no HealthCheckResponse"), "{body:?}");
        }
    }

    #[test]
    fn a_call_that_failed_is_told_in_its_own_words() {
        let serving = framed(&[8, 1]);
        assert_eq!(ended("5", &serving).unwrap_err(), "grpc-status 5 NOT_FOUND: it knows no service \"s\"");
        assert!(ended("12", &[]).unwrap_err().ends_with("UNIMPLEMENTED: it has no grpc.health.v1.Health"));
        assert_eq!(ended("14", &[]).unwrap_err(), "grpc-status 14 UNAVAILABLE");
        assert_eq!(ended("77", &[]).unwrap_err(), "grpc-status 77 unknown");
        for none in ["x", "-1", ""] {
            assert!(ended(none, &serving).unwrap_err().contains("without grpc-status"));
        }
        assert!(verdict(&HeaderMap::new(), &serving, "").unwrap_err().contains("without grpc-status"));
    }

    /// Any bytes are a number or no message, and never a reason to stop.
    #[test]
    fn any_bytes_are_read_to_an_end() {
        let mut rng = lb_core::Rng::seeded(9);
        for _ in 0..20_000 {
            let message: Vec<u8> = (0..rng.below(24)).map(|_| rng.below(256) as u8).collect();
            let read = status(&framed(&message));
            // What is there as a whole is there with an empty field behind it, too.
            let longer = [&message[..], &[0x12, 0]].concat();
            if read.is_some() {
                assert_eq!(status(&framed(&longer)), read, "{message:?}");
            }
        }
    }
}
