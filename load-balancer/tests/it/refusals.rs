//! Requests the balancer answers itself: each with its status, its JSON, its id, and counted exactly once.

use super::support::{Lb, Message, Script, Wire, post};

/// A balancer over a backend that must not see the request.
async fn strict(settings: &[(&str, &str)]) -> (Lb, Script) {
    let backend = Script::named("ok").await;
    (Lb::over(&[backend.address], settings).await, backend)
}

/// The shape every refusal has.
fn assert_shape(reply: &Message, status: u16) {
    assert_eq!(reply.status(), status, "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let json = reply.json();
    assert!(json["error"].as_str().is_some_and(|e| !e.is_empty()), "{json}");
    assert_eq!(json["request_id"].as_str(), reply.header("x-request-id"));
}

/// `request` alone is refused with `status` for `reason` and reaches no backend.
async fn refused(request: impl AsRef<[u8]>, settings: &[(&str, &str)], status: u16, reason: &str) -> Message {
    let (lb, backend) = strict(settings).await;
    let reply = lb.send(request.as_ref()).await;
    assert_shape(&reply, status);
    lb.settled().await.assert_one(&status.to_string(), reason);
    assert!(backend.requests().is_empty(), "{:?}", String::from_utf8_lossy(request.as_ref()));
    reply
}

fn with_headers(lines: impl Iterator<Item = String>) -> String {
    lines.fold("GET / HTTP/1.1\r\nHost: h\r\n".to_owned(), |text, line| text + &line + "\r\n") + "\r\n"
}

#[tokio::test]
async fn malformed_heads_are_400() {
    for bad in [
        "GARBAGE\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX Y: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n folded: 1\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: h\r\n\r\n",
        "GE(T / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        refused(bad, &[], 400, "bad_request").await;
    }
    refused("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n", &[], 400, "ambiguous_framing").await;
    refused("GET nowhere HTTP/1.1\r\nHost: h\r\n\r\n", &[], 400, "bad_target").await;
}

#[tokio::test]
async fn http_2_that_is_switched_off_is_closed_before_it_is_a_request() {
    let (lb, backend) = strict(&[("http2.enabled", "false")]).await;
    let mut wire = lb.connect().await;
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(wire.gone().await.is_empty());
    assert_eq!((lb.settled().await.requests(), backend.requests().len()), (0.0, 0));
}

#[tokio::test]
async fn host_must_be_there_once() {
    let none = refused("GET / HTTP/1.1\r\n\r\n", &[], 400, "bad_host").await;
    assert!(none.json()["error"].as_str().unwrap().contains("Host"));
    let two = refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[], 400, "bad_host").await;
    assert!(two.json()["error"].as_str().unwrap().contains("Host"));
    refused("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", &[], 400, "bad_host").await;
}

#[tokio::test]
async fn connect_and_trace_are_405() {
    for method in ["CONNECT h:443", "TRACE /"] {
        let request = format!("{method} HTTP/1.1\r\nHost: h\r\n\r\n");
        let reply = refused(request, &[], 405, "method_not_allowed").await;
        let allow = reply.header("allow").unwrap();
        assert!(allow.contains("GET") && !allow.contains("TRACE") && !allow.contains("CONNECT"));
    }
}

#[tokio::test]
async fn long_targets_are_414() {
    let target = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(n - 1));
    let limit = [("limits.target_bytes", "100")];
    refused(target(101), &limit, 414, "target_too_long").await;
    refused(target(8_193), &[], 414, "target_too_long").await;
    refused(target(70_000), &[("limits.header_bytes", "256KiB")], 414, "target_too_long").await;
    let (lb, _backend) = strict(&limit).await;
    assert_eq!(lb.send(target(100)).await.status(), 200);
}

#[tokio::test]
async fn too_many_or_too_big_headers_are_431() {
    let lines = |n: usize| with_headers((1..n).map(|i| format!("X-{i}: {i}")));
    refused(lines(101), &[], 431, "headers_too_large").await;
    refused(lines(11), &[("limits.headers", "10")], 431, "headers_too_large").await;
    refused(lines(1_001), &[("limits.headers", "200")], 431, "headers_too_large").await;
    let big = with_headers([format!("X-Big: {}", "x".repeat(40_000))].into_iter());
    refused(big, &[], 431, "headers_too_large").await;
    let small = with_headers([format!("X-Big: {}", "x".repeat(600))].into_iter());
    refused(small.clone(), &[("limits.header_bytes", "512")], 431, "headers_too_large").await;
    let (lb, _backend) = strict(&[("limits.headers", "10")]).await;
    assert_eq!(lb.send(lines(10)).await.status(), 200);
    assert_eq!(lb.send(small).await.status(), 200);
}

#[tokio::test]
async fn big_bodies_are_413_declared_or_not() {
    let limit = [("limits.body_bytes", "10")];
    let reply = refused(post("/", "12345678901"), &limit, 413, "body_too_large").await;
    assert!(reply.json()["error"].as_str().unwrap().contains("limits.body_bytes"));
    assert_eq!(reply.header("connection"), Some("close"));
    // Without a length only the stream itself can tell; by then a backend may have seen its beginning, never its end.
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n";
    refused(chunked, &limit, 413, "body_too_large").await;
    let (lb, backend) = strict(&limit).await;
    assert_eq!(lb.send(post("/", "1234567890")).await.status(), 200, "the limit itself is allowed");
    assert_eq!(backend.request().text().len(), 10);
}

#[tokio::test]
async fn a_refusal_in_mid_upload_reaches_a_client_that_sends_on() {
    let (lb, _backend) = strict(&[]).await;
    let mut wire = lb.connect().await;
    wire.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let chunk = [&b"8000\r\n"[..], &[b'x'; 0x8000], b"\r\n"].concat();
    for _ in 0..40 {
        wire.send(&chunk).await;
    }
    assert_shape(&wire.reply().await, 413);
    for i in 0..16 {
        // Many clients look at no answer while they send: what they send must not meet a closed door.
        assert!(wire.try_send(&chunk).await.is_ok(), "cut off at chunk {i}");
    }
    lb.settled().await.assert_one("413", "body_too_large");
}

#[tokio::test]
async fn slow_heads_are_408() {
    for part in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: h\r\nX-"] {
        let reply = refused(part, &[("timeouts.request_head", "50ms")], 408, "request_timeout").await;
        assert_eq!(reply.header("connection"), Some("close"));
    }
}

#[tokio::test]
async fn a_second_head_that_stalls_is_408_too() {
    let (lb, backend) = strict(&[("timeouts.request_head", "100ms")]).await;
    let mut wire = lb.connect().await;
    wire.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(wire.reply().await.status(), 200);
    wire.send("GET /2 HTTP/1.1\r\nHo").await;
    assert_shape(&wire.reply().await, 408);
    assert!(wire.gone().await.is_empty());
    assert_eq!(backend.requests().len(), 1);
    let scrape = lb.settled().await;
    assert_eq!((scrape.requests(), scrape.code("408"), scrape.aborts("request_timeout")), (2.0, 1.0, 1.0));
}

#[tokio::test]
async fn stalled_bodies_are_408_and_no_fault_of_the_backend() {
    let half = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n12345";
    let reply = refused(half, &[("timeouts.body_idle", "100ms")], 408, "request_timeout").await;
    assert_eq!(reply.header("connection"), Some("close"));
    let (lb, _backend) = strict(&[("timeouts.body_idle", "100ms")]).await;
    lb.send(half).await;
    assert_eq!(lb.settled().await.sum("lb_upstream_requests_total", &[("code", "error")]), 0.0);
}

#[tokio::test]
async fn garbage_behind_a_good_request_is_one_of_each() {
    let (lb, _backend) = strict(&[]).await;
    let mut wire = lb.connect().await;
    wire.send("GET / HTTP/1.1\r\nHost: h\r\n\r\nNONSENSE\r\n\r\n").await;
    assert_eq!(wire.reply().await.text(), "ok");
    assert_shape(&wire.reply().await, 400);
    let scrape = lb.settled().await;
    assert_eq!((scrape.requests(), scrape.code("200"), scrape.code("400")), (2.0, 1.0, 1.0));
}

#[tokio::test]
async fn malformed_chunks_are_400() {
    for body in ["zz\r\nx\r\n0\r\n\r\n", "5\r\nhello!0\r\n\r\n", "ffffffffffffffffff\r\nx\r\n"] {
        let request = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        refused(request, &[], 400, "bad_chunk").await;
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_and_leaves_is_no_request() {
    let (lb, _backend) = strict(&[]).await;
    drop(Wire::connect(lb.traffic).await);
    let scrape = lb
        .until("accepted and gone", |s| {
            s.sum("lb_downstream_connections_accepted_total", &[]) == 1.0
                && s.sum("lb_downstream_connections", &[]) == 0.0
        })
        .await;
    assert_eq!((scrape.requests(), scrape.sum("lb_request_aborts_total", &[])), (0.0, 0.0));
}

#[tokio::test]
async fn who_is_refused_with_a_body_is_told_that_the_connection_ends() {
    let (lb, _backend) = strict(&[("pool.allowed_paths", "[\"/there\"]")]).await;
    let begun = format!("PUT /no HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(9_000));
    let chunked =
        "PUT /no HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned();
    for request in [begun, chunked] {
        let mut wire = lb.connect().await;
        wire.send(request).await;
        let reply = wire.reply().await;
        assert_eq!((reply.status(), reply.header("connection")), (400, Some("close")));
        assert!(wire.end().await.is_empty());
    }
    // A small body is read away, and the connection goes on.
    let mut wire = lb.connect().await;
    for _ in 0..3 {
        wire.send("PUT /no HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello").await;
        let reply = wire.reply().await;
        assert_eq!((reply.status(), reply.header("connection")), (400, None));
    }
    wire.send("GET /there HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(wire.reply().await.status(), 200);
}
