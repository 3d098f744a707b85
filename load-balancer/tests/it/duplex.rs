//! Requests and responses that overlap in time: answers before the body's end, and bodies that flow both ways at once.

use super::support::{Conn, Lb, Script, keep, ok};

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn bodies_flow_both_ways_at_once() {
    let backend = Script::start(async |mut conn: Conn| {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while let Some(chunk) = conn.upto(b"!\r\n").await {
            conn.send(chunk).await;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    wire.send(UPLOAD).await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    for word in ["one!", "two!", "six!"] {
        // The next word is spoken only after the last has come back.
        wire.send(format!("4\r\n{word}\r\n")).await;
        assert_eq!(wire.upto(b"!\r\n").await.unwrap(), format!("4\r\n{word}\r\n").into_bytes());
    }
    drop(wire);
    let scrape = lb.settled().await;
    scrape.assert_one("200", "client_closed");
    assert_eq!(scrape.sum("lb_backend_error_ewma_ratio", &[]), 0.0, "no fault of the backend");
}

#[tokio::test]
async fn an_upload_that_breaks_the_limit_beside_its_answer_is_the_client_s_fault() {
    let backend = Script::start(async |mut conn: Conn| {
        conn.head().await;
        conn.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        conn.end().await;
    })
    .await;
    let lb = Lb::over(&[backend.address], &[("limits.body_bytes", "10")]).await;
    let mut wire = lb.connect().await;
    wire.send(UPLOAD).await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    wire.send("b\r\n12345678901\r\n").await;
    assert!(wire.gone().await.is_empty(), "a status cannot be taken back: the answer is broken off");
    let scrape = lb.settled().await;
    scrape.assert_one("200", "body_too_large");
    assert_eq!(scrape.sum("lb_backend_error_ewma_ratio", &[]), 0.0, "no fault of the backend");
}

#[tokio::test]
async fn an_answer_before_the_body_s_end_reaches_the_client() {
    let backend = Script::start(async |mut conn: Conn| {
        conn.head().await;
        conn.send("HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno").await;
        conn.end().await;
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    for _ in 0..5 {
        let mut wire = lb.connect().await;
        wire.send(format!("{UPLOAD}5\r\nbegin\r\n")).await;
        let reply = wire.reply().await;
        assert_eq!((reply.status(), reply.text().as_str()), (403, "no"));
    }
    let scrape = lb.settled().await;
    assert_eq!(
        (scrape.code("403"), scrape.requests(), scrape.sum("lb_request_aborts_total", &[])),
        (5.0, 5.0, 0.0)
    );
    assert_eq!(scrape.sum("lb_upstream_connections", &[]), 0.0);
}

#[tokio::test]
async fn an_abandoned_upload_never_leaks_into_the_next_request() {
    let backend = Script::start(async |mut conn: Conn| {
        while let Some(head) = conn.head().await {
            // Answers at once, whether or not a body follows; the connection stays open.
            conn.send(ok(head.target())).await;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    for i in 0..10 {
        let mut wire = lb.connect().await;
        wire.send(format!("POST /{i} HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\nGET /forged")).await;
        assert_eq!(wire.reply().await.text(), format!("/{i}"));
        drop(wire);
        assert_eq!(lb.send(keep(&format!("/next{i}"))).await.text(), format!("/next{i}"));
    }
    lb.settled().await;
}

#[tokio::test]
async fn a_client_may_send_its_next_request_while_the_first_is_answered() {
    let backend = Script::start(async |mut conn: Conn| {
        while let Some(request) = conn.request().await {
            conn.send(ok(&request.target().repeat(20_000))).await;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    wire.send(keep("/a")).await;
    wire.upto(b"/a/a").await.unwrap();
    wire.send(keep("/b")).await;
    assert!(wire.upto(b"HTTP/1.1 200").await.is_some());
    assert!(wire.upto(&b"/b".repeat(20_000)).await.is_some());
}
