//! Five thousand requests that lie about where they come from: nobody who is not trusted is believed, and no lie of a
//! stranger gets past the proxy that saw him.

use lb_core::Rng;

use super::geo::{from, pool};
use super::support::{Lb, Script, configured};

const REQUESTS: u32 = 2_500;

fn any<'a>(rng: &mut Rng, of: &[&'a [u8]]) -> &'a [u8] {
    of[rng.below(of.len() as u32) as usize]
}

/// A hop as nobody should write it, or as somebody might who wants to be elsewhere.
fn hop(rng: &mut Rng) -> Vec<u8> {
    match rng.below(9) {
        0 => any(rng, &[b"8.8.8.8", b"202.12.29.205", b"2001:dc0:2001:11::194", b"127.0.0.1", b"10.0.0.1"])
            .into(),
        1 => any(rng, &[b"unknown", b"_hidden", b"_SEVKISEK", b"", b" ", b"\t", b"\"\"", b"for=8.8.8.8"])
            .into(),
        2 => any(
            rng,
            &[
                b"8.8.8.8:80",
                b"8.8.8.8:99999",
                b"[2001:db8::1]",
                b"[2001:4860::1]:443",
                b"[8.8.8.8]",
                b"[[::1]]",
                b"][",
            ],
        )
        .into(),
        3 => any(
            rng,
            &[
                b"::ffff:8.8.8.8",
                b"::ffff:808:808",
                b"::8.8.8.8",
                b"0:0:0:0:0:ffff:8.8.8.8",
                b"fe80::1%eth0",
                b"2001:0DC0:2001:0011:0000:0000:0000:0194",
                b"1:2:3:4:5:6:7:8:9",
                b":::",
                b"64:ff9b::8.8.8.8",
            ],
        )
        .into(),
        4 => any(
            rng,
            &[
                b"8.8.8",
                b"08.08.08.08",
                b"0x8.8.8.8",
                b"134744072",
                b"8.8.8.8.",
                b"256.1.1.1",
                b"-1.8.8.8",
                b"8.8.8.8/0",
            ],
        )
        .into(),
        5 => (0..rng.below(40)).map(|_| 0x80 + rng.below(0x80) as u8).collect(),
        6 => (0..rng.below(60)).map(|_| 0x20 + rng.below(0x5f) as u8).collect(),
        7 => "９.９.９.９".into(),
        // Bytes that HTTP refuses.
        _ => [any(rng, &[b"8.8.8.8", b""]), any(rng, &[b"\0", b"\x01", b"\x7f", b"\x1b"])].concat(),
    }
}

/// Some header fields that say where the client is; with `breaks`, some lines end where they should not.
fn lies(rng: &mut Rng, breaks: bool) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..rng.below(4) {
        let names: [&[u8]; 5] =
            [b"X-Forwarded-For", b"x-forwarded-for", b"Forwarded", b"X-Real-IP", b"X-Forwarded-Host"];
        text.extend(any(rng, &names));
        text.extend(b": ");
        let hops = if rng.below(20) == 0 { 500 } else { 1 + rng.below(6) };
        for i in 0..hops {
            text.extend(if i > 0 { any(rng, &[b",", b", ", b" , ", b",,"]) } else { b"" });
            text.extend(hop(rng));
        }
        if breaks && rng.below(10) == 0 {
            text.extend(any(rng, &[b"\r", b"\n", b"\r\n ", b"\r\n\t8.8.8.8", b"\r\n8.8.8.8"]));
        }
        text.extend(b"\r\n");
    }
    text
}

/// Sends them, each with `last` behind it; how many were proxied.
async fn survivors(lb: &Lb, seed: u64, last: &str) -> f64 {
    let mut rng = Rng::seeded(seed);
    let mut wire = lb.connect().await;
    let mut proxied = 0.0;
    for i in 0..REQUESTS {
        // A proxy writes whole lines; only who is asked directly may be told half a head.
        let lies = lies(&mut rng, last.is_empty());
        let told = || format!("request {i}: {:?}", String::from_utf8_lossy(&lies[..lies.len().min(300)]));
        let request = [b"GET / HTTP/1.1\r\nHost: h\r\n", &lies[..], last.as_bytes(), b"\r\n"].concat();
        // Who is refused may be cut off before the end of what it says.
        let _ = wire.try_send(request).await;
        let reply = wire.try_reply().await.unwrap_or_else(|| panic!("no answer to {}", told()));
        match reply.status() {
            200 => proxied += 1.0,
            status => {
                assert!((400..500).contains(&status), "{status} to {}", told());
                wire = lb.connect().await;
            }
        }
    }
    proxied
}

async fn lb(backends: &[Script], trusted: &str) -> Lb {
    let places: Vec<_> = backends.iter().map(|b| b.address).zip(["EU", "US"]).collect();
    let settings = [("client.trusted_proxies", trusted), ("workers", "2")];
    Lb::start(configured(&pool(&places), &settings)).await
}

#[tokio::test]
async fn whoever_is_not_trusted_is_where_its_connection_comes_from() {
    let backends = [Script::named("eu").await, Script::named("us").await];
    let lb = lb(&backends, "[\"10.0.0.0/8\"]").await;
    let proxied = survivors(&lb, 81, "").await;
    let scrape = lb.settled().await;
    assert!(proxied > f64::from(REQUESTS) / 2.0, "{proxied}");
    assert_eq!((from(&scrape, "unknown"), scrape.sum("lb_geo_requests_total", &[])), (proxied, proxied));
    assert_eq!(
        scrape.sum("lb_geo_lookups_total", &[]),
        scrape.sum("lb_geo_lookups_total", &[("result", "private")])
    );
}

#[tokio::test]
async fn what_a_stranger_says_ends_at_the_proxy_that_saw_him() {
    let backends = [Script::named("eu").await, Script::named("us").await];
    let lb = lb(&backends, "[\"127.0.0.0/8\"]").await;
    let proxied = survivors(&lb, 82, "X-Forwarded-For: \u{fffd}, 193.0.6.139, 127.0.0.9\r\n").await;
    let scrape = lb.settled().await;
    assert!(proxied > f64::from(REQUESTS) / 2.0, "{proxied}");
    assert_eq!((from(&scrape, "EU"), scrape.sum("lb_geo_requests_total", &[])), (proxied, proxied));
}

/// Without anybody honest in the chain: it may say anything, and every request is answered all the same.
#[tokio::test]
async fn nothing_in_a_chain_breaks_the_balancer() {
    let backends = [Script::named("eu").await, Script::named("us").await];
    let lb = lb(&backends, "[\"127.0.0.0/8\", \"0.0.0.0/1\", \"::/1\"]").await;
    let proxied = survivors(&lb, 83, "").await;
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_geo_requests_total", &[]), proxied);
    assert_eq!(scrape.sum("lb_geo_lookups_total", &[("result", "error")]), 0.0);
}
