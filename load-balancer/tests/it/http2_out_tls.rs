//! HTTP/2 towards backends by TLS: agreed on by ALPN or not spoken, with requests, checks and scrapes alike.

use super::support::{Authority, Http2Backend, Scrape};
use super::tls_backends::{before, quoted};

const CHECKED: [(&str, &str); 3] =
    [("pool.protocol", "http2"), ("health.enabled", "true"), ("health.edge_interval", "20ms")];

#[tokio::test]
async fn a_backend_that_agrees_to_http2_is_spoken_with_by_it() {
    let authority = Authority::new();
    let acceptor = authority.issue("b", &["b.test"]).acceptor(&["h2", "http/1.1"]);
    let backend = Http2Backend::secure(acceptor, |mut call| async move {
        let body = call.body().await.unwrap();
        call.ok(body);
    })
    .await;
    let ca = quoted(&authority.file());
    let more = [
        ("pool.tls.ca", ca.as_str()),
        ("pool.tls.server_name", "b.test"),
        ("signals.source", "stats"),
        ("signals.interval", "250ms"),
        ("signals.timeout", "200ms"),
    ];
    let lb = before(&format!("https://{}", backend.address), &[&CHECKED[..], &more].concat()).await;
    for _ in 0..3 {
        assert_eq!(lb.send(super::support::post("/up", "hello")).await.text(), "hello");
    }
    let scrape = lb.until("a scrape", |s| s.sum("lb_scrapes_total", &[]) > 0.0).await;
    assert_eq!(scrape.sum("lb_upstream_connects_total", &[("result", "ok")]), 1.0, "one for all requests");
    assert_eq!(scrape.sum("lb_health_checks_total", &[("result", "fail")]), 0.0);
    let heads = backend.heads();
    for (path, authority) in [
        ("/up", "lab".to_owned()),
        ("/health", format!("b.test:{}", backend.address.port())),
        ("/stats", format!("b.test:{}", backend.address.port())),
    ] {
        let head = heads.iter().find(|head| head.uri().path() == path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(head.uri().scheme_str(), Some("https"), "{path}");
        assert_eq!(head.uri().authority().unwrap().as_str(), authority, "{path}");
    }
}

#[tokio::test]
async fn who_agrees_to_http1_alone_is_not_spoken_with_and_the_reason_is_told() {
    let authority = Authority::new();
    let issued = authority.issue("b", &["127.0.0.1"]);
    let ca = quoted(&authority.file());
    // One that knows no ALPN goes on with the handshake, one that agrees to another protocol alone breaks it off.
    for (protocols, why) in [(&[][..], "does not agree to HTTP/2"), (&["http/1.1"], "NoApplicationProtocol")]
    {
        let backend =
            Http2Backend::secure(issued.acceptor(protocols), |mut call| async move { call.ok("never") })
                .await;
        let address = format!("https://{}", backend.address);
        let unchecked = [CHECKED[0], ("pool.tls.ca", ca.as_str())];
        let lb = before(&address, &unchecked).await;
        let answer = lb.get_with("/", &["x-lb-debug: 1"]).await;
        let reason = &answer.json()["reason"];
        assert_eq!((answer.status(), reason["kind"].as_str()), (502, Some("upstream_tls")));
        assert!(reason["detail"].as_str().unwrap().contains(why), "{reason}");
        lb.settled().await.assert_one("502", "upstream_tls");
        let lb = before(&address, &[&CHECKED[..], &unchecked[1..]].concat()).await;
        let failed = |s: &Scrape| s.sum("lb_health_checks_total", &[("result", "fail")]) >= 1.0;
        lb.until("a failed check", failed).await;
        let told = lb.admin("/decisions?format=json&last=100").await.text();
        assert!(told.contains(why), "{told}");
        assert_eq!(lb.get("/").await.status(), 503, "not healthy, so not eligible");
        assert!(backend.heads().is_empty());
    }
}
