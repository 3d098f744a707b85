//! Upgrades: after the 101 the balancer is a pair of wires, and nothing sent early is lost.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::support::{Conn, Lb, Script, addresses, ok, replicas, within};

const ASK: &str =
    "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: proto/1\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: proto/1\r\n\r\n";

#[tokio::test]
async fn a_websocket_echoes_through() {
    let backends = replicas(1).await;
    let lb = Lb::over(&addresses(&backends), &[]).await;
    let url = format!("ws://{}/ws?algo=random", lb.traffic);
    let (mut socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert!(response.headers().contains_key("x-request-id"));
    for size in [1, 200, 70_000, 1 << 20] {
        socket.send(Message::text("x".repeat(size))).await.unwrap();
        let back = within("the echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(back.into_text().unwrap().len(), size);
    }
    lb.until("the tunnel is in flight", |s| {
        s.sum("lb_upstream_requests_in_flight", &[("backend", "b1")]) == 1.0
    })
    .await;
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = within("the farewell", socket.next()).await {}
    drop(socket);
    let scrape = lb.settled().await;
    assert_eq!((scrape.requests(), scrape.code("101")), (1.0, 1.0));
    assert_eq!(scrape.sum("lb_request_aborts_total", &[]), 0.0);
}

#[tokio::test]
async fn bytes_sent_early_arrive_either_way() {
    let backend = Script::start(|mut conn| async move {
        let asked = conn.request().await.unwrap();
        assert_eq!((asked.header("upgrade"), asked.header("connection")), (Some("proto/1"), Some("upgrade")));
        conn.send(format!("{AGREE}greeting")).await;
        let early = conn.exactly(5).await.unwrap();
        conn.send([&b"got "[..], &early].concat()).await;
        let rest = conn.end().await;
        conn.send([&b" then "[..], &rest].concat()).await;
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    wire.send(format!("{ASK}early")).await;
    let head = wire.head().await.unwrap();
    assert_eq!((head.status(), head.header("upgrade")), (101, Some("proto/1")));
    assert_eq!(wire.exactly(17).await.unwrap(), b"greetinggot early");
    wire.send("late").await;
    // A half-closed tunnel still carries the other half.
    tokio::io::AsyncWriteExt::shutdown(&mut wire.stream).await.unwrap();
    assert_eq!(wire.end().await, b" then late");
    lb.settled().await;
}

#[tokio::test]
async fn upgrade_may_stand_in_any_connection_line() {
    let backend = Script::start(|mut conn| async move {
        if conn.request().await.is_some_and(|r| r.header("upgrade") == Some("proto/1")) {
            conn.send(AGREE).await;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let ask = "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nConnection: upgrade\r\nUpgrade: proto/1\r\n\r\n";
    assert_eq!(lb.send(ask).await.status(), 101);
}

#[tokio::test]
async fn a_refused_upgrade_is_an_ordinary_answer() {
    let backend = Script::answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    let mut wire = lb.connect().await;
    for _ in 0..2 {
        wire.send(ASK).await;
        let reply = wire.reply().await;
        assert_eq!((reply.status(), reply.text().as_str()), (403, "no"));
    }
    assert_eq!(backend.accepted(), 1);
}

#[tokio::test]
async fn an_upgrade_nobody_asked_for_is_a_protocol_error() {
    let backend = Script::answering(AGREE).await;
    let lb = Lb::over(&[backend.address], &[("retry.attempts", "0")]).await;
    let reply = lb.get("/").await;
    assert_eq!(reply.status(), 502, "{reply:?}");
    lb.settled().await.assert_one("502", "upstream_protocol");
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let backend = Script::start(|mut conn| async move {
        conn.request().await;
        conn.send(AGREE).await;
        conn.end().await;
    })
    .await;
    let lb =
        Lb::over(&[backend.address], &[("timeouts.tunnel_idle", "100ms"), ("timeouts.total", "1s")]).await;
    let mut wire = lb.connect().await;
    wire.send(ASK).await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    assert!(wire.end().await.is_empty());
    lb.settled().await;
}

#[tokio::test]
async fn a_tunnel_outlives_the_total_timeout() {
    let backends = replicas(1).await;
    let lb =
        Lb::over(&addresses(&backends), &[("timeouts.total", "100ms"), ("timeouts.body_idle", "50ms")]).await;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/ws", lb.traffic)).await.unwrap();
    // The timeouts of an ordinary request, seen to pass on another connection.
    let slow = lb.get("/bench500").await;
    assert_eq!(slow.status(), 504);
    socket.send(Message::text("still here")).await.unwrap();
    let back = within("the echo", socket.next()).await.unwrap().unwrap();
    assert_eq!(back.into_text().unwrap().as_str(), "still here");
}

#[tokio::test]
async fn a_tunnel_whose_client_resets_ends_at_once() {
    let (ended, mut ending) = tokio::sync::mpsc::unbounded_channel();
    let backend = Script::start(move |mut conn: Conn| {
        let ended = ended.clone();
        async move {
            conn.request().await;
            conn.send(format!("{AGREE}hi")).await;
            conn.end().await;
            // Our side stays open: only the balancer can end the tunnel.
            ended.send(conn).unwrap_or_else(|_| panic!("the test is over"));
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[("timeouts.tunnel_idle", "1h")]).await;
    let mut wire = lb.connect().await;
    wire.send(ASK).await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    assert_eq!(wire.exactly(2).await.unwrap(), b"hi");
    wire.reset();
    let _open = within("the backend's connection ends", ending.recv()).await.unwrap();
    let scrape = lb.settled().await;
    assert_eq!((scrape.requests(), scrape.code("101")), (1.0, 1.0));
}

#[tokio::test]
async fn a_tunnel_whose_backend_resets_ends_at_once() {
    let backend = Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.send(AGREE).await;
        conn.exactly(2).await;
        conn.reset();
    })
    .await;
    let lb = Lb::over(&[backend.address], &[("timeouts.tunnel_idle", "1h")]).await;
    let mut wire = lb.connect().await;
    wire.send(ASK).await;
    assert_eq!(wire.head().await.unwrap().status(), 101);
    wire.send("hi").await;
    assert!(wire.end().await.is_empty());
    // Our side is still open.
    lb.settled().await;
}

#[tokio::test]
async fn a_request_with_a_body_is_not_upgraded() {
    let backend = Script::answering(ok("plain")).await;
    let lb = Lb::over(&[backend.address], &[]).await;
    for body in
        ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
    {
        for method in ["GET", "POST"] {
            let ask = "Host: h\r\nConnection: Upgrade\r\nUpgrade: proto/1\r\n";
            let reply = lb.send(format!("{method} / HTTP/1.1\r\n{ask}{body}")).await;
            assert_eq!((reply.status(), reply.text().as_str()), (200, "plain"));
            let seen = backend.requests().pop().unwrap();
            assert_eq!((seen.header("upgrade"), seen.header("connection")), (None, None), "{seen:?}");
            assert_eq!(seen.text(), "hello");
        }
    }
}
