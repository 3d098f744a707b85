//! Reading `/server_up`: a URL from outside becomes an address that the balancer may send requests to.
//!
//! A name is looked up once, here, and the address it had is what gets used: a name that later points elsewhere (DNS
//! rebinding) moves nothing. Every address a name has must lie in `control.networks`, which leave out link-local ones,
//! where clouds hand out credentials; and none may be the balancer itself, which would send requests in circles.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use axum::http::StatusCode;
use reqwest::Url;

use super::membership::object;
use crate::config::{Address, Config};
use crate::event::Ask;

/// Longest that a name may take to look up.
const LOOKUP: Duration = Duration::from_secs(2);
/// Where clouds answer with credentials outside of the link-local network: AWS and Google over IPv6, Azure, Alibaba. Refused
/// whatever `control.networks` says.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// The backend that a body announces.
///
/// # Errors
/// 400 with the field and the fix; 403 where nobody may register.
pub(super) async fn read(
    body: &[u8],
    config: &Config,
    listening: &[SocketAddr],
) -> Result<Ask, (StatusCode, String)> {
    let control = &config.control;
    if !control.registration {
        let why = "<Error> no backend may register itself here: set control.registration = true";
        return Err((StatusCode::FORBIDDEN, why.to_owned()));
    }
    let Announced { name, host, port, secure } = announced(body)?;
    if secure && !config.pool.tls.enabled {
        let why = "begins with https://, and nobody who registers is spoken with by TLS here: set pool.tls.enabled = true";
        return Err(bad(why));
    }
    let found = tokio::time::timeout(LOOKUP, tokio::net::lookup_host((host.as_str(), port)));
    let found: Vec<SocketAddr> = match found.await {
        Ok(Ok(found)) => found.map(|a| SocketAddr::new(a.ip().to_canonical(), a.port())).collect(),
        Ok(Err(error)) => return Err(bad(format!("{host:?} cannot be looked up: {error}"))),
        Err(_) => return Err(bad(format!("{host:?} took too long to look up"))),
    };
    let Some(first) = found.first() else { return Err(bad(format!("{host:?} has no address"))) };
    for address in &found {
        if METADATA.contains(&address.ip()) {
            return Err(bad(format!("{} is where clouds hand out credentials", address.ip())));
        }
        if !control.networks.iter().any(|net| net.contains(&address.ip())) {
            return Err(bad(format!("{} is in none of control.networks", address.ip())));
        }
        if listening.iter().any(|own| own.port() == port && is_own(own.ip(), address.ip())) {
            return Err(bad(format!("{address} is this balancer itself")));
        }
    }
    Ok(Ask::Register { name, address: Address::Ip(*first) })
}

fn bad(why: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, format!("<Error> url: {why}"))
}

/// A backend as it announces itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// It says that it speaks TLS. Without that the pool's settings decide, as for everybody who joins.
    pub(crate) secure: bool,
}

/// What a body announces.
pub(crate) fn announced(body: &[u8]) -> Result<Announced, (StatusCode, String)> {
    let fields = object(body, &["url"])?;
    let text = fields.get("url").and_then(serde_json::Value::as_str).unwrap_or_default();
    // A URL with a password is no place for a backend, and the password is nobody's business.
    let shown = if text.contains('@') { "(not shown)".to_owned() } else { format!("{text:?}") };
    target(text).map_err(|why| bad(format!("{shown} {why}")))
}

/// A URL that is nothing but scheme, host and port.
fn target(text: &str) -> Result<Announced, &'static str> {
    let url = Url::parse(text).map_err(|_| "is no URL: write \"http://host:port/\"")?;
    let secure = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err("must begin with http:// or https://"),
    };
    let bare = url.username().is_empty() && url.password().is_none();
    if !bare || !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("must be no more than http://host:port/");
    }
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(0);
    if host.is_empty() || port == 0 {
        return Err("needs a host and a port above 0");
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name = format!("{}-{port}", host.chars().map(plain).collect::<String>());
    if name.len() > crate::config::NAME_MOST {
        return Err("has too long a host name: at most 57 characters");
    }
    Ok(Announced { name, host, port, secure })
}

/// Whether an address is this machine's, where `own` is what the balancer listens on.
fn is_own(own: IpAddr, ip: IpAddr) -> bool {
    // Only a machine's own addresses can be bound.
    ip == own || (own.is_unspecified() && UdpSocket::bind((ip, 0)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(url: &str, networks: &[&str]) -> Result<Ask, String> {
        ask_of("", url, networks).await
    }

    /// A balancer with these further settings.
    async fn ask_of(settings: &str, url: &str, networks: &[&str]) -> Result<Ask, String> {
        let text = format!(
            "[control]\nregistration = true\nnetworks = {networks:?}\n{settings}[[pool.backend]]\naddress = \"127.0.0.1:1\"\n"
        );
        let config = Config::parse(&text, std::iter::empty()).unwrap();
        let body = serde_json::json!({ "url": url }).to_string();
        let own = ["0.0.0.0:5000".parse().unwrap(), "127.0.0.1:9901".parse().unwrap()];
        read(body.as_bytes(), &config, &own).await.map_err(|(_, message)| message)
    }

    #[tokio::test]
    async fn takes_what_it_may() {
        let expected = |name: &str, address: &str| {
            Ok(Ask::Register { name: name.into(), address: Address::Ip(address.parse().unwrap()) })
        };
        let private = ["127.0.0.0/8", "10.0.0.0/8", "::1/128"];
        assert_eq!(
            ask("http://127.0.0.1:8001/", &private).await,
            expected("127.0.0.1-8001", "127.0.0.1:8001")
        );
        assert_eq!(ask("http://10.1.2.3", &private).await, expected("10.1.2.3-80", "10.1.2.3:80"));
        assert_eq!(ask("http://[::1]:81/", &private).await, expected("--1-81", "[::1]:81"));
    }

    #[tokio::test]
    async fn https_is_taken_where_the_pool_speaks_it() {
        let tls = "[pool.tls]\nenabled = true\ninsecure_skip_verify = true\n";
        for url in ["https://127.0.0.1", "https://127.0.0.1:443/", "http://127.0.0.1:443"] {
            let address = Address::Ip("127.0.0.1:443".parse().unwrap());
            let expected = Ask::Register { name: "127.0.0.1-443".to_owned(), address };
            assert_eq!(ask_of(tls, url, &["127.0.0.0/8"]).await, Ok(expected), "{url}");
        }
    }

    #[tokio::test]
    async fn refuses_what_it_must_not_send_to() {
        let private = ["127.0.0.0/8", "10.0.0.0/8"];
        for (url, why) in [
            ("", "no URL"),
            ("server1:5000", "http://"),
            ("https://127.0.0.1:8001/", "set pool.tls.enabled"),
            ("ftp://127.0.0.1/", "http://"),
            ("file:///etc/passwd", "http://"),
            ("http://user@127.0.0.1:8001/", "no more than"),
            ("http://127.0.0.1:8001/path", "no more than"),
            ("http://127.0.0.1:8001/?q", "no more than"),
            ("http://127.0.0.1:0/", "above 0"),
            ("http://169.254.169.254/", "control.networks"),
            ("http://[::ffff:169.254.169.254]/", "control.networks"),
            ("http://2852039166/", "control.networks"),
            ("http://0.0.0.0:8001/", "control.networks"),
            ("http://93.184.216.34/", "control.networks"),
            ("http://[fd00:ec2::254]/", "credentials"),
            ("http://127.0.0.1:5000/", "itself"),
            ("http://127.0.0.1:9901/", "itself"),
            ("http://no.such.host.invalid:8001/", "looked up"),
        ] {
            let refused = ask(url, &private).await.unwrap_err();
            assert!(refused.starts_with("<Error> url: ") && refused.contains(why), "{url}: {refused}");
        }
    }
}
