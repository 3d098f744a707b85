//! Who may read, and who may change something: whoever has a token with that right; without one a peer on this machine, and
//! reading those in `control.readers`.
//!
//! A loopback peer is only taken for a person on this machine where nothing says otherwise: not a proxy that carries
//! somebody else's request, nor a browser, in which any web page could have written it.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use crate::config::{Control, Right, Token};

/// Headers by which a proxy tells that the request is not its own.
const CARRIED: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "via",
    "sec-fetch-site",
];

/// What the audit log calls a peer on this machine that needs no token.
const LOOPBACK: &str = "loopback";

/// Whose connection a control request came on.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address, where it is known.
    pub ip: Option<IpAddr>,
    /// It came to the traffic port.
    pub on_traffic_port: bool,
    /// Its `Host` is not the admin listener's: of a web page, perhaps, whose name was pointed at this machine.
    pub misdirected: bool,
}

/// Both listeners put it into the request's extensions. Who is not known is nobody in particular.
impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let unknown = Peer { ip: None, on_traffic_port: true, misdirected: false };
        Ok(parts.extensions.get::<Peer>().copied().unwrap_or(unknown))
    }
}

/// Why somebody may not: the status, and what would help.
pub(super) type Denied = (StatusCode, &'static str);

/// Whether this request may see what the admin listener shows; and what others' requests were, on the traffic port, which
/// every client reaches.
///
/// # Errors
/// As [`may_change`].
pub(super) fn may_look(control: &Control, peer: Peer, headers: &HeaderMap) -> Result<(), Denied> {
    directed(peer)?;
    let near = !peer.on_traffic_port && peer.ip.is_some_and(|ip| control.reads_freely(ip));
    if near || named(control, headers).is_ok() {
        return Ok(());
    }
    if peer.on_traffic_port {
        return may_change(control, peer, headers).map(drop);
    }
    if control.tokens.is_empty() {
        let why = "only control.readers may read here: add this network to them, or set control.token";
        return Err((StatusCode::FORBIDDEN, why));
    }
    named(control, headers).map(drop)
}

/// Whether this request may change something, and who asks, for the audit log: the token's name, or `loopback`.
///
/// # Errors
/// 401 where a token is missing or wrong, 403 where its right is missing, or where there is none and the peer is not trusted
/// without.
pub(super) fn may_change<'a>(
    control: &'a Control,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<&'a str, Denied> {
    directed(peer)?;
    if control.tokens.iter().any(|token| token.right == Right::Change) {
        let token = named(control, headers)?;
        return match token.right {
            Right::Change => Ok(&token.name),
            Right::Read => {
                Err((StatusCode::FORBIDDEN, "this token may only read: use one with rights = \"change\""))
            }
        };
    }
    if !peer.ip.is_some_and(|ip| ip.is_loopback()) {
        return Err((
            StatusCode::FORBIDDEN,
            "only this machine may change anything: set control.token for others",
        ));
    }
    if headers.contains_key(header::ORIGIN) || CARRIED.iter().any(|name| headers.contains_key(*name)) {
        let why = "a browser's or a proxy's request needs a token: set control.token";
        return Err((StatusCode::FORBIDDEN, why));
    }
    Ok(LOOPBACK)
}

/// Refuses, whatever token it carries, what means another listener.
fn directed(peer: Peer) -> Result<(), Denied> {
    if !peer.misdirected {
        return Ok(());
    }
    let why =
        "this listener has another name: use its address or localhost, or add the name to control.hosts";
    Err((StatusCode::MISDIRECTED_REQUEST, why))
}

/// Whose token a request carries, for the audit log; empty without one that is known.
pub(super) fn who<'a>(control: &'a Control, headers: &HeaderMap) -> &'a str {
    named(control, headers).map_or("", |token| &token.name)
}

/// The token that a request carries.
fn named<'a>(control: &'a Control, headers: &HeaderMap) -> Result<&'a Token, Denied> {
    let value = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let offered = value.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
    let Some((_, offered)) = offered else {
        return Err((StatusCode::UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN"));
    };
    let found = Token::among(&control.tokens, offered);
    found.ok_or((StatusCode::UNAUTHORIZED, "the token is not the one in control.token"))
}
