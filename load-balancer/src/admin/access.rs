//! Who may change something: whoever has the token, or, where there is none, a peer on this machine.
//!
//! A loopback peer is only taken for a person on this machine where nothing says otherwise: not a proxy that carries
//! somebody else's request, nor a browser, in which any web page could have written it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use crate::config::Control;

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

/// Whose connection a control request came on.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its address, where it is known.
    pub ip: Option<IpAddr>,
    /// It came to the traffic port.
    pub on_traffic_port: bool,
}

/// The traffic port puts it into the request's extensions, the admin listener knows the connection.
impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let told = parts.extensions.get::<Peer>().copied();
        let connected = || {
            let info = parts.extensions.get::<ConnectInfo<SocketAddr>>();
            Peer { ip: info.map(|info| info.0.ip().to_canonical()), on_traffic_port: false }
        };
        Ok(told.unwrap_or_else(connected))
    }
}

/// Why somebody may not: the status, and what would help.
pub(super) type Denied = (StatusCode, &'static str);

/// Whether this request may see what others' requests were: on the admin listener anybody may, on the traffic port whoever
/// may change something, since every client reaches that.
///
/// # Errors
/// As [`may_change`].
pub(super) fn may_look(control: &Control, peer: Peer, headers: &HeaderMap) -> Result<(), Denied> {
    if peer.on_traffic_port { may_change(control, peer, headers) } else { Ok(()) }
}

/// Whether this request may change something.
///
/// # Errors
/// 401 where a token is missing or wrong, 403 where there is none and the peer is not trusted without.
pub(super) fn may_change(control: &Control, peer: Peer, headers: &HeaderMap) -> Result<(), Denied> {
    if let Some(token) = &control.token {
        let value = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let offered = value.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "));
        return match offered {
            Some((_, offered)) if token.is(offered) => Ok(()),
            Some(_) => Err((StatusCode::UNAUTHORIZED, "the token is not the one in control.token")),
            None => Err((StatusCode::UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN")),
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
    Ok(())
}
