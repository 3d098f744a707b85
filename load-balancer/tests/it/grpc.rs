//! gRPC through the balancer: what makes it more than requests over HTTP/2.

use bytes::Bytes;
use h2::Reason;
use hyper::http::{HeaderMap, Request, Response};

use super::support::{Answer, Call, H2, Http2Backend, Lb, whole, within};

const H2C: (&str, &str) = ("pool.protocol", "http2");

fn call(path: &str, timeout: Option<&str>) -> Request<()> {
    let request = Request::post(format!("http://lab{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    match timeout {
        Some(timeout) => request.header("grpc-timeout", timeout),
        None => request,
    }
    .body(())
    .unwrap()
}

fn grpc_head() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

fn trailers(status: &str) -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())])
}

/// Answers with its path and the status that the path names: `/ends/13`, `/alone/13` without anything before.
async fn obedient() -> Http2Backend {
    Http2Backend::start(|mut call: Call| async move {
        let path = call.request.uri().path().to_owned();
        if call.body().await.is_none() {
            return;
        }
        let (how, status) = path[1..].split_once('/').unwrap();
        if how == "alone" {
            let mut head = grpc_head();
            head.headers_mut().extend(trailers(status));
            call.respond.send_response(head, true).unwrap();
            return;
        }
        let mut stream = call.respond.send_response(grpc_head(), false).unwrap();
        stream.send_data(Bytes::from(path.clone()), false).unwrap();
        stream.send_trailers(trailers(status)).unwrap();
    })
    .await
}

fn status(answer: &Answer) -> &str {
    let head = answer.head.headers().get("grpc-status");
    head.or_else(|| answer.trailers.as_ref()?.get("grpc-status")).unwrap().to_str().unwrap()
}

#[tokio::test]
async fn statuses_and_messages_pass() {
    let backend = obedient().await;
    let lb = Lb::over(&[backend.address], &[H2C, ("ejection.enabled", "false")]).await;
    let mut client = H2::connect(lb.traffic).await;
    for n in ["0", "5", "13", "14"] {
        let answer = client.send(call(&format!("/ends/{n}"), None), b"\0\0\0\0\x01x").await;
        assert_eq!((answer.text(), status(&answer)), (format!("/ends/{n}"), n));
        let answer = client.send(call(&format!("/alone/{n}"), None), b"\0\0\0\0\x01x").await;
        assert_eq!((answer.status(), status(&answer), answer.body.len()), (200, n, 0));
    }
    assert_eq!(backend.heads()[0].headers()["te"], "trailers");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn refusals_have_the_form_of_grpc() {
    let refusing = super::support::refusing();
    let settings = [H2C, ("pool.allowed_paths", "[\"/a/*\"]"), ("limits.body_bytes", "5")];
    let lb = Lb::over(&[refusing], &settings).await;
    let mut client = H2::connect(lb.traffic).await;
    for (path, body, expected) in
        [("/a/x", &b"1"[..], "14"), ("/b", b"1", "12"), ("/a/x?algo=nonsense", b"1", "13")]
    {
        let answer = client.send(call(path, None), body).await;
        assert_eq!((answer.status(), status(&answer), answer.body.len()), (200, expected, 0), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert!(answer.header("grpc-message").is_some() && answer.header("x-request-id").is_some());
        assert!(answer.trailers.is_none(), "they are in the place of trailers");
    }
    let mut large = call("/a/x", None);
    large.headers_mut().insert("content-length", 6.into());
    assert_eq!(status(&client.send(large, b"123456").await), "8");
    // And what is not gRPC is answered as ever.
    let plain = client.send(Request::post("http://lab/a/x").body(()).unwrap(), b"1").await;
    assert_eq!(plain.status(), 502);
    let scrape = lb.settled().await;
    assert_eq!((scrape.code("502"), scrape.aborts("upstream_connect")), (2.0, 2.0));
}

#[tokio::test]
async fn a_deadline_is_kept_and_passed_on() {
    let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
    let backend = Http2Backend::start(move |mut call| {
        let told = told.clone();
        async move {
            if call.request.uri().path() == "/begun" {
                let mut stream = call.respond.send_response(grpc_head(), false).unwrap();
                stream.send_data(Bytes::from_static(b"one"), false).unwrap();
                let reason = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
                return told.send(reason.unwrap()).unwrap();
            }
            let reason = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await;
            told.send(reason.unwrap()).unwrap();
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[H2C]).await;
    let mut client = H2::connect(lb.traffic).await;
    let answer = client.send(call("/wait", Some("150m")), b"x").await;
    assert_eq!((answer.status(), status(&answer)), (200, "4"));
    assert_eq!(within("the reset", tell.recv()).await, Some(Reason::CANCEL));
    assert_eq!(backend.heads()[0].headers()["grpc-timeout"], "150m");
    // In the middle of an answer there is no other way to say it.
    let (answer, mut stream) = client.begin(call("/begun", Some("150m")), false).await;
    stream.send_data(Bytes::from_static(b"x"), true).unwrap();
    let error = whole(answer).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    assert_eq!(within("the reset", tell.recv()).await, Some(Reason::CANCEL));
    lb.settled().await;
}

#[tokio::test]
async fn streams_flow_both_ways_for_longer_than_a_request_may_take() {
    let backend = Http2Backend::start(|mut call| async move {
        let mut stream = call.respond.send_response(grpc_head(), false).unwrap();
        while let Some(Ok(piece)) = call.request.body_mut().data().await {
            let _ = call.request.body_mut().flow_control().release_capacity(piece.len());
            stream.send_data(piece, false).unwrap();
        }
        stream.send_trailers(trailers("0")).unwrap();
    })
    .await;
    let settings = [H2C, ("timeouts.total", "200ms"), ("timeouts.body_idle", "200ms")];
    let lb = Lb::over(&[backend.address], &settings).await;
    let mut client = H2::connect(lb.traffic).await;
    let (answer, mut stream) = client.begin(call("/chat", None), false).await;
    let (_, mut incoming) = within("the head", answer).await.unwrap().into_parts();
    for word in ["one", "two"] {
        stream.send_data(Bytes::from(word), false).unwrap();
        let piece = within("its echo", incoming.data()).await.unwrap().unwrap();
        assert_eq!(piece, word, "nothing is held back");
    }
    // An idle connection of another balancer measures the time.
    let plain = super::support::Script::named("ok").await;
    let other = Lb::over(&[plain.address], &[("timeouts.client_idle", "600ms")]).await;
    let mut idle = other.connect().await;
    idle.send(super::support::keep("/")).await;
    assert_eq!(idle.reply().await.text(), "ok");
    assert!(idle.gone().await.is_empty());
    stream.send_data(Bytes::from_static(b"three"), true).unwrap();
    assert_eq!(within("the last", incoming.data()).await.unwrap().unwrap(), "three");
    assert!(within("the end", incoming.data()).await.is_none());
    assert_eq!(incoming.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_request_aborts_total", &[]), 0.0);
}

#[tokio::test]
async fn a_backend_whose_calls_fail_is_ejected_and_one_whose_clients_err_is_not() {
    for (path, ejected) in
        [("/ends/14", 1.0), ("/alone/2", 1.0), ("/ends/5", 0.0), ("/alone/12", 0.0), ("/ends/4", 0.0)]
    {
        let (bad, good) = (obedient().await, obedient().await);
        let settings =
            [H2C, ("pool.algorithm", "round_robin"), ("ejection.base", "1h"), ("ejection.longest", "1h")];
        let lb = Lb::over(&[bad.address, good.address], &settings).await;
        let mut client = H2::connect(lb.traffic).await;
        for n in 0..40 {
            // Each backend gets every other call.
            let path = if n % 2 == 0 { path } else { "/ends/0" };
            client.send(call(path, None), b"x").await;
        }
        let out = |s: &super::support::Scrape| s.sum("lb_backend_ejections_total", &[]);
        let scrape = lb.until("judged", |s| out(s) >= ejected).await;
        assert_eq!(out(&scrape), ejected, "{path}");
    }
}
