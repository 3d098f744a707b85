//! HTTP/2 towards backends: few connections, many requests, and what a backend may say about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use h2::Reason;
use hyper::http::{HeaderMap, Request, Response};

use super::support::{Bounds, H2, Http2Backend, Lb, Script, Wire, get, keep, post, refusing, whole, within};

const H2C: (&str, &str) = ("pool.protocol", "http2");

#[tokio::test]
async fn many_requests_share_one_connection_and_are_counted_each() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let backend = Http2Backend::start(move |mut call| {
        let mut gate = gate.clone();
        async move {
            gate.wait_for(|&open| open).await.unwrap();
            call.ok("ok");
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[H2C]).await;
    // Of both kinds of clients.
    let mut wires = Vec::new();
    for _ in 0..20 {
        let mut wire = lb.connect().await;
        wire.send(keep("/one")).await;
        wires.push(wire);
    }
    let mut client = H2::connect(lb.traffic).await;
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(client.begin(get("/two"), true).await.0);
    }
    let connects = |s: &super::support::Scrape| s.sum("lb_upstream_connects_total", &[("result", "ok")]);
    let all = |s: &super::support::Scrape| s.sum("lb_upstream_requests_in_flight", &[]) == 50.0;
    lb.until("fifty over one", |s| all(s) && connects(s) == 1.0).await;
    open.send_replace(true);
    for mut wire in wires {
        assert_eq!(wire.reply().await.text(), "ok");
    }
    for answer in answers {
        assert_eq!(whole(answer).await.unwrap().text(), "ok");
    }
    let scrape = lb.settled().await;
    assert_eq!((scrape.code("200"), connects(&scrape), backend.connections()), (50.0, 1.0, 1));
}

#[tokio::test]
async fn a_backend_sees_a_request_of_http2() {
    let backend = Http2Backend::echoing().await;
    let lb = Lb::over(&[backend.address], &[H2C]).await;
    let reply = lb
        .send("POST /up?x=1 HTTP/1.1\r\nHost: shop.example:81\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
        .await;
    assert_eq!((reply.status(), reply.text().as_str()), (200, "/up"));
    let head = backend.heads().remove(0);
    assert_eq!(head.uri().to_string(), "http://shop.example:81/up?x=1");
    for gone in ["host", "connection", "x-hop", "transfer-encoding", "keep-alive"] {
        assert!(!head.headers().contains_key(gone), "{gone}");
    }
    assert_eq!(head.headers()["x-forwarded-for"], "127.0.0.1");
    // And without a host.
    assert_eq!(lb.send("GET /old HTTP/1.0\r\n\r\n").await.status(), 200);
    let host = backend.address.to_string();
    assert_eq!(backend.heads()[1].uri().authority().unwrap().as_str(), host);
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let backend =
        Http2Backend::start(|mut call| async move {
            let Some(body) = call.body().await else { return };
            let seen = call.request.body_mut().trailers().await.unwrap();
            let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from(body), false).unwrap();
            stream
                .send_trailers(seen.unwrap_or_else(|| {
                    HeaderMap::from_iter([("x-none".parse().unwrap(), "1".parse().unwrap())])
                }))
                .unwrap();
        })
        .await;
    let lb = Lb::over(&[backend.address], &[H2C]).await;
    let mut client = H2::connect(lb.traffic).await;
    let body = super::support::pattern(600_000);
    let (answer, mut stream) = client.begin(Request::post("http://lab/").body(()).unwrap(), false).await;
    stream.send_data(Bytes::from(body.clone()), false).unwrap();
    stream.send_trailers(HeaderMap::from_iter([("x-mark".parse().unwrap(), "7".parse().unwrap())])).unwrap();
    let answer = whole(answer).await.unwrap();
    assert!(answer.body == body, "{} bytes", answer.body.len());
    assert_eq!(answer.trailers.unwrap()["x-mark"], "7");
    let reply = lb.send(post("/", "hello")).await;
    assert_eq!(reply.text(), "hello");
}

#[tokio::test]
async fn the_backends_limit_of_streams_is_kept() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let answering = move |mut call: super::support::Call| {
        let mut gate = gate.clone();
        async move {
            if call.request.uri().path() == "/wait" {
                gate.wait_for(|&open| open).await.unwrap();
            }
            call.ok("ok");
        }
    };
    let backend = Http2Backend::bounded(Bounds { streams: 5, requests: usize::MAX }, answering).await;
    let lb = Lb::over(&[backend.address], &[H2C]).await;
    // The backend's settings are known from here on.
    assert_eq!(lb.get("/").await.text(), "ok");
    let mut client = H2::connect(lb.traffic).await;
    let mut answers = Vec::new();
    for _ in 0..60 {
        answers.push(client.begin(get("/wait"), true).await.0);
    }
    lb.until("sixty", |s| s.sum("lb_upstream_requests_in_flight", &[]) == 60.0).await;
    within("eight connections", async {
        while backend.connections() < 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    open.send_replace(true);
    for answer in answers {
        assert_eq!(whole(answer).await.unwrap().status(), 200);
    }
    assert_eq!(backend.connections(), 8, "more wait for a stream");
    let scrape = lb.settled().await;
    assert_eq!((scrape.code("200"), scrape.sum("lb_retries_total", &[])), (61.0, 0.0));
}

#[tokio::test]
async fn a_backend_that_says_goaway_loses_no_request() {
    for (requests, posts) in [(1, false), (3, true)] {
        let backend = Http2Backend::bounded(Bounds { streams: 100, requests }, |mut call| async move {
            if call.body().await.is_some() {
                call.ok("ok");
            }
        })
        .await;
        let lb = Lb::over(&[backend.address], &[H2C]).await;
        for _ in 0..20 {
            let request = if posts { post("/", "body") } else { keep("/") };
            let mut wire = Wire::connect(lb.traffic).await;
            wire.send(request).await;
            assert_eq!(wire.reply().await.text(), "ok");
        }
        assert!(backend.connections() > 1, "{}", backend.connections());
        let scrape = lb.settled().await;
        assert_eq!((scrape.code("200"), scrape.requests()), (20.0, 20.0));
    }
}

#[tokio::test]
async fn what_a_backend_has_not_begun_is_asked_of_another() {
    // REFUSED_STREAM says so: even a POST may be made again.
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&refusals);
    let refuser = Http2Backend::start(move |mut call| {
        counted.fetch_add(1, SeqCst);
        async move { call.reset(Reason::REFUSED_STREAM) }
    })
    .await;
    let good = Http2Backend::start(|mut call| async move {
        let body = call.body().await.unwrap();
        call.ok(body);
    })
    .await;
    let settings = [H2C, ("pool.algorithm", "round_robin"), ("ejection.enabled", "false")];
    let lb = Lb::over(&[refuser.address, good.address], &settings).await;
    for _ in 0..4 {
        assert_eq!(lb.send(post("/", "again")).await.text(), "again");
    }
    assert!(refusals.load(SeqCst) >= 1);
    // Any other error may have left something behind.
    let breaker = Http2Backend::start(|mut call| async move { call.reset(Reason::INTERNAL_ERROR) }).await;
    let lb = Lb::over(&[breaker.address, good.address], &settings).await;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(lb.send(post("/", "once")).await.status());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
    // But a GET is repeated.
    for _ in 0..2 {
        assert_eq!(lb.get("/").await.status(), 200);
    }
}

#[tokio::test]
async fn who_does_not_speak_it_is_told_apart() {
    let http1 = Script::start(|mut conn| async move {
        conn.upto(b"\r\n\r\n").await;
        let _ =
            conn.try_send("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    })
    .await;
    let lb = Lb::over(&[http1.address], &[H2C]).await;
    assert_eq!(lb.get("/").await.status(), 502);
    assert_eq!(lb.settled().await.code("502"), 1.0);
    let lb = Lb::over(&[refusing()], &[H2C]).await;
    assert_eq!(lb.get("/").await.status(), 502);
    lb.settled().await.assert_one("502", "upstream_connect");
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream_and_no_other() {
    let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
    let backend = Http2Backend::start(move |mut call| {
        let told = told.clone();
        async move {
            if call.request.uri().path() != "/wait" {
                return call.ok("ok");
            }
            told.send(None).unwrap();
            let reason = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
            told.send(reason.ok()).unwrap();
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[H2C]).await;
    // One that has said all, and one in the middle of its upload.
    for upload in [
        "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /wait HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf",
    ] {
        let mut wire = lb.connect().await;
        wire.send(upload).await;
        assert_eq!(within("the request", tell.recv()).await, Some(None));
        wire.reset();
        assert_eq!(within("the reset", tell.recv()).await, Some(Some(Reason::CANCEL)), "{upload}");
        assert_eq!(lb.get("/").await.text(), "ok");
    }
    assert_eq!(backend.connections(), 1);
    lb.settled().await;
}

#[tokio::test]
async fn an_attempt_that_is_over_takes_no_more_of_the_body() {
    // It times out in the middle of an upload; the answer comes, and the client's connection closes in peace.
    let backend = Http2Backend::start(|mut call| async move {
        let _ = call.body().await;
    })
    .await;
    let lb = Lb::over(&[backend.address], &[H2C, ("timeouts.total", "150ms")]).await;
    let mut client = H2::connect(lb.traffic).await;
    let (answer, mut stream) = client.begin(Request::put("http://lab/").body(()).unwrap(), false).await;
    stream.send_data(Bytes::from_static(b"half"), false).unwrap();
    assert!(matches!(whole(answer).await.unwrap().status(), 408 | 504));
    let reset = within("the end of the upload", std::future::poll_fn(|cx| stream.poll_reset(cx))).await;
    assert_eq!(reset.unwrap(), Reason::NO_ERROR);
    lb.settled().await;
}

#[tokio::test]
async fn half_an_answer_is_never_taken_for_a_whole_one() {
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let backend = Http2Backend::start(move |mut call| async move {
            let mut stream = call.respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"half"), false).unwrap();
            // Once it is on its way.
            tokio::task::yield_now().await;
            stream.send_reset(reason);
        })
        .await;
        let lb = Lb::over(&[backend.address], &[H2C]).await;
        let mut wire = lb.connect().await;
        wire.send(keep("/")).await;
        let reply = wire.try_reply().await;
        assert!(reply.as_ref().is_none_or(|reply| reply.status() == 502), "{reason:?}: {reply:?}");
        let scrape = lb.settled().await;
        assert_eq!(scrape.aborts("upstream_reset"), 1.0, "{reason:?}: {}", scrape.gist());
    }
}

#[tokio::test]
async fn idle_connections_are_swept() {
    let backend = Http2Backend::echoing().await;
    let lb = Lb::over(&[backend.address], &[H2C, ("timeouts.upstream_idle", "50ms")]).await;
    assert_eq!(lb.get("/a").await.text(), "/a");
    within("the sweep", async {
        while backend.ended() < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(lb.get("/b").await.text(), "/b");
    assert_eq!(backend.connections(), 2);
}
