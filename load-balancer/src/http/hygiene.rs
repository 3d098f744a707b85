//! Who a request says it is for: one host, one well-formed target, and both the same (RFC 9110, 4.2 and 7.2; RFC 9112, 3.2).
//!
//! Which bytes are the request is settled before (`listener::gate`). What is refused here is never repaired: a request that
//! names two hosts may be routed by one and answered for the other.

use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Version, header};

use super::headers::Seen;
use crate::error::{Kind, ProxyError};

/// Refuses a target or a host that is in doubt.
pub(super) fn check(head: &Parts, seen: Seen) -> Result<(), ProxyError> {
    check_target(head)?;
    let host = match seen.hosts {
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
