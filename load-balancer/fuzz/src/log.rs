//! What is written about requests: no byte of a client's ends a line or a string of the access log or commands a terminal, and
//! a `traceparent` is taken only as the recommendation writes it.

use hyper::header::HeaderMap;
use hyper::header::HeaderValue;
use load_balancer::fuzzing::escaped;
use load_balancer::observe::trace::{Parent, TRACEPARENT};

/// The input is what a client sent.
pub fn run(data: &[u8]) {
    let text = String::from_utf8(escaped(data)).unwrap_or_else(|_| panic!("no UTF-8 in the log"));
    let turns = |c: char| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.contains(|c: char| c.is_control() || turns(c)), "{text:?}");
    let back: String =
        serde_json::from_str(&format!("\"{text}\"")).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert_eq!(back, String::from_utf8_lossy(data));

    let mut headers = HeaderMap::new();
    for line in data.split(|&b| b == b'\n') {
        headers.extend(HeaderValue::from_bytes(line).ok().map(|value| (TRACEPARENT, value)));
    }
    if let Some(parent) = Parent::of(&headers) {
        let value = headers[TRACEPARENT].to_str().unwrap();
        let fields: Vec<&str> = value.split('-').collect();
        let hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        assert_eq!(headers.len(), 1);
        assert_eq!(
            fields[..4].iter().map(|field| field.len()).collect::<Vec<_>>(),
            [2, 32, 16, 2],
            "{value}"
        );
        assert!(fields[..4].iter().all(|field| hex(field)) && fields[0] != "ff", "{value}");
        assert!(fields[1..3].iter().all(|field| field.bytes().any(|b| b != b'0')), "{value}: an id of zeros");
        assert_eq!(parent.sampled(), u8::from_str_radix(fields[3], 16).unwrap() & 1 == 1);
    }
}
