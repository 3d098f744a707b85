//! The binary itself: its one line, its settings, its exits, and its memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail as tests do")]

#[allow(unreachable_pub, dead_code, reason = "shared by the test binaries, each of which uses its own part")]
mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use common::{Binary, command, run};
use reqwest::{Client, StatusCode};
use sysinfo::Signal;

fn client() -> Client {
    Client::builder().no_proxy().timeout(common::PATIENCE).build().unwrap()
}

async fn text(server: &Binary, path: &str) -> String {
    let response = client().get(format!("http://{}{path}", server.address)).send().await.unwrap();
    response.text().await.unwrap()
}

/// Besides the one that asks.
async fn until_one_is_under_way(server: &Binary) {
    let poll = async {
        while !text(server, "/stats").await.contains("\"in_flight\":2") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(common::PATIENCE, poll).await.unwrap();
}

#[tokio::test]
async fn settings_come_from_the_environment_and_flags_win() {
    let env = [("SERVER_ID", "id"), ("NAME", "name"), ("REGION", "US"), ("PORT", "0"), ("FAULT", "1")];
    let server = Binary::start(command(&[]).envs(env));
    assert_eq!(text(&server, "/").await, "Hello from id, region US, algorithm -\n");
    assert!(text(&server, "/fault").await.contains("latency_ms"));
    assert!(server.address.starts_with("127.0.0.1:") && !server.address.ends_with(":0"));

    let flags = ["--name", "flag", "--region", "EU", "--weight", "3"];
    let server = Binary::start(command(&flags).envs(env).env("FAULT", "0").env("WEIGHT", "2"));
    assert_eq!(text(&server, "/").await, "Hello from flag, region EU, algorithm -\n");
    assert!(text(&server, "/fault").await.contains("FAULT=1"));
    assert!(text(&server, "/stats").await.contains("\"weight\":3"));
}

#[tokio::test]
async fn health_is_asked_of_the_server_with_the_same_settings() {
    let server = Binary::start(&mut command(&["--port", "0"]));
    let port = server.address.rsplit_once(':').unwrap().1.to_owned();
    // As in a container, which listens everywhere and asks itself.
    let ask = || {
        let mut command = command(&["health"]);
        command.env("PORT", &port).env("BIND", "0.0.0.0");
        run(command)
    };
    assert_eq!(ask().0, Some(0));
    text(&server, "/unhealthy").await;
    let (code, said) = ask();
    assert_eq!(code, Some(1));
    assert!(said.contains(&format!("http://127.0.0.1:{port}/health answers 503")), "{said}");
    server.signal(Signal::Term);
    assert_eq!(server.ended().await.code(), Some(0));
    let (code, said) = ask();
    assert!(code == Some(1) && said.contains("does not answer"), "{code:?} {said}");
}

#[tokio::test]
async fn terminate_and_interrupt_end_it_well() {
    for signal in [Signal::Term, Signal::Interrupt] {
        let server = Binary::start(&mut command(&["--port", "0"]));
        // An idle connection must not hold it up.
        let _idle = TcpStream::connect(&server.address).unwrap();
        server.signal(signal);
        assert_eq!(server.ended().await.code(), Some(0), "{signal:?}");
    }
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_end() {
    let server = Binary::start(&mut command(&["--port", "0"]));
    let slow = tokio::spawn(client().get(format!("http://{}/bench500", server.address)).send());
    until_one_is_under_way(&server).await;
    server.signal(Signal::Term);
    assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn streams_and_sockets_do_not_hold_it_up() {
    let server = Binary::start(&mut command(&["--port", "0"]));
    let url = format!("http://{}/sse?n=1000&every_ms=60000", server.address);
    let mut events = client().get(url).send().await.unwrap();
    assert!(events.chunk().await.unwrap().is_some());
    let (_socket, _) = tokio_tungstenite::connect_async(format!("ws://{}/ws", server.address)).await.unwrap();
    server.signal(Signal::Term);
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn what_never_ends_is_cut_after_the_cap() {
    let server = Binary::start(&mut command(&["--port", "0", "--fault"]));
    let fault = client().post(format!("http://{}/fault", server.address)).body(r#"{"latency_ms":600000}"#);
    assert_eq!(fault.send().await.unwrap().status(), StatusCode::OK);
    let mut waiting = TcpStream::connect(&server.address).unwrap();
    waiting.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    until_one_is_under_way(&server).await;
    server.signal(Signal::Term);
    let begun = tokio::time::Instant::now();
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(begun.elapsed() >= backend::STOP_WITHIN);
}

#[test]
fn a_taken_port_is_named_with_the_fix() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, log) = run(command(&["--port", &port]));
    assert_eq!(code, Some(1));
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains(&format!("port {port} on 127.0.0.1 is taken")) && log.contains("--port"), "{log}");
}

#[test]
fn bad_settings_are_named() {
    for (flags, says) in [
        (["--port", "99999"], "--port"),
        (["--register-url", "ftp://x/"], "REGISTER_URL"),
        (["--bind", "203.0.113.7"], "cannot listen on 203.0.113.7"),
    ] {
        let (code, log) = run(command(&flags));
        assert!(code.is_some_and(|code| code != 0), "{flags:?}");
        assert!(log.contains(says), "{flags:?}: {log}");
    }
}

#[test]
fn a_gibibyte_each_way_at_flat_memory() {
    const LENGTH: usize = 1 << 30;
    const PEAK_MAX: u64 = 64 << 20;
    let server = Binary::start(&mut command(&["--port", "0"]));
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head =
        format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {LENGTH}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let piece = vec![b'x'; 1 << 20];
    (0..LENGTH / piece.len()).for_each(|_| stream.write_all(&piece).unwrap());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(&format!("\"body_bytes\":{LENGTH}")), "{answer}");

    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head = format!("GET /bytes/{LENGTH} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let (mut buffer, mut received) = (vec![0; 1 << 20], 0);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            n => received += n,
        }
    }
    assert!(received > LENGTH, "{received}: the body and a head");
    assert!(server.peak_memory() < PEAK_MAX, "{}", server.peak_memory());
}
