//! `/fault` over the wire: off by default, set, refused, and felt.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail as tests do")]

#[allow(unreachable_pub, dead_code, reason = "shared by the test binaries, each of which uses its own part")]
mod common;

use std::time::Duration;

use backend::Config;
use common::Lab;
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
async fn off_says_how_to_turn_it_on() {
    let lab = Lab::with(Config::default()).await;
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let reply = lab.send(method, "/fault", "{}").await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND);
        assert!(reply.json()["error"].as_str().unwrap().contains("--fault or FAULT=1"));
    }
}

#[tokio::test]
async fn shows_sets_and_clears() {
    let lab = Lab::start().await;
    let none = json!({
        "latency_ms": 0.0, "error_rate": 0.0, "cpu_burn_ms": 0.0, "stall": false, "capacity": null,
    });
    assert_eq!(lab.get("/fault").await.json(), none);
    let set = lab.post("/fault", r#"{"latency_ms":1,"capacity":3}"#).await;
    assert_eq!(set.status, StatusCode::OK);
    assert_eq!((&set.json()["latency_ms"], &set.json()["capacity"]), (&json!(1.0), &json!(3)));
    assert_eq!(lab.get("/fault").await.json(), set.json());
    assert_eq!(lab.send(Method::DELETE, "/fault", "").await.json(), none);
}

#[tokio::test]
async fn bad_input_is_refused_with_field_and_fix_and_changes_nothing() {
    let lab = Lab::start().await;
    let before = lab.get("/fault").await.json();
    for (body, field) in [
        (r#"{"error_rate":2}"#, "error_rate is 2; send a number from 0 to 1"),
        (r#"{"latency":2}"#, "unknown field latency"),
        (r#"{"stall":"yes"}"#, "stall"),
        ("nonsense", "not JSON"),
    ] {
        let reply = lab.post("/fault", body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(reply.json()["error"].as_str().unwrap().contains(field), "{body}: {}", reply.body);
        assert_eq!(lab.get("/fault").await.json(), before, "{body}");
    }
    let large = format!("{{\"latency_ms\":1{}}}", " ".repeat(100_000));
    assert_eq!(lab.post("/fault", &large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn latency_and_burn_are_felt_even_by_the_fast_path() {
    let lab = Lab::start().await;
    lab.post("/fault", r#"{"latency_ms":20,"cpu_burn_ms":5}"#).await;
    for path in ["/heartbeat", "/home", "/health"] {
        let begun = tokio::time::Instant::now();
        assert_eq!(lab.get(path).await.status, StatusCode::OK);
        assert!(begun.elapsed() >= Duration::from_millis(25), "{path}");
    }
}

#[tokio::test]
async fn errors_are_felt_but_not_by_telemetry() {
    let lab = Lab::start().await;
    lab.post("/fault", r#"{"error_rate":1}"#).await;
    for path in ["/heartbeat", "/home", "/health", "/nowhere"] {
        let reply = lab.get(path).await;
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
        assert!(reply.json()["error"].as_str().unwrap().contains("/fault"), "{path}");
    }
    for path in ["/metrics", "/stats", "/fault"] {
        assert_eq!(lab.get(path).await.status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a_stall_answers_nobody_until_it_ends() {
    let lab = Lab::start().await;
    lab.post("/fault", r#"{"stall":true}"#).await;
    let held: Vec<_> = ["/heartbeat", "/bench", "/stats", "/metrics"]
        .map(|path| tokio::spawn(lab.client.get(lab.url(path)).send()))
        .into();
    let meters = &lab.server.app().meters;
    let all_held = async {
        while meters.in_flight.get() != 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(common::PATIENCE, all_held).await.unwrap();
    assert!(held.iter().all(|request| !request.is_finished()));
    lab.post("/fault", r#"{"stall":false}"#).await;
    for request in held {
        assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn the_excess_over_the_capacity_waits() {
    let lab = Lab::start().await;
    lab.post("/fault", r#"{"capacity":1,"latency_ms":20}"#).await;
    let begun = tokio::time::Instant::now();
    let requests: Vec<_> =
        (0..4).map(|_| tokio::spawn(lab.client.get(lab.url("/heartbeat")).send())).collect();
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    // One after the other.
    assert!(begun.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn a_place_is_kept_until_the_answer_is_out() {
    let lab = Lab::start().await;
    lab.post("/fault", r#"{"capacity":1}"#).await;
    let mut endless = lab.client.get(lab.url("/sse?n=1000000&every_ms=1")).send().await.unwrap();
    assert!(endless.chunk().await.unwrap().is_some());
    let waiting = tokio::spawn(lab.client.get(lab.url("/heartbeat")).send());
    // Telemetry needs no place; itself, the stream, and who waits.
    lab.until(|stats| stats["requests"]["in_flight"] == 3).await;
    assert!(!waiting.is_finished());
    drop(endless);
    assert_eq!(waiting.await.unwrap().unwrap().status(), StatusCode::OK);
}
