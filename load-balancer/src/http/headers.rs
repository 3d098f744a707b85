//! Header fields on their way through: hop-by-hop ones end here (RFC 9110, 7.6.1), forwarding ones are kept or replaced by
//! trust, everything else passes untouched.

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, Scheme};
use hyper::{HeaderMap, Uri, Version};
use lb_core::{Algorithm, Rng};

use crate::config::Config;
use crate::error::{Kind, ProxyError};
use crate::listener::Client;

/// Identifies a request in logs, records and answers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Chooses the algorithm, as `?algo=` does.
pub const ALGO: HeaderName = HeaderName::from_static("x-lb-algo");
/// Asks for the reason of a refusal.
pub const DEBUG: HeaderName = HeaderName::from_static("x-lb-debug");
/// Tells a backend which algorithm picked it.
pub const ALGORITHM: HeaderName = HeaderName::from_static("x-lb-algorithm");
/// What a client that made too many requests is told of its limit.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The limit itself.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The client, and every proxy on the way.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Longest request id taken over from a client.
const REQUEST_ID_MAX: usize = 128;
/// Header fields a request gains here, at most.
const MAX_ADDED: usize = 8;

/// What one pass over a head found. Every look-up by name costs a hash; most heads have nothing to look up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// `Host` fields.
    pub hosts: usize,
    /// A field addressed to the balancer: a request id, a chosen algorithm, a wish for reasons.
    pub ours: bool,
    /// A field about this connection: `Connection`, `TE`, `Upgrade`.
    pub hop: bool,
    /// The client may be upgraded: it asks for a protocol, and has no body that would stand in the way.
    pub upgrade: bool,
    /// A field that does not go on to a backend as it is.
    stays: bool,
}

impl Seen {
    /// Looks at every field once.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut seen = Seen::default();
        for (name, _) in headers {
            let role = Role::of(name);
            seen.hosts += usize::from(role == Role::Host);
            seen.ours |= role == Role::Ours;
            seen.hop |= role == Role::Connection;
            seen.stays |= !matches!(role, Role::Passes | Role::Host);
        }
        seen
    }
}

/// What a field is to the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Nothing: it goes through untouched.
    Passes,
    /// `Host`.
    Host,
    /// About one connection, and to be read.
    Connection,
    /// About one connection otherwise. `Expect` too: the balancer itself says 100 Continue when the backend takes the body.
    /// `Trailer` is end-to-end and passes.
    Hop,
    /// Addressed to the balancer, which uses it up.
    Ours,
    /// Said anew to every backend.
    Replaced,
    /// Passes where the client is trusted.
    Forwarded,
}

impl Role {
    fn of(name: &HeaderName) -> Self {
        match name.as_str() {
            "host" => Role::Host,
            "connection" | "te" | "upgrade" => Role::Connection,
            "transfer-encoding"
            | "expect"
            | "proxy-authorization"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings" => Role::Hop,
            "x-request-id" | "x-lb-algo" | "x-lb-debug" => Role::Ours,
            "forwarded" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-lb-algorithm" => {
                Role::Replaced
            }
            other if other.starts_with("x-forwarded-") => Role::Forwarded,
            _ => Role::Passes,
        }
    }

    fn goes_on(self, trusted: bool) -> bool {
        matches!(self, Role::Passes | Role::Host) || (self == Role::Forwarded && trusted)
    }

    fn is_hop_by_hop(self) -> bool {
        matches!(self, Role::Connection | Role::Hop)
    }
}

/// What the balancer adds to a request, made once for all its attempts.
pub struct Added {
    trusted: bool,
    algorithm: &'static str,
    request_id: HeaderValue,
    forwarded_for: HeaderValue,
    proto: HeaderValue,
    host: Option<HeaderValue>,
    forwarded: Option<HeaderValue>,
}

impl Added {
    /// Follows the trust rules: a trusted proxy's words are extended, anybody else's replaced.
    #[must_use]
    pub fn new(
        config: &Config,
        client: &Client,
        headers: &HeaderMap,
        algorithm: Algorithm,
        request_id: HeaderValue,
    ) -> Self {
        let believed = |name: HeaderName| if client.trusted { headers.get(name).cloned() } else { None };
        let host = headers.get(header::HOST);
        Added {
            trusted: client.trusted,
            algorithm: algorithm.name(),
            request_id,
            forwarded_for: extended(headers, &X_FORWARDED_FOR, client, &client.peer_ip),
            proto: believed(X_FORWARDED_PROTO).unwrap_or(HeaderValue::from_static(client.scheme())),
            host: believed(X_FORWARDED_HOST).or_else(|| host.cloned()),
            forwarded: config.client.forwarded.then(|| {
                let element = forwarded_element(client, host);
                extended(headers, &header::FORWARDED, client, &element)
            }),
        }
    }
}

/// What a trusted client has in `name`, with `last` behind it; or `last` alone.
fn extended(headers: &HeaderMap, name: &HeaderName, client: &Client, last: &HeaderValue) -> HeaderValue {
    if !client.trusted || !headers.contains_key(name) {
        return last.clone();
    }
    let mut chain: Vec<u8> = Vec::with_capacity(64);
    for value in headers.get_all(name) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(last.as_bytes());
    HeaderValue::from_maybe_shared(Bytes::from(chain)).unwrap_or_else(|_| last.clone())
}

/// `for=…;host=…;proto=http` (RFC 7239): an IPv6 address and a host with a port need quotes.
fn forwarded_element(client: &Client, host: Option<&HeaderValue>) -> HeaderValue {
    let peer = match client.peer.ip().to_canonical() {
        std::net::IpAddr::V6(ip) => format!("\"[{ip}]\""),
        std::net::IpAddr::V4(ip) => ip.to_string(),
    };
    let host = host.and_then(|h| h.to_str().ok()).filter(|h| !h.contains(['"', '\\']));
    let host = host.map(|h| format!(";host=\"{h}\"")).unwrap_or_default();
    let text = format!("for={peer}{host};proto={}", client.scheme());
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("for=unknown"))
}

/// A target in absolute form overrules the `Host` field (RFC 9112, 3.2.2).
pub fn host_of_target(head: &mut Parts, seen: &mut Seen) {
    if let Some(authority) = head.uri.authority() {
        let text = authority.as_str();
        let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
        if let Ok(value) = HeaderValue::from_str(host) {
            head.headers.insert(header::HOST, value);
            seen.hosts = 1;
        }
    }
}

/// The target for a request over HTTP/2, where `Host` is said in `:authority` (RFC 9113, 8.3.1): it is taken out of `headers`.
///
/// # Errors
/// Where it is no authority.
pub fn authority_of_host(target: Uri, headers: &mut HeaderMap, secure: bool) -> Result<Uri, ProxyError> {
    let host = headers.remove(header::HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = target.into_parts();
    parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = authority;
    let said = parts.authority.is_some();
    let target = Uri::from_parts(parts).ok().filter(|_| said);
    target.ok_or_else(|| ProxyError::new(Kind::BadHost, "Host cannot be said over HTTP/2"))
}

/// The head to send to a backend. `default_host` serves clients that sent no `Host`.
#[must_use]
pub fn outgoing(head: &Parts, seen: Seen, added: &Added, default_host: &HeaderValue) -> HeaderMap {
    let mut out = if seen.stays { passed(&head.headers, seen, added.trusted) } else { head.headers.clone() };
    out.reserve(MAX_ADDED);
    if seen.hop && wants_trailers(&head.headers) {
        out.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if seen.upgrade
        && let Some(protocol) = head.headers.get(header::UPGRADE)
    {
        out.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        out.insert(header::UPGRADE, protocol.clone());
    }
    if head.version == Version::HTTP_2 {
        join_cookies(&mut out);
    }
    if seen.hosts == 0 {
        out.insert(header::HOST, default_host.clone());
    }
    out.insert(REQUEST_ID, added.request_id.clone());
    out.insert(ALGORITHM, HeaderValue::from_static(added.algorithm));
    out.insert(X_FORWARDED_FOR, added.forwarded_for.clone());
    out.insert(X_FORWARDED_PROTO, added.proto.clone());
    if let Some(host) = &added.host {
        out.insert(X_FORWARDED_HOST, host.clone());
    }
    if let Some(forwarded) = &added.forwarded {
        out.insert(header::FORWARDED, forwarded.clone());
    }
    out
}

/// What goes on to a backend of a head that has more.
fn passed(headers: &HeaderMap, seen: Seen, trusted: bool) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(headers.len() + MAX_ADDED);
    let nominated = if seen.hop { nominated(headers) } else { Vec::new() };
    for (name, value) in headers {
        if Role::of(name).goes_on(trusted) && !nominated.contains(name) {
            out.append(name, value.clone());
        }
    }
    out
}

/// HTTP/2 may split a cookie field, for better compression; everywhere else there is one (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_maybe_shared(Bytes::from(crumbs.join(&b"; "[..])))
    {
        headers.insert(header::COOKIE, cookie);
    }
}

/// Fields that `Connection` names as hop-by-hop. Nearly always none.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    // Names without which a request would lose its meaning cannot be taken away.
    let essential = |t: &[u8]| {
        [
            "",
            "close",
            "keep-alive",
            "upgrade",
            "te",
            "host",
            "content-length",
            "content-type",
            "authorization",
            "cookie",
        ]
        .iter()
        .any(|e| t.eq_ignore_ascii_case(e.as_bytes()))
    };
    let named = tokens(headers, &header::CONNECTION).filter(|t| !essential(t));
    named.filter_map(|t| HeaderName::from_bytes(t).ok()).collect()
}

/// The members of a list, over all fields of its name. Taken from the bytes: one that is no text must not hide its neighbours.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(|v| v.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    has_token(headers, &header::TE, "trailers")
}

/// The protocol a client asks to switch to, if it may: h2c, even as one of several, is the balancer's own business.
#[must_use]
pub fn upgrade_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    let protocol = headers.get(header::UPGRADE)?;
    let asked = has_token(headers, &header::CONNECTION, "upgrade");
    (asked && !has_token(headers, &header::UPGRADE, "h2c")).then_some(protocol)
}

/// Takes a response's hop-by-hop fields out, in place: mostly there is nothing to do.
pub fn clean_response(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| Role::of(name).is_hop_by_hop()) {
        return;
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // Chunks overrule a length (RFC 9112, 6.3); hyper has decoded them and would now believe the length.
        headers.remove(header::CONTENT_LENGTH);
    }
    for name in nominated(headers) {
        headers.remove(name);
    }
    for name in [header::CONNECTION, header::TE, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}

/// The same for a 101, which keeps what makes it one.
pub fn clean_upgrade(headers: &mut HeaderMap) {
    let protocol = headers.get(header::UPGRADE).cloned();
    clean_response(headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
    }
}

/// The request's id: the client's where it is printable and short, else a new one.
#[must_use]
pub fn request_id(headers: &HeaderMap, seen: Seen, rng: &mut Rng) -> HeaderValue {
    let given =
        seen.ours.then(|| headers.get(REQUEST_ID)).flatten().filter(|v| {
            (1..=REQUEST_ID_MAX).contains(&v.len()) && v.as_bytes().iter().all(u8::is_ascii_graphic)
        });
    given.cloned().unwrap_or_else(|| new_request_id(rng))
}

/// 128 random bits in hex.
#[must_use]
pub fn new_request_id(rng: &mut Rng) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let halves = [rng.next_u64(), rng.next_u64()];
    let text: [u8; 32] = std::array::from_fn(|at| DIGITS[(halves[at / 16] >> (4 * (at % 16)) & 15) as usize]);
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|&(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn nominated_fields_go_and_essential_ones_stay() {
        let headers = map(&[("connection", "close, X-Secret, Content-Length"), ("x-secret", "1")]);
        assert_eq!(nominated(&headers), ["x-secret"]);
        let mut odd = HeaderMap::new();
        odd.insert(header::CONNECTION, HeaderValue::from_bytes(b"X-Secret, \xff").unwrap());
        assert_eq!(nominated(&odd), ["x-secret"], "bytes that are no text do not hide it");
    }

    #[test]
    fn responses_lose_what_concerns_one_connection() {
        let mut headers = map(&[
            ("connection", "keep-alive, x-hop"),
            ("keep-alive", "timeout=5"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x-checksum"),
            ("content-type", "text/plain"),
        ]);
        clean_response(&mut headers);
        let left: std::collections::BTreeSet<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["content-type", "trailer"].into());
    }

    #[test]
    fn cookies_that_were_split_are_joined() {
        let mut headers = map(&[("cookie", "a=1; b=2"), ("x", "y"), ("cookie", "c=3")]);
        join_cookies(&mut headers);
        let all: Vec<_> = headers.get_all("cookie").iter().collect();
        assert_eq!(all, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn only_real_upgrades_pass() {
        let asked = |c, u| upgrade_of(&map(&[("connection", c), ("upgrade", u)])).is_some();
        assert!(asked("keep-alive, Upgrade", "websocket"));
        assert!(!asked("keep-alive", "websocket"));
        assert!(!asked("Upgrade, HTTP2-Settings", "h2c"));
        assert!(!asked("Upgrade", "websocket, h2c"));
        let mut hidden = map(&[("connection", "upgrade")]);
        hidden.insert(header::UPGRADE, HeaderValue::from_bytes(b"h2c, \xff").unwrap());
        assert!(upgrade_of(&hidden).is_none(), "bytes that are no text do not hide it");
    }

    #[test]
    fn request_ids_are_kept_or_made() {
        let mut rng = Rng::seeded(1);
        let id = |v| {
            let headers = map(&[("x-request-id", v)]);
            request_id(&headers, Seen::of(&headers), &mut Rng::seeded(1))
        };
        assert_eq!(id("abc-1"), "abc-1");
        assert_eq!(id("a b").len(), 32);
        assert_ne!(new_request_id(&mut rng), new_request_id(&mut rng));
    }
}
