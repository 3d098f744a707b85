//! Who the client is: the peer, unless the peer is a proxy we trust; then whoever it says, as far as trust goes.

use std::net::IpAddr;

use hyper::HeaderMap;
use ipnet::IpNet;

use super::headers::X_FORWARDED_FOR;
use crate::listener::Client;

/// The address of the client behind the trusted proxies.
pub(super) fn address(client: &Client, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let peer = client.peer.ip().to_canonical();
    if !client.trusted {
        return peer;
    }
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    behind(peer, lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')), trusted)
}

/// Walks from the nearest hop outwards: each trusted hop vouches for the one before it. A hop that is no address ends the
/// walk, since nobody vouches for what a liar put before it.
fn behind<'a>(peer: IpAddr, hops: impl Iterator<Item = &'a [u8]>, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    for hop in hops {
        // Bytes that are no text end the walk like any other word: passed over, they would hide the hop that vouches.
        let Some(ip) = std::str::from_utf8(hop).ok().and_then(|hop| parse(hop.trim())) else { break };
        client = ip;
        if !trusted.iter().any(|net| net.contains(&ip)) {
            break;
        }
    }
    client
}

/// An address as proxies write it: bare, with a port, or bracketed.
fn parse(hop: &str) -> Option<IpAddr> {
    let ip = hop.parse::<IpAddr>().or_else(|_| hop.parse::<std::net::SocketAddr>().map(|a| a.ip()));
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    ip.ok().or_else(bracketed).map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(chain: &str) -> String {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        behind("10.0.0.1".parse().unwrap(), chain.as_bytes().rsplit(|b| *b == b','), &trusted).to_string()
    }

    #[test]
    fn bytes_that_are_no_text_do_not_hide_the_hop_behind_them() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let hops =
            |hops: &'static [&[u8]]| behind("10.0.0.1".parse().unwrap(), hops.iter().copied(), &trusted);
        let stranger: IpAddr = "203.0.113.7".parse().unwrap();
        assert_eq!(hops(&[b" 203.0.113.7", b"\xff\xfe", b"8.8.8.8"]), stranger);
        assert_eq!(hops(&[b"\xff", b"8.8.8.8"]).to_string(), "10.0.0.1");
    }

    #[test]
    fn trust_ends_at_the_first_stranger() {
        assert_eq!(client("203.0.113.7"), "203.0.113.7");
        assert_eq!(
            client("1.1.1.1, 203.0.113.7, 10.0.0.9"),
            "203.0.113.7",
            "what a stranger claims is not believed"
        );
        assert_eq!(client("10.0.0.8, 10.0.0.9"), "10.0.0.8");
        assert_eq!(client("203.0.113.7:4711"), "203.0.113.7");
        assert_eq!(client("[2001:db8::1]"), "2001:db8::1");
        assert_eq!(client("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(client("203.0.113.7, garbage, 10.0.0.9"), "10.0.0.9");
        assert_eq!(client(""), "10.0.0.1");
    }
}
