//! What clients are told when backends fail: the contracted status and words, counted once, with reasons for those who may ask.

use super::support::{Conn, Deaf, Lb, Message, Script, post, refusing, within};

const ONCE: (&str, &str) = ("retry.attempts", "0");

/// The one request of a fresh balancer over this backend ends so.
async fn fails(lb: &Lb, request: &str, status: u16, error: &str, reason: &str) -> Message {
    let reply = lb.send(request).await;
    assert_eq!((reply.status(), reply.json()["error"].as_str()), (status, Some(error)), "{reply:?}");
    assert_eq!(reply.json()["request_id"].as_str(), reply.header("x-request-id"));
    assert!(reply.json().get("reason").is_none(), "nobody asked");
    let scrape = lb.settled().await;
    scrape.assert_one(&status.to_string(), reason);
    reply
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

async fn silent() -> Script {
    Script::start(async |mut conn: Conn| drop((conn.request().await, conn.end().await))).await
}

#[tokio::test]
async fn no_backend_is_503_with_retry_after() {
    let settings = [("health.enabled", "true"), ("health.timeout", "500ms")];
    let lb = Lb::over(&[refusing(), refusing()], &settings).await;
    let reply = fails(&lb, GET, 503, "No backend available", "no_backend").await;
    assert_eq!(reply.header("retry-after"), Some("1"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_refused_connection_is_502() {
    let lb = Lb::over(&[refusing()], &[ONCE]).await;
    fails(&lb, GET, 502, "Backend unreachable", "upstream_connect").await;
    let scrape = lb.scrape().await;
    assert_eq!(scrape.sum("lb_upstream_connects_total", &[("result", "refused")]), 1.0);
    assert_eq!(scrape.sum("lb_upstream_requests_total", &[("code", "error")]), 1.0);
    // With retries allowed but nobody else to ask, the cause is still the answer.
    let lb = Lb::over(&[refusing()], &[("retry.attempts", "3")]).await;
    fails(&lb, GET, 502, "Backend unreachable", "upstream_connect").await;
    let (scrape, nobody) = (lb.scrape().await, [("reason", "upstream_connect"), ("outcome", "no_backend")]);
    assert_eq!((scrape.sum("lb_retries_total", &[]), scrape.sum("lb_retries_total", &nobody)), (1.0, 1.0));
}

#[tokio::test]
async fn a_reset_or_a_close_before_the_head_is_502() {
    let reset = Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.reset();
    })
    .await;
    let close = Script::start(async |mut conn: Conn| drop(conn.request().await)).await;
    let half = Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ncontent-le").await;
    })
    .await;
    for backend in [reset, close, half] {
        let lb = Lb::over(&[backend.address], &[ONCE]).await;
        fails(&lb, GET, 502, "Backend closed the connection", "upstream_reset").await;
    }
}

#[tokio::test]
async fn garbage_is_502() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "\0\0\0\0\r\n\r\n",
    ] {
        let backend = Script::answering(garbage).await;
        let lb = Lb::over(&[backend.address], &[ONCE]).await;
        fails(&lb, GET, 502, "Backend sent an invalid response", "upstream_protocol").await;
    }
}

#[tokio::test]
async fn no_first_byte_in_time_is_504() {
    let backend = silent().await;
    let lb = Lb::over(&[backend.address], &[("timeouts.first_byte", "60ms")]).await;
    fails(&lb, GET, 504, "Backend timeout", "first_byte_timeout").await;
    let lb = Lb::over(&[backend.address], &[("timeouts.first_byte", "60ms")]).await;
    fails(&lb, &post("/", "body"), 504, "Backend timeout", "first_byte_timeout").await;
}

#[tokio::test]
async fn the_total_is_a_limit_of_its_own() {
    let backend = silent().await;
    let lb = Lb::over(&[backend.address], &[("timeouts.total", "60ms")]).await;
    fails(&lb, GET, 504, "Backend timeout", "total_timeout").await;
    let deaf = Deaf::start().await;
    let lb = Lb::over(&[deaf.address, deaf.address], &[("timeouts.total", "60ms")]).await;
    fails(&lb, GET, 504, "Backend timeout", "total_timeout").await;
    assert_eq!(lb.scrape().await.sum("lb_retries_total", &[]), 0.0, "no time is left for another attempt");
}

#[tokio::test]
async fn connecting_too_long_is_504() {
    let deaf = Deaf::start().await;
    let lb = Lb::over(&[deaf.address], &[("timeouts.connect", "60ms"), ONCE]).await;
    fails(&lb, GET, 504, "Backend timeout", "upstream_connect_timeout").await;
    assert_eq!(lb.scrape().await.sum("lb_upstream_connects_total", &[("result", "timeout")]), 1.0);
}

#[tokio::test]
async fn a_first_byte_limit_turned_off_is_off() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let backend = Script::start(move |mut conn| {
        let mut gone = gone.clone();
        async move {
            conn.request().await;
            gone.wait_for(|&go| go).await.unwrap();
            conn.send(super::support::ok("late")).await;
        }
    })
    .await;
    let off = [("timeouts.first_byte", "0"), ("timeouts.body_idle", "0"), ("timeouts.connect", "50ms")];
    let lb = Lb::over(&[backend.address], &off).await;
    for request in [GET.to_owned(), post("/", "x")] {
        go.send_replace(false);
        let mut wire = lb.connect().await;
        wire.send(request).await;
        // Meanwhile the connect limit has passed: it is seen to pass on a connection that hangs.
        let deaf = Deaf::start().await;
        let other = Lb::over(&[deaf.address], &[("timeouts.connect", "100ms"), ONCE]).await;
        assert_eq!(other.get("/").await.status(), 504);
        go.send_replace(true);
        assert_eq!(wire.reply().await.text(), "late");
    }
}

#[tokio::test]
async fn a_backend_that_does_not_take_the_body_is_to_blame() {
    let backend = Script::start(async |mut conn: Conn| {
        conn.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let settings = [("timeouts.body_idle", "200ms"), ("limits.body_bytes", "1GiB")];
    let lb = Lb::over(&[backend.address], &settings).await;
    let mut wire = lb.connect().await;
    let size = 128 << 20;
    wire.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")).await;
    let (mut from, mut to) = wire.stream.into_split();
    let upload = tokio::spawn(async move {
        let piece = vec![b'x'; 1 << 20];
        while tokio::io::AsyncWriteExt::write_all(&mut to, &piece).await.is_ok() {}
    });
    let mut answer = vec![0; 12];
    within("an answer", tokio::io::AsyncReadExt::read_exact(&mut from, &mut answer)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 504");
    upload.abort();
    lb.settled().await.assert_one("504", "first_byte_timeout");
}

#[tokio::test]
async fn reasons_are_told_to_choosers_who_ask() {
    let ask = "GET /x?algo=random HTTP/1.1\r\nHost: h\r\nX-Lb-Debug: 1\r\n\r\n";
    let lb = Lb::over(&[refusing()], &[ONCE]).await;
    let reason = lb.send(ask).await.json()["reason"].clone();
    assert_eq!(reason["kind"], "upstream_connect");
    assert_eq!((&reason["algorithm"], &reason["backend"]), (&"random".into(), &"b1".into()));
    assert_eq!(reason["attempts"], 1);
    assert!(reason["detail"].as_str().unwrap().contains("refused"), "{reason}");
    let lb = Lb::over(&[refusing()], &[ONCE, ("algo.choosers", "off")]).await;
    let reply = lb.send(ask.replace("?algo=random", "")).await.json();
    assert!(reply.get("reason").is_none(), "{reply}");
}
