//! A request's head, from the client's bytes to what a backend is sent: refused with a 4xx or a 501, or rewritten so that the
//! backend sees one request, one host, no field that is not its business, and whom the balancer believes.

use std::sync::LazyLock;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use lb_core::Tick;
use load_balancer::config::Config;
use load_balancer::http::headers::{self, Seen};
use load_balancer::http::understand;
use load_balancer::listener::{Client, Gate, Passed};

use super::input;

/// Fields about one connection: none of them goes on as it came.
const HOP: [&str; 8] = [
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "transfer-encoding",
    "expect",
    "proxy-authorization",
    "connection",
    "te",
];
/// Fields that the balancer writes or uses up itself.
const OURS: [&str; 8] = [
    "forwarded",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-lb-algo",
    "x-lb-debug",
    "x-lb-algorithm",
];
/// Fields that `Connection` cannot take away.
const ESSENTIAL: [&str; 7] =
    ["close", "host", "content-length", "content-type", "authorization", "cookie", "upgrade"];

/// Who may choose, what is believed, which paths there are.
static CONFIGS: LazyLock<[Config; 3]> = LazyLock::new(|| {
    let trusting = "[client]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1/128\"]\nforwarded = true\n";
    [
        input::configuration("[algo]\nchoosers = \"anyone\"\n"),
        input::configuration(&format!(
            "{trusting}[algo]\nchoosers = \"off\"\n[hash]\nkey = [\"cookie:c\", \"query:k\"]\n"
        )),
        input::configuration(&format!("{trusting}[algo]\ntrusted = [\"10.0.0.0/8\"]\n")),
    ]
});

/// The input's first byte says by which configuration and from where; the rest is what the client sends.
pub fn run(data: &[u8]) {
    let (choice, bytes) = input::byte(data);
    let config = &CONFIGS[usize::from(choice & 3) % CONFIGS.len()];
    let client = Client::of(input::peer(choice >> 2), config, Tick::ZERO);
    let Some((head, length)) = input::head(bytes) else { return };
    if !matches!(Gate::default().pass(&bytes[..length]), Passed::All) {
        return;
    }
    let bodiless = !head.headers.contains_key(header::CONTENT_LENGTH)
        && !head.headers.contains_key(header::TRANSFER_ENCODING);
    let mut seen = Seen::of(&head.headers);
    seen.upgrade = seen.hop && bodiless && headers::upgrade_of(&head.headers).is_some();
    let (asked, before) = (head.uri.clone(), head.headers.clone());
    let declared = if bodiless { Some(0) } else { None };
    let id = HeaderValue::from_static("id-1");
    let plan = match understand(config, &client, (head, seen), declared, id) {
        Ok(plan) => plan,
        Err(error) => {
            let status = error.kind.status().as_u16();
            assert!((400..500).contains(&status) || status == 501, "{status}: {error}");
            return;
        }
    };
    let sent =
        headers::outgoing(&plan.head, plan.seen, &plan.added, &HeaderValue::from_static("default.test"));

    hop_by_hop(&before, &sent, seen.upgrade);
    believed(&client, &plan.head, &sent);
    the_rest_is_untouched(&before, &sent, client.trusted);
    host(&asked, &sent);
    target(config, &client, &asked, &plan.target.to_string());
    one_request(&plan.head, &plan.target.to_string(), &sent);
}

fn hop_by_hop(before: &HeaderMap, sent: &HeaderMap, upgrade: bool) {
    for name in HOP {
        let values: Vec<&[u8]> = sent.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let allowed: &[&[u8]] = match name {
            "te" => &[b"trailers"],
            "connection" if upgrade => &[b"upgrade"],
            _ => &[],
        };
        assert!(
            values.iter().all(|value| allowed.contains(value)) && values.len() <= 1,
            "{name}: {values:?}"
        );
    }
    assert!(upgrade || !sent.contains_key(header::UPGRADE));
    // Over HTTP/2 in clear a client would speak to the backend past everything here.
    assert!(input::tokens(sent, &header::UPGRADE).iter().all(|token| token != "h2c"), "{sent:?}");
    for token in input::tokens(before, &header::CONNECTION) {
        let kept = ESSENTIAL.contains(&token.as_str()) || OURS.contains(&token.as_str()) || token == "te";
        let named = HeaderName::try_from(token.as_str()).is_ok_and(|name| sent.contains_key(name));
        assert!(kept || !named || (upgrade && token == "connection"), "{token} is nominated and goes on");
    }
}

/// What is told about the client: by a proxy that is trusted, and by us.
fn believed(client: &Client, head: &Parts, sent: &HeaderMap) {
    let all = |name: &str| -> Vec<&[u8]> { sent.get_all(name).iter().map(HeaderValue::as_bytes).collect() };
    for name in ["x-request-id", "x-lb-algorithm", "x-forwarded-for", "x-forwarded-proto"] {
        assert_eq!(all(name).len(), 1, "{name}");
    }
    assert!(all("x-lb-algo").is_empty() && all("x-lb-debug").is_empty());
    assert_eq!(all("x-request-id"), [b"id-1"]);
    let (peer, chain) = (client.peer_ip.as_bytes(), all("x-forwarded-for")[0]);
    assert!(chain.ends_with(peer), "the peer is the last of the chain");
    if !client.trusted {
        assert_eq!((chain, all("x-forwarded-proto")), (peer, vec![&b"http"[..]]));
        let host: Vec<&[u8]> = head.headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(all("x-forwarded-host"), host);
        let others = sent.keys().filter(|name| name.as_str().starts_with("x-forwarded-"));
        assert!(others.count() <= 3, "a stranger's X-Forwarded-* goes on");
        let forwarded = all("forwarded");
        assert!(forwarded.iter().all(|element| element.starts_with(b"for=") && forwarded.len() == 1));
    }
}

fn the_rest_is_untouched(before: &HeaderMap, sent: &HeaderMap, trusted: bool) {
    let nominated = input::tokens(before, &header::CONNECTION);
    for name in before.keys() {
        let text = name.as_str();
        let gone = HOP.contains(&text)
            || OURS.contains(&text)
            || ["host", "upgrade"].contains(&text)
            || (!trusted && text.starts_with("x-forwarded-"))
            || (nominated.iter().any(|token| token == text) && !ESSENTIAL.contains(&text));
        assert!(gone || before.get_all(name).iter().eq(sent.get_all(name)), "{text} has changed");
    }
}

/// One host, and the target's where it has one.
fn host(asked: &hyper::Uri, sent: &HeaderMap) {
    let hosts: Vec<&HeaderValue> = sent.get_all(header::HOST).iter().collect();
    assert_eq!(hosts.len(), 1, "{hosts:?}");
    let host = hosts[0].as_bytes();
    assert!(!host.iter().any(|b| b"/@?#\\ \t\"".contains(b) || *b >= 0x7f), "{hosts:?}");
    if let Some(authority) = asked.authority() {
        assert_eq!(authority.as_str().as_bytes(), host);
    }
}

/// In origin form, the path as it was, the query without the choice of an algorithm where there was one.
fn target(config: &Config, client: &Client, asked: &hyper::Uri, target: &str) {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    assert!((path.starts_with('/') || path == "*") && !target.contains('#'), "{target}");
    assert!(path == asked.path() || (asked.path().is_empty() && path == "/"), "{asked} became {target}");
    let is_choice = |pair: &&str| *pair == "algo" || pair.starts_with("algo=");
    let before: Vec<&str> = asked.query().into_iter().flat_map(|query| query.split('&')).collect();
    let after: Vec<&str> = query.into_iter().flat_map(|query| query.split('&')).collect();
    assert!(!after.iter().any(is_choice), "{target}");
    if before.iter().any(is_choice) {
        assert!(client.chooser, "{:?} chose from {}", config.choosers, client.peer);
        let kept: Vec<&str> = before.into_iter().filter(|pair| !is_choice(pair)).collect();
        assert_eq!(after, kept);
    } else {
        assert_eq!(asked.query(), query);
    }
}

/// What is written to the backend is one head, with as many fields as were meant.
fn one_request(head: &Parts, target: &str, sent: &HeaderMap) {
    let mut written = format!("{} {target} HTTP/1.1\r\n", head.method).into_bytes();
    for (name, value) in sent {
        written.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    written.extend(b"\r\n");
    assert_eq!(Gate::default().pass(&written), Passed::All, "we would refuse what we send");
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut read = httparse::Request::new(&mut fields);
    assert_eq!(read.parse(&written), Ok(httparse::Status::Complete(written.len())));
    assert_eq!(read.headers.len(), sent.len());
}
