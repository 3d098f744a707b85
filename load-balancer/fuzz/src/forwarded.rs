//! Chains of `X-Forwarded-For`: a stranger is where its connection comes from, whatever it says; behind a trusted proxy nothing
//! in front of the first hop that nobody vouches for changes who the client is.

use std::net::IpAddr;
use std::sync::LazyLock;

use hyper::Request;
use hyper::header::{HeaderMap, HeaderValue};
use lb_core::Tick;
use load_balancer::config::Config;
use load_balancer::http::headers::{self, Seen, X_FORWARDED_FOR};
use load_balancer::http::understand;
use load_balancer::listener::Client;

use super::input;

/// What somebody may say in front of everything that is true.
const LIES: [&str; 5] = ["198.51.100.77", "127.0.0.1", "10.9.9.9", "::1", "unknown"];

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    input::configuration(
        "[client]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1/128\", \"192.0.2.0/24\", \"2001:db8::/32\"]\n",
    )
});

/// Lines that are read of an input: below `limits.headers`, beyond which no request is understood.
const LINES: usize = 90;

/// The input's first byte says where the connection comes from and what is lied; each further line is one `X-Forwarded-For`.
pub fn run(data: &[u8]) {
    let (choice, lines) = input::byte(data);
    let client = Client::of(input::peer(choice), &CONFIG, Tick::ZERO);
    let lines: Vec<HeaderValue> = lines
        .split(|&b| b == b'\n')
        .filter_map(|line| HeaderValue::from_bytes(line).ok())
        .take(LINES)
        .collect();
    let (found, chain) = address(&client, &lines);
    let peer = client.peer.ip().to_canonical();
    assert_eq!(found, if client.trusted { walked(peer, &lines) } else { peer });

    // What goes on to the backend: what was believed, and the peer behind it.
    let told: Vec<&[u8]> = chain.as_bytes().rsplitn(2, |&b| b == b',').map(<[u8]>::trim_ascii).collect();
    assert_eq!(told[0], peer.to_string().as_bytes());
    assert!(client.trusted || told.len() == 1, "a stranger's chain goes on");
    if client.trusted && !lines.is_empty() {
        let joined: Vec<&[u8]> = lines.iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(
            chain.as_bytes(),
            [&joined.join(&b", "[..])[..], b", ", peer.to_string().as_bytes()].concat()
        );
    }

    // Whoever is the client cannot move itself by saying more in front.
    let vouched = CONFIG.client.trusted_proxies.iter().any(|net| net.contains(&found));
    if !vouched || (client.trusted && ends_in_garbage(&lines)) {
        let lie = LIES[usize::from(choice >> 2) % LIES.len()];
        let mut longer = vec![HeaderValue::from_static(lie)];
        longer.extend(lines.iter().cloned());
        assert_eq!(address(&client, &longer).0, found, "by saying {lie}");
    }
}

/// Whom the balancer takes for the client, and the chain it sends on.
fn address(client: &Client, lines: &[HeaderValue]) -> (IpAddr, HeaderValue) {
    let mut all = HeaderMap::new();
    all.insert("host", HeaderValue::from_static("h"));
    lines.iter().for_each(|line| {
        all.append(X_FORWARDED_FOR, line.clone());
    });
    let (mut head, ()) = Request::new(()).into_parts();
    head.headers = all;
    let seen = Seen::of(&head.headers);
    let plan = understand(&CONFIG, client, (head, seen), Some(0), HeaderValue::from_static("id"));
    let plan = plan.unwrap_or_else(|error| panic!("{error}"));
    let sent = headers::outgoing(&plan.head, plan.seen, &plan.added, &HeaderValue::from_static("h"));
    (plan.client_ip, sent[X_FORWARDED_FOR].clone())
}

/// The hops of all lines, the nearest first; `None` for what is no address.
fn hops(lines: &[HeaderValue]) -> Vec<Option<IpAddr>> {
    let all = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b","[..]);
    let read = |hop: &[u8]| std::str::from_utf8(hop).ok().and_then(|hop| input::address(hop.trim()));
    if lines.is_empty() { Vec::new() } else { all.rsplit(|&b| b == b',').map(read).collect() }
}

/// The second reading: the hop behind the last one, from the right, that is trusted.
fn walked(peer: IpAddr, lines: &[HeaderValue]) -> IpAddr {
    let trusted = |ip: &IpAddr| CONFIG.client.trusted_proxies.iter().any(|net| net.contains(ip));
    let hops = hops(lines);
    let known = hops.iter().position(Option::is_none).map_or(&hops[..], |end| &hops[..end]);
    let known: Vec<IpAddr> = known.iter().copied().flatten().collect();
    known.iter().find(|ip| !trusted(ip)).or(known.last()).copied().unwrap_or(peer)
}

fn ends_in_garbage(lines: &[HeaderValue]) -> bool {
    hops(lines).iter().any(Option::is_none)
}
