//! Who is slow, and whose fault that is: slow readers are served while bytes move, silence is cut and blamed on who was
//! silent.

use tokio::sync::mpsc;

use super::support::{Conn, Lb, Script, Wire, keep, pattern};

/// Lets `timeouts.request_head` pass, seen by a stalled head that runs into it.
async fn a_head_s_time(lb: &Lb) {
    let mut stalled = lb.connect().await;
    stalled.send("GET / HT").await;
    assert_eq!(stalled.reply().await.status(), 408);
}

/// Answers with so many bytes.
async fn big(size: usize) -> Script {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
    Script::answering([head.into_bytes(), pattern(size)].concat()).await
}

#[tokio::test]
async fn a_response_that_is_still_read_is_not_cut_by_the_limits_of_the_next_request() {
    const SIZE: usize = 350_000;
    let backend = big(SIZE).await;
    let limits = [("timeouts.request_head", "300ms"), ("timeouts.client_idle", "200ms")];
    let lb = Lb::over(&[backend.address], &limits).await;
    let mut wire = Wire::narrow(lb.traffic).await;
    wire.send([keep("/1"), keep("/2")].concat()).await;
    // Both are handed over or under way, and what the narrow window keeps back waits in the balancer.
    lb.until("the first is handed over", |s| s.requests() >= 1.0).await;
    a_head_s_time(&lb).await;
    a_head_s_time(&lb).await;
    for _ in 0..2 {
        let reply = wire.reply().await;
        assert_eq!(reply.status(), 200);
        assert!(reply.body == pattern(SIZE));
    }
}

#[tokio::test]
async fn a_slow_but_steady_reader_is_not_cut() {
    const SIZE: usize = 64 << 20;
    let backend = big(SIZE).await;
    let limits =
        [("timeouts.body_idle", "1s"), ("timeouts.request_head", "100ms"), ("timeouts.client_idle", "100ms")];
    let lb = Lb::over(&[backend.address], &limits).await;
    let mut wire = Wire::narrow(lb.traffic).await;
    wire.send(keep("/")).await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    let mut body = Vec::new();
    while body.len() < SIZE {
        a_head_s_time(&lb).await;
        body.extend(wire.exactly(4 << 20).await.expect("more of the body"));
    }
    assert!(body == pattern(SIZE));
    let scrape = lb.settled().await;
    assert_eq!((scrape.code("200"), scrape.aborts("timeout")), (1.0, 0.0));
    assert_eq!(scrape.sum("lb_backend_error_ewma_ratio", &[]), 0.0);
}

#[tokio::test]
async fn a_backend_that_falls_silent_in_mid_body_is_cut_and_blamed() {
    for framing in ["content-length: 1000\r\n\r\npart", "transfer-encoding: chunked\r\n\r\n4\r\npart\r\n"] {
        let backend = Script::start(move |mut conn: Conn| async move {
            conn.request().await;
            conn.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
            conn.end().await;
        })
        .await;
        let lb = Lb::over(&[backend.address], &[("timeouts.body_idle", "100ms")]).await;
        let mut wire = lb.connect().await;
        wire.send(keep("/")).await;
        assert_eq!(wire.head().await.unwrap().status(), 200);
        assert!(String::from_utf8(wire.gone().await).unwrap().trim_end().ends_with("part"));
        let scrape = lb.settled().await;
        scrape.assert_one("200", "timeout");
        assert!(scrape.sum("lb_backend_error_ewma_ratio", &[]) > 0.0, "{}", scrape.gist());
    }
}

#[tokio::test]
async fn a_reader_that_stops_is_cut_and_no_fault_of_the_backend() {
    let backend = big(64 << 20).await;
    let lb = Lb::over(&[backend.address], &[("timeouts.body_idle", "100ms")]).await;
    let mut wire = Wire::narrow(lb.traffic).await;
    wire.send(keep("/")).await;
    let scrape = lb.until("cut", |s| s.aborts("timeout") == 1.0).await;
    assert_eq!(scrape.sum("lb_backend_error_ewma_ratio", &[]), 0.0, "{}", scrape.gist());
    drop(wire);
}

#[tokio::test]
async fn an_upload_dribbled_beyond_the_total_is_408_and_no_fault_of_the_backend() {
    let (taken, mut got) = mpsc::unbounded_channel();
    let backend = Script::start(move |mut conn: Conn| {
        let taken = taken.clone();
        async move {
            conn.head().await;
            while conn.exactly(1).await.is_some() {
                // The test may be over.
                let _ = taken.send(());
            }
        }
    })
    .await;
    let limits = [("timeouts.total", "300ms"), ("timeouts.body_idle", "1h")];
    let lb = Lb::over(&[backend.address], &limits).await;
    let mut wire = lb.connect().await;
    wire.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n").await;
    // A byte at a time, the next when the backend has the last.
    for _ in 0..999_999 {
        wire.send("x").await;
        tokio::select! {
            ready = wire.stream.readable() => { ready.unwrap(); break }
            _ = got.recv() => {}
        }
    }
    let reply = wire.reply().await;
    assert_eq!((reply.status(), reply.header("connection")), (408, Some("close")), "{reply:?}");
    let scrape = lb.settled().await;
    scrape.assert_one("408", "request_timeout");
    assert_eq!(scrape.sum("lb_backend_error_ewma_ratio", &[]), 0.0);
    assert_eq!(scrape.sum("lb_upstream_requests_total", &[("code", "canceled")]), 1.0);
    assert_eq!(scrape.sum("lb_upstream_requests_total", &[]), 1.0);
}
