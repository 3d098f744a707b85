//! A response's head on its way to the client: nothing about the backend's connection is left, no two framings, and everything
//! else is as it was.

use hyper::header::{self, HeaderMap, HeaderValue};
use load_balancer::http::headers::{clean_response, clean_upgrade};

use super::input;

/// Fields about the connection to the backend.
const HOP: [&str; 5] = ["keep-alive", "proxy-connection", "transfer-encoding", "te", "connection"];
/// Fields that `Connection` cannot take away.
const ESSENTIAL: [&str; 8] =
    ["close", "host", "content-length", "content-type", "authorization", "cookie", "te", "upgrade"];

/// The input is lines `name: value`.
pub fn run(data: &[u8]) {
    let before = input::fields(data);
    let mut after = before.clone();
    clean_response(&mut after);
    for name in HOP {
        assert!(!after.contains_key(name), "{name} is left");
    }
    assert!(!after.contains_key(header::UPGRADE));
    let framed_twice =
        before.contains_key(header::TRANSFER_ENCODING) && after.contains_key(header::CONTENT_LENGTH);
    assert!(!framed_twice, "a length is left beside chunks");
    let nominated = input::tokens(&before, &header::CONNECTION);
    for name in before.keys() {
        let text = name.as_str();
        let named = nominated.iter().any(|token| token == text) && !ESSENTIAL.contains(&text);
        let chunked = *name == header::CONTENT_LENGTH && before.contains_key(header::TRANSFER_ENCODING);
        if named || chunked || HOP.contains(&text) || *name == header::UPGRADE {
            assert!(!after.contains_key(name), "{text} is left");
        } else if !["http2-settings", "expect", "proxy-authorization"].contains(&text) {
            assert!(before.get_all(name).iter().eq(after.get_all(name)), "{text} has changed");
        }
    }
    assert!(after.keys().all(|name| before.contains_key(name)), "something is new");

    let mut again = after.clone();
    clean_response(&mut again);
    assert_eq!(again, after, "twice is once");
    upgraded(&before, &after);
}

/// A 101 keeps the protocol that it names, and says that the connection is meant.
fn upgraded(before: &HeaderMap, cleaned: &HeaderMap) {
    let mut after = before.clone();
    clean_upgrade(&mut after);
    assert_eq!(after.get(header::UPGRADE), before.get(header::UPGRADE));
    let connection: Vec<&HeaderValue> = after.get_all(header::CONNECTION).iter().collect();
    assert_eq!(connection, ["upgrade"]);
    after.remove(header::UPGRADE);
    after.remove(header::CONNECTION);
    assert_eq!(&after, cleaned);
}
