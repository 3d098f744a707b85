//! Who a request says it is for: one host, one well-formed target, and both the same (RFC 9110, 4.2 and 7.2; RFC 9112, 3.2).
//!
//! Which bytes are the request is settled before (`listener::gate`). What is refused here is never repaired: a request that
//! names two hosts may be routed by one and answered for the other.

use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Method, Version, header};

use super::headers::Seen;
use crate::error::{Kind, ProxyError};
use crate::listener::framing_in_disguise;

/// Refuses a target or a host that is in doubt.
pub(super) fn check(head: &Parts, seen: Seen) -> Result<(), ProxyError> {
    check_target(head)?;
    if head.version == Version::HTTP_2 {
        check_fields(head)?;
    }
    let host = match seen.hosts {
        0 if head.version == Version::HTTP_2 => {
            return match head.uri.authority() {
                Some(authority) if is_host(authority.as_str().as_bytes()) => Ok(()),
                Some(_) => bad_host(":authority is not a name or address with a port"),
                None => bad_host("a request needs :authority, or Host"),
            };
        }
        0 if head.version == Version::HTTP_11 => return bad_host("HTTP/1.1 requests need a Host header"),
        0 => return Ok(()),
        1 => head.headers.get(header::HOST).map_or(&b""[..], |host| host.as_bytes()),
        _ => return bad_host("more than one Host header"),
    };
    if !is_host(host) {
        return bad_host("Host is not a name or address with a port");
    }
    match head.uri.authority() {
        Some(target) if !same(target, host, head.uri.scheme_str()) => {
            bad_host("Host differs from the host of the request target")
        }
        _ => Ok(()),
    }
}

fn check_target(head: &Parts) -> Result<(), ProxyError> {
    let bad = |detail| Err(ProxyError::new(Kind::BadTarget, detail));
    let path = head.uri.path();
    match (head.uri.scheme_str(), head.uri.authority()) {
        (None, Some(_)) => return bad("the request target must begin with / or http://"),
        (Some(scheme), _) if !["http", "https"].contains(&scheme) => {
            return bad("the scheme of the request target is neither http nor https");
        }
        (_, Some(authority)) if authority.as_str().contains('@') => {
            return bad("the request target holds a user name");
        }
        _ => {}
    }
    if path == "*" && head.method != Method::OPTIONS {
        return bad("only OPTIONS is for *");
    }
    if path.contains('\\') {
        return bad("a path holds a backslash, which some take for a slash: escape it");
    }
    Ok(())
}

/// What the gate sees to over HTTP/1.1, and the library does not over HTTP/2 (RFC 9113, 8.2.1 and 8.3.1).
fn check_fields(head: &Parts) -> Result<(), ProxyError> {
    let bad = |kind, detail| Err(ProxyError::new(kind, detail));
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    if !target.bytes().all(|b| b.is_ascii_graphic()) {
        return bad(Kind::BadTarget, "the request target holds bytes that must be escaped (RFC 3986)");
    }
    if !target.starts_with('/') && target != "*" {
        return bad(Kind::BadTarget, "the request target must begin with /");
    }
    let padded = |value: &[u8]| matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']);
    for (name, value) in &head.headers {
        if padded(value.as_bytes()) {
            return bad(Kind::BadRequest, "a field's value begins or ends with a blank");
        }
        if *name != header::CONTENT_LENGTH && framing_in_disguise(name.as_str().as_bytes()) {
            let detail = "a field looks like Content-Length or Transfer-Encoding, and is not";
            return bad(Kind::AmbiguousFraming, detail);
        }
    }
    if lengths(&head.headers) > 1 {
        return bad(Kind::AmbiguousFraming, "Content-Length is given twice");
    }
    Ok(())
}

fn lengths(headers: &HeaderMap) -> usize {
    headers.get_all(header::CONTENT_LENGTH).iter().count()
}

fn bad_host<T>(detail: &'static str) -> Result<T, ProxyError> {
    Err(ProxyError::new(Kind::BadHost, detail))
}

/// `name`, `address` or `[address]`, with or without a port (RFC 3986, 3.2.2).
fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host.iter().rposition(|&b| b == b':') {
        Some(at) if host.last() != Some(&b']') => (&host[..at], &host[at + 1..]),
        _ => (host, &b""[..]),
    };
    let literal = name.strip_prefix(b"[").map(|rest| rest.strip_suffix(b"]"));
    let named = match literal {
        Some(inside) => inside.is_some_and(|inside| {
            let text = std::str::from_utf8(inside).ok();
            text.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
        }),
        None => {
            !name.is_empty()
                && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(b))
        }
    };
    let number = std::str::from_utf8(port).ok().and_then(|port| port.parse::<u16>().ok());
    named && (port.is_empty() || (port.iter().all(u8::is_ascii_digit) && number.is_some()))
}

/// Whether the two name the same host and port, letter case and a default port aside.
fn same(target: &Authority, host: &[u8], scheme: Option<&str>) -> bool {
    let default = if scheme == Some("https") { ":443" } else { ":80" };
    let bare = |text: &str| {
        text.strip_suffix(default).or(text.strip_suffix(':')).unwrap_or(text).to_ascii_lowercase()
    };
    std::str::from_utf8(host).is_ok_and(|host| bare(host) == bare(target.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names_or_addresses_with_a_port_at_most() {
        for good in [
            "h",
            "example.com",
            "example.com:8080",
            "10.0.0.1:80",
            "[::1]",
            "[::1]:5000",
            "a_b",
            "h:",
            "x%20y",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "h h", "h/x", "h:8o", "h:123456", "h:65536", "h:+80", "[::1", "::1", "[x]", "h,g@x",
            "h?", "h#", "h\\", "é", "[::1]x",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }
}
