//! Lines as their readers meet them.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderValue};
use hyper::{HeaderMap, Method, Uri};

use super::super::super::trail::Passing;
use super::*;

fn trail(target: &str, host: &[u8]) -> Trail {
    let headers: HeaderMap = [(HOST, HeaderValue::from_bytes(host).unwrap())].into_iter().collect();
    let client = IpAddr::from([203, 0, 113, 7]);
    let uri: Uri = target.parse().unwrap();
    let mut passing = Passing::new(&Method::GET, &uri, Version::HTTP_11, &headers, client);
    passing.id = Some(HeaderValue::from_static("id-1\"\\"));
    Trail { passing, spans: None, logged: true }
}

const ENDING: Ending<'static> = Ending {
    pool: "default",
    algorithm: Some("adaptive"),
    backend: Some("b1"),
    region: Some("EU"),
    code: 502,
    reason: Some("upstream_reset"),
    attempts: 2,
    bytes_in: 3,
    bytes_out: 4_096,
    total: Duration::from_micros(12_034),
    overhead: Duration::from_micros(34),
};

fn line(trail: &Trail, format: Format, query: bool) -> String {
    let mut out = Vec::new();
    write(&mut out, trail, &ENDING, Style { format, query }, 1_795_257_402_007);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_json_line_is_one_object() {
    let text = line(&trail("/a%20b/\"x\"?token=secret", b"lab\xff"), Format::Json, false);
    assert!(text.ends_with("}\n") && text.matches('\n').count() == 1 && !text.contains("secret"), "{text}");
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = serde_json::json!({
        "time": "2026-11-21T10:36:42.007Z", "request_id": "id-1\"\\", "client": "203.0.113.7", "region": "EU",
        "method": "GET", "host": "lab\u{fffd}", "path": "/a%20b/\"x\"", "protocol": "HTTP/1.1", "status": 502,
        "algorithm": "adaptive", "backend": "b1", "attempts": 2, "bytes_in": 3, "bytes_out": 4096,
        "total_ms": 12.034, "overhead_ms": 0.034, "reason": "upstream_reset",
    });
    assert_eq!(told, expected);
    let with: serde_json::Value =
        serde_json::from_str(&line(&trail("/?token=secret", b"lab"), Format::Json, true)).unwrap();
    assert_eq!(with["query"], "token=secret");
}

#[test]
fn a_text_line_is_as_web_servers_write_it() {
    let text = line(&trail("/a?b=c", b"lab"), Format::Text, true);
    assert_eq!(
        text,
        "203.0.113.7 - - [2026-11-21T10:36:42.007Z] \"GET /a?b=c HTTP/1.1\" 502 4096 \
         request_id=\"id-1\\\"\\\\\" host=lab region=EU algorithm=adaptive backend=b1 attempts=2 bytes_in=3 \
         total_ms=12.034 overhead_ms=0.034 reason=upstream_reset\n"
    );
    let text = line(&trail("/\"\u{e9}?b", b"a b=c \xff"), Format::Text, false);
    assert!(text.contains("\"GET /\\\"\u{e9} HTTP/1.1\""), "{text}");
    assert!(text.contains("host=\"a b=c \\ufffd\" region"), "{text}");
}

#[test]
fn what_clients_send_is_cut_to_a_length() {
    let long = "x".repeat(20_000);
    let trail = trail(&format!("/{long}?{long}"), long.as_bytes());
    for format in [Format::Json, Format::Text] {
        let text = line(&trail, format, true);
        assert!(text.len() < 7_000, "{}", text.len());
        assert_eq!(text.matches("xx…").count(), 3, "{text}");
    }
    let told: serde_json::Value = serde_json::from_str(&line(&trail, Format::Json, true)).unwrap();
    assert_eq!(told["path"], format!("/{}…", "x".repeat(2_047)));
}

#[test]
fn dates_are_right_across_leap_years() {
    let of = |at| {
        let mut out = Vec::new();
        time(&mut out, at);
        String::from_utf8(out).unwrap()
    };
    for (at, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (951_868_800_000, "2000-03-01T00:00:00.000Z"),
        (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
        (1_767_225_599_000, "2025-12-31T23:59:59.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(of(at), expected);
    }
}
