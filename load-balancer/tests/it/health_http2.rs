//! Health checks and scrapes of backends that speak HTTP/2: over what requests are spoken over, and by gRPC where that is
//! asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use hyper::http::{HeaderMap, Response};

use super::support::{Call, Http2Backend, Lb, Scrape, Script};

const H2C: (&str, &str) = ("pool.protocol", "http2");
const CHECKED: [(&str, &str); 4] =
    [H2C, ("health.enabled", "true"), ("health.interval", "20ms"), ("health.edge_interval", "5ms")];

fn healthy(scrape: &Scrape) -> bool {
    scrape.sum("lb_backend_healthy", &[]) == 1.0
}

async fn told(lb: &Lb) -> String {
    lb.admin("/decisions?format=json&last=100").await.text()
}

#[tokio::test]
async fn a_backend_that_speaks_http2_alone_is_checked_and_scraped() {
    let status = Arc::new(AtomicU16::new(200));
    let says = Arc::clone(&status);
    let backend = Http2Backend::start(move |mut call| {
        let code = if call.request.uri().path() == "/health" { says.load(SeqCst) } else { 200 };
        async move {
            let head = Response::builder().status(code).body(()).unwrap();
            let mut stream = call.respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from_static(b"{\"cpu\": {\"usage_ratio\": 0.5}}"), true).unwrap();
        }
    })
    .await;
    let scraped = [("signals.source", "stats"), ("signals.interval", "250ms"), ("signals.timeout", "200ms")];
    let lb = Lb::over(&[backend.address], &[&CHECKED[..], &scraped].concat()).await;
    assert!(healthy(&lb.scrape().await));
    assert_eq!(lb.get("/p").await.status(), 200);
    lb.until("two scrapes", |s| s.sum("lb_scrapes_total", &[("result", "ok")]) >= 2.0).await;
    let heads = backend.heads();
    let asked = |path: &str| heads.iter().filter(|head| head.uri().path() == path).collect::<Vec<_>>();
    let (checks, scrapes) = (asked("/health"), asked("/stats"));
    assert_eq!(checks[0].uri().authority().unwrap().as_str(), backend.address.to_string());
    assert!(scrapes.len() >= 2 && !checks[0].headers().contains_key("host"), "{heads:?}");
    status.store(503, SeqCst);
    lb.until("it leaves", |s| !healthy(s)).await;
    assert!(told(&lb).await.contains("status 503"));
    status.store(204, SeqCst);
    lb.until("it returns", healthy).await;
}

#[tokio::test]
async fn who_speaks_no_http2_fails_its_checks_and_is_told_why() {
    let backend = Script::start(|mut conn| async move {
        conn.upto(b"\r\n\r\n").await;
        let _ = conn.try_send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        conn.end().await;
    })
    .await;
    let lb = Lb::over(&[backend.address], &CHECKED).await;
    lb.until("a failed check", |s| s.sum("lb_health_checks_total", &[("result", "fail")]) >= 1.0).await;
    let told = told(&lb).await;
    assert!(told.contains("what it says is no HTTP/2"), "{told}");
}

/// What a server of gRPC answers to a check.
#[derive(Clone, Copy)]
enum Says {
    /// A message, then the status OK.
    Status(u8),
    /// A status alone.
    Fails(&'static str),
    /// Nothing.
    Waits,
}

fn status(code: &str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.parse().unwrap())])
}

async fn answer(mut call: Call, says: Says) {
    let body = call.body().await.unwrap_or_default();
    assert_eq!(body, b"\0\0\0\0\x06\x0a\x04shop");
    let mut head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    match says {
        Says::Status(status_of_service) => {
            let mut stream = call.respond.send_response(head, false).unwrap();
            stream.send_data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status_of_service]), false).unwrap();
            stream.send_trailers(status("0")).unwrap();
        }
        Says::Fails(code) => {
            head.headers_mut().extend(status(code));
            call.respond.send_response(head, true).unwrap();
        }
        Says::Waits => {
            let _ = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
        }
    }
}

#[tokio::test]
async fn a_service_is_asked_for_by_grpc() {
    const ALL: [(Says, &str); 6] = [
        (Says::Status(1), ""),
        (Says::Status(2), "NOT_SERVING"),
        (Says::Status(0), "UNKNOWN"),
        (Says::Fails("12"), "it has no grpc.health.v1.Health"),
        (Says::Fails("5"), "it knows no service"),
        (Says::Waits, "timeout"),
    ];
    let turn = Arc::new(AtomicUsize::new(0));
    let at = Arc::clone(&turn);
    let backend = Http2Backend::start(move |call| answer(call, ALL[at.load(SeqCst)].0)).await;
    let asking = [
        ("health.kind", "grpc"),
        ("health.service", "shop"),
        ("health.timeout", "300ms"),
        ("health.rise", "1"),
    ];
    let lb = Lb::over(&[backend.address], &[&CHECKED[..], &asking].concat()).await;
    assert!(healthy(&lb.scrape().await));
    let head = backend.heads().remove(0);
    assert_eq!((head.method().as_str(), head.uri().path()), ("POST", "/grpc.health.v1.Health/Check"));
    assert_eq!(
        (&head.headers()["te"], &head.headers()["grpc-timeout"]),
        (&"trailers".parse().unwrap(), &"300m".parse().unwrap())
    );
    for (n, (_, word)) in ALL.iter().enumerate().skip(1) {
        turn.store(n, SeqCst);
        lb.until(word, |s| !healthy(s)).await;
        let told = told(&lb).await;
        assert!(told.contains(word), "{word}: {told}");
        turn.store(0, SeqCst);
        lb.until("it returns", healthy).await;
    }
}
