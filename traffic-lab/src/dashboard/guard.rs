//! Who is answered, and what a browser may do with the answer.
//!
//! A web page elsewhere could let its own name point to 127.0.0.1 and read what is here (DNS rebinding). Its requests say
//! that name in `Host`, so only names of this machine are answered. The page loads nothing from anywhere else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Shared;

/// Plotly sets its styles in elements of its own, hence `unsafe-inline` for styles, and for styles alone. `data:` and
/// `blob:` are for the picture that its camera button makes.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Refuses strange hosts, and puts the headers on every answer.
pub(super) async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut response = if is_ours(request.headers(), shared.listen) {
        next.run(request).await
    } else {
        let port = shared.listen.port();
        let why = format!("This host name is not answered. Open http://127.0.0.1:{port}/\n");
        (StatusCode::FORBIDDEN, why).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // Assets bring their own; all else is what it is at this moment.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Whether `Host` is localhost, a loopback address or where this server listens. Where that is everywhere, any address
/// will do: it takes a name to be rebound.
fn is_ours(headers: &HeaderMap, listen: SocketAddr) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    name.parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_loopback() || ip == listen.ip() || listen.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(host: &str, listen: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())]);
        is_ours(&headers, listen.parse().unwrap())
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in ["localhost:8050", "LOCALHOST", "127.0.0.1:8050", "[::1]:8050", "127.0.0.1"] {
            assert!(ours(host, "127.0.0.1:8050"), "{host}");
        }
        for host in
            ["evil.example:8050", "127.0.0.1.evil.example", "10.0.0.5:8050", "", "[evil]", "localhost.evil"]
        {
            assert!(!ours(host, "127.0.0.1:8050"), "{host}");
        }
        assert!(ours("10.0.0.5:8050", "10.0.0.5:8050"));
        assert!(ours("10.0.0.5:8050", "0.0.0.0:8050"));
        assert!(!ours("evil.example", "0.0.0.0:8050"));
        assert!(!is_ours(&HeaderMap::new(), "127.0.0.1:8050".parse().unwrap()));
    }
}
