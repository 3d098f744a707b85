//! Bodies, streams, trailers, upgrades and codes, down to the bytes where a client library would hide them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail as tests do")]

#[allow(unreachable_pub, dead_code, reason = "shared by the test binaries, each of which uses its own part")]
mod common;

use common::Lab;
use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn echo_says_what_arrived() {
    let lab = Lab::start().await;
    let request = lab.client.request(Method::PATCH, lab.url("/echo/a%20b/c?x=1&y=%C3%A9"));
    let request = request.header("x-two", "1").header("x-two", "2").body("12345");
    let echo: serde_json::Value =
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!((&echo["server"], &echo["method"]), (&json!("S1"), &json!("PATCH")));
    assert_eq!((&echo["path"], &echo["query"]), (&json!("/echo/a%20b/c"), &json!("x=1&y=%C3%A9")));
    assert_eq!((&echo["headers"]["x-two"], &echo["body_bytes"]), (&json!(["1", "2"]), &json!(5)));
    assert_eq!(echo["headers"]["content-length"], json!(["5"]));
    let plain = lab.get("/echo").await.json();
    assert_eq!((&plain["query"], &plain["body_bytes"]), (&json!(null), &json!(0)));
}

#[tokio::test]
async fn echo_takes_chunks_and_trailers() {
    let answer = Lab::start().await
        .raw(
            "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\nconnection: close\r\n\r\n\
             3\r\nabc\r\n4\r\ndefg\r\n0\r\nx-sum: 42\r\n\r\n",
        )
        .await;
    assert!(answer.contains("\"body_bytes\":7"), "{answer}");
    assert!(answer.contains("\"trailers\":{\"x-sum\":[\"42\"]}"), "{answer}");
}

#[tokio::test]
async fn bytes_have_a_length_and_a_pattern() {
    let lab = Lab::start().await;
    for n in [0, 1, 250, 251, 65_511, 65_512, 1_000_003] {
        let response = lab.client.get(lab.url(&format!("/bytes/{n}"))).send().await.unwrap();
        assert_eq!(response.headers()["content-length"], n.to_string());
        let body = response.bytes().await.unwrap();
        assert_eq!(body.len(), n);
        assert!(body.iter().enumerate().all(|(i, byte)| usize::from(*byte) == i % 251), "{n}");
    }
    for n in ["x", "-1", "1099511627777", "1.5"] {
        assert_eq!(lab.get(&format!("/bytes/{n}")).await.status, StatusCode::BAD_REQUEST, "{n}");
    }
}

#[tokio::test]
async fn events_come_in_order_and_end() {
    let lab = Lab::start().await;
    let reply = lab.get("/sse?n=3&every_ms=1").await;
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let events: Vec<&str> = reply.body.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert_eq!(events, [0, 1, 2].map(|i| format!("id: {i}\nevent: tick\ndata: S1")));
    assert_eq!(lab.get("/sse?n=0").await.body, "");
    for query in ["n=1000001", "every_ms=60001", "n=x", "n=-1"] {
        assert_eq!(lab.get(&format!("/sse?{query}")).await.status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[tokio::test]
async fn the_first_event_does_not_wait_for_the_others() {
    let lab = Lab::start().await;
    let mut stream = lab.client.get(lab.url("/sse?n=2&every_ms=60000")).send().await.unwrap();
    assert!(stream.chunk().await.unwrap().unwrap().starts_with(b"id: 0\n"));
}

#[tokio::test]
async fn trailers_go_to_those_who_take_them() {
    let lab = Lab::start().await;
    let answer =
        lab.raw("GET /trailers HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("trailer: x-checksum") && head.contains("transfer-encoding: chunked"), "{head}");
    // FNV-1a of "first\nsecond\nthird\n".
    let sum = "first\nsecond\nthird\n"
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    assert!(body.ends_with(&format!("0\r\nx-checksum: {sum:016x}\r\n\r\n")), "{body:?}");
    let without = lab.raw("GET /trailers HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(without.ends_with("0\r\n\r\n") && !without.contains("x-checksum: "), "{without}");
}

#[tokio::test]
async fn a_websocket_sends_back_and_is_an_open_connection() {
    let lab = Lab::start().await;
    let url = format!("ws://{}/ws", lab.server.address());
    let (mut socket, answer) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(answer.status().as_u16(), 101);
    for message in
        [Message::text("hello"), Message::binary(vec![0, 255, 7]), Message::text("x".repeat(100_000))]
    {
        socket.send(message.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), message);
    }
    socket.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("p".into()));
    // The socket and the one that asks.
    lab.until(|stats| stats["connections"]["active"] == 2).await;
    socket.close(None).await.unwrap();
    lab.until(|stats| stats["connections"]["active"] == 1).await;
}

#[tokio::test]
async fn what_is_no_handshake_is_told_to_upgrade() {
    let reply = Lab::start().await.get("/ws").await;
    assert_eq!((reply.status, reply.header("upgrade")), (StatusCode::UPGRADE_REQUIRED, "websocket"));
    assert!(reply.json()["error"].as_str().unwrap().contains("WebSocket"));
}

#[tokio::test]
async fn any_final_status_by_any_method() {
    let lab = Lab::start().await;
    for code in [200, 201, 204, 301, 304, 404, 418, 429, 500, 503, 599] {
        let reply =
            lab.client.execute(lab.client.get(lab.url(&format!("/status/{code}"))).build().unwrap()).await;
        assert_eq!(reply.unwrap().status().as_u16(), code);
    }
    assert_eq!(lab.post("/status/503", "x").await.status, StatusCode::SERVICE_UNAVAILABLE);
    for code in ["100", "199", "600", "999", "abc", "-200", "65736"] {
        assert_eq!(lab.get(&format!("/status/{code}")).await.status, StatusCode::BAD_REQUEST, "{code}");
    }
}

#[tokio::test]
async fn rubbish_is_refused_and_the_server_lives_on() {
    let lab = Lab::start().await;
    assert!(lab.raw("\x16\x03\x01 nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    assert_eq!(lab.get("/heartbeat").await.status, StatusCode::OK);
}
