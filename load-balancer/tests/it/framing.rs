//! Where messages begin and end: lengths, chunks, trailers, bodiless answers, old clients, and `Expect`.

use super::support::{Lb, Script, Wire, addresses, keep, ok, replicas};

/// A balancer over a backend that always answers so.
async fn over(answer: impl Into<Vec<u8>>) -> (Lb, Script) {
    let backend = Script::answering(answer).await;
    (Lb::over(&[backend.address], &[]).await, backend)
}

#[tokio::test]
async fn head_and_bodiless_answers_keep_their_length_and_the_connection() {
    let (lb, _backend) = over("HTTP/1.1 200 OK\r\ncontent-length: 1234\r\netag: \"e\"\r\n\r\n").await;
    let mut wire = lb.connect().await;
    for _ in 0..2 {
        wire.send("HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
        let head = wire.head().await.unwrap();
        assert_eq!((head.status(), head.header("content-length")), (200, Some("1234")));
        assert_eq!(head.header("etag"), Some("\"e\""));
    }
    for (code, extra) in [("204 No Content", ""), ("304 Not Modified", "etag: \"e\"\r\n")] {
        let (lb, backend) = over(format!("HTTP/1.1 {code}\r\n{extra}\r\n")).await;
        let mut wire = lb.connect().await;
        for _ in 0..3 {
            wire.send(keep("/")).await;
            let head = wire.head().await.unwrap();
            assert_eq!(head.status().to_string(), code[..3]);
            assert_eq!((head.header("content-length"), head.header("transfer-encoding")), (None, None));
        }
        assert_eq!(backend.accepted(), 1, "an answer without a body leaves the connection usable");
    }
}

#[tokio::test]
async fn chunks_pass_both_ways() {
    let (lb, backend) = over(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n",
    )
    .await;
    let mut wire = lb.connect().await;
    for _ in 0..2 {
        wire.send("POST /up HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5\r\npedia\r\n0\r\n\r\n").await;
        assert_eq!(wire.reply().await.text(), "abc0123456789");
    }
    let seen = backend.requests();
    assert_eq!((seen.len(), seen[1].text().as_str(), backend.accepted()), (2, "wikipedia", 1));
    assert_eq!(seen[0].header("transfer-encoding"), Some("chunked"));
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let (lb, backend) = over(
        "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 42\r\n\r\n",
    )
    .await;
    let upload = "POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\nTrailer: x-mark\r\nTransfer-Encoding: chunked\r\n\r\n\
                  1\r\nz\r\n0\r\nX-Mark: 7\r\n\r\n";
    let mut wire = lb.connect().await;
    wire.send(upload).await;
    let reply = wire.reply().await;
    assert_eq!((reply.text().as_str(), &reply.trailers[..]), ("hi", &[("x-sum".into(), "42".into())][..]));
    assert_eq!(reply.header("trailer"), Some("x-sum"));
    let seen = backend.request();
    assert_eq!((seen.text().as_str(), &seen.trailers[..]), ("z", &[("x-mark".into(), "7".into())][..]));
    assert_eq!(seen.header("te"), Some("trailers"), "else the backend would not send any");

    wire.send(keep("/")).await;
    assert!(wire.reply().await.trailers.is_empty(), "a client that did not ask for trailers gets none");

    let real = replicas(1).await;
    let lb = Lb::over(&addresses(&real), &[]).await;
    let reply = lb.send("GET /trailers HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\n\r\n").await;
    assert_eq!(reply.trailers[0].0, "x-checksum");
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_becomes_chunks() {
    let backend = Script::start(|mut conn| async move {
        conn.request().await;
        conn.send("HTTP/1.0 200 OK\r\nx-old: 1\r\n\r\nuntil the end").await;
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    for _ in 0..2 {
        wire.send(keep("/")).await;
        let reply = wire.reply().await;
        assert_eq!(
            (reply.text().as_str(), reply.header("transfer-encoding")),
            ("until the end", Some("chunked"))
        );
        assert!(reply.start.starts_with("HTTP/1.1 "));
    }
}

#[tokio::test]
async fn clients_of_http_1_0() {
    let (lb, backend) =
        over("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await;
    let mut wire = lb.connect().await;
    wire.send("GET /old HTTP/1.0\r\n\r\n").await;
    let reply = wire.reply().await;
    assert!(reply.start.starts_with("HTTP/1.0 200"), "{reply:?}");
    assert_eq!((reply.text().as_str(), reply.header("transfer-encoding")), ("hi", None));
    let seen = backend.request();
    assert_eq!(seen.start, "GET /old HTTP/1.1");
    assert_eq!(
        seen.header("host"),
        Some(backend.address.to_string().as_str()),
        "who sends no Host gets the backend's"
    );

    let (lb, _backend) = over(ok("kept")).await;
    let mut wire = lb.connect().await;
    for _ in 0..3 {
        wire.send("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n").await;
        let reply = wire.reply().await;
        assert_eq!((reply.text().as_str(), reply.header("connection")), ("kept", Some("keep-alive")));
    }
    wire.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n").await;
    assert_eq!(wire.reply().await.text(), "kept");
    assert!(wire.gone().await.is_empty(), "without keep-alive the connection ends");
}

#[tokio::test]
async fn expect_continue_is_answered_before_the_body_and_not_passed_on() {
    let (lb, backend) = over(ok("thanks")).await;
    let mut wire = lb.connect().await;
    for _ in 0..2 {
        wire.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
        let interim = wire.head().await.unwrap();
        assert_eq!((interim.status(), interim.headers.len()), (100, 0));
        wire.send("hello").await;
        assert_eq!(wire.reply().await.text(), "thanks");
    }
    assert_eq!(backend.requests()[1].text(), "hello");
    assert_eq!(backend.requests()[1].header("expect"), None);
}

#[tokio::test]
async fn a_refusal_comes_instead_of_100_continue() {
    let (lb, _backend) = over(ok("")).await;
    let reply = lb
        .send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
        .await;
    assert_eq!(reply.status(), 413);
}

#[tokio::test]
async fn two_framings_never_reach_a_backend() {
    let (lb, backend) = over(ok("")).await;
    let both = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n";
    for bad in [
        both,
        "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        "POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: +4\r\n\r\nabcd",
        "POST /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    ] {
        let mut wire: Wire = lb.connect().await;
        wire.send(bad).await;
        assert_eq!(wire.reply().await.status(), 400, "{bad}");
    }
    assert!(backend.requests().is_empty());
}
