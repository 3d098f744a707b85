//! Announces this server to the balancer: POST `{"url": …}` again and again until it is accepted.
//!
//! Backends and balancer start in any order, so a refusal is never final: even 401 may become 200 once somebody
//! corrects the balancer's settings. The pauses grow from a quarter of a second to ten seconds, and half of each is
//! random, so that a hundred servers that lost one balancer do not come back in one beat.
//! How it fails: it does not end; each failure is one line in the log with the reason and the next try.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rand::RngExt;
use reqwest::{Client, StatusCode, Url, header};
use serde_json::json;
use tokio::net::UdpSocket;

use crate::config::Register;

/// First pause.
const PAUSE_FIRST: Duration = Duration::from_millis(250);

/// Longest pause: so long a balancer that came back goes without this server.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Longest that one try may take.
const TRY_WITHIN: Duration = Duration::from_secs(5);

/// Longest piece of a refusal's body that is logged, characters.
const REASON_MAX: usize = 200;

/// Comes back when the announcement was accepted (any 2xx).
pub(crate) async fn until_accepted(register: Register, listening: SocketAddr) {
    // Proxies are for the way out; the balancer is near, and a redirect would carry the token elsewhere.
    let client =
        Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(TRY_WITHIN).build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return tracing::error!(%error, "cannot register: no HTTP client"),
    };
    let mut failures = 0;
    loop {
        let own = own_url(&register, listening).await;
        match announce(&client, &register, &own).await {
            Ok(()) => return tracing::info!(to = %register.to, url = %own, "registered"),
            Err(why) => {
                let again = pause(failures, rand::rng().random());
                tracing::warn!(to = %register.to, url = %own, %why, ?again, "not registered yet");
                tokio::time::sleep(again).await;
                failures += 1;
            }
        }
    }
}

async fn announce(client: &Client, register: &Register, own: &str) -> Result<(), String> {
    let mut request = client
        .post(register.to.clone())
        .header(header::CONTENT_TYPE, "application/json")
        .body(json!({ "url": own }).to_string());
    if let Some(token) = &register.token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.map_err(|error| chain(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let body = response.text().await.unwrap_or_default();
    Err(refusal(status, &body))
}

fn refusal(status: StatusCode, body: &str) -> String {
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; set REGISTER_TOKEN to the balancer's token",
        _ => "",
    };
    let reason: String = body.chars().take(REASON_MAX).collect();
    format!("refused with {status}: {reason}{hint}")
}

/// reqwest's own text leaves the cause ("connection refused") to the sources.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The pause after so many failures, for a `draw` from 0 to 1.
fn pause(failures: u32, draw: f64) -> Duration {
    let whole = PAUSE_FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(PAUSE_MAX);
    whole.mul_f64(0.5 + 0.5 * draw)
}

/// What to announce: as told, else where it listens; listening everywhere, the address that faces the balancer.
async fn own_url(register: &Register, listening: SocketAddr) -> String {
    if let Some(own) = &register.advertise {
        return own.to_string();
    }
    let facing = match listening.ip().is_unspecified() {
        true => facing(&register.to, listening).await,
        false => None,
    };
    format!("http://{}/", facing.unwrap_or_else(|| reachable(listening)))
}

/// A connected UDP socket sends nothing, but the kernel picks the source address that leads there.
async fn facing(to: &Url, listening: SocketAddr) -> Option<SocketAddr> {
    let socket = UdpSocket::bind(SocketAddr::new(listening.ip(), 0)).await.ok()?;
    socket.connect((to.host_str()?, to.port_or_known_default()?)).await.ok()?;
    Some(SocketAddr::new(socket.local_addr().ok()?.ip(), listening.port()))
}

/// The address as this machine itself reaches it: "any" is not one to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(advertise: Option<&str>) -> Register {
        Register {
            to: Url::parse("http://127.0.0.1:9/server_up").unwrap(),
            token: None,
            advertise: advertise.map(|url| Url::parse(url).unwrap()),
        }
    }

    #[test]
    fn pauses_grow_to_the_cap_and_half_is_random() {
        assert_eq!(pause(0, 1.0), PAUSE_FIRST);
        assert_eq!(pause(0, 0.0), PAUSE_FIRST / 2);
        assert_eq!(pause(2, 1.0), PAUSE_FIRST * 4);
        for failures in [6, 31, 32, u32::MAX] {
            assert_eq!((pause(failures, 1.0), pause(failures, 0.0)), (PAUSE_MAX, PAUSE_MAX / 2));
        }
    }

    #[tokio::test]
    async fn announces_where_it_can_be_reached() {
        let url =
            async |advertise, address: &str| own_url(&register(advertise), address.parse().unwrap()).await;
        assert_eq!(url(None, "127.0.0.1:5001").await, "http://127.0.0.1:5001/");
        assert_eq!(url(None, "0.0.0.0:5001").await, "http://127.0.0.1:5001/");
        assert_eq!(url(None, "[::1]:5001").await, "http://[::1]:5001/");
        assert_eq!(url(Some("http://s1:5000"), "127.0.0.1:5001").await, "http://s1:5000/");
    }

    #[test]
    fn a_refused_token_says_what_to_set() {
        assert!(refusal(StatusCode::UNAUTHORIZED, "no").contains("REGISTER_TOKEN"));
        assert!(!refusal(StatusCode::BAD_REQUEST, &"x".repeat(5000)).contains(&"x".repeat(201)));
    }

    #[tokio::test]
    async fn ends_once_accepted() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = Url::parse(&format!("http://{address}/server_up")).unwrap();
        let balancer = async {
            for status in ["503 Service Unavailable", "200 OK"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
                }
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        // Both end: the one after its second answer, the other because of it.
        tokio::join!(balancer, until_accepted(Register { to, ..register(None) }, address));
    }
}
