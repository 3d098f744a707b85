//! Health and its switches, `/metrics`, `/stats`, and the counting behind them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail as tests do")]

#[allow(unreachable_pub, dead_code, reason = "shared by the test binaries, each of which uses its own part")]
mod common;

use common::Lab;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::net::TcpStream;

#[tokio::test]
async fn health_is_switched() {
    let lab = Lab::start().await;
    assert_eq!(lab.get("/health_check").await.body, "ok");
    assert_eq!(lab.get("/health").await.json(), json!({ "status": "healthy" }));
    for switch in [Method::GET, Method::POST] {
        assert_eq!(lab.send(switch.clone(), "/unhealthy", "").await.status, StatusCode::CREATED);
        for path in ["/health", "/"] {
            let reply = lab.get(path).await;
            let expected = (StatusCode::SERVICE_UNAVAILABLE, "Unhealthy");
            assert_eq!((reply.status, reply.body.as_str()), expected, "{path}");
        }
        // The process lives all the same, and still serves.
        for path in ["/heartbeat", "/health_check", "/home"] {
            assert_eq!(lab.get(path).await.status, StatusCode::OK, "{path}");
        }
        assert!(lab.get("/metrics").await.body.contains("backend_healthy 0"));
        assert_eq!(lab.send(switch, "/healthy", "").await.status, StatusCode::CREATED);
        assert_eq!(lab.get("/health").await.status, StatusCode::OK);
        assert_eq!(lab.get("/").await.status, StatusCode::OK);
    }
    assert_eq!(lab.send(Method::DELETE, "/healthy", "").await.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_every_family() {
    let lab = Lab::start().await;
    lab.get("/home").await;
    let reply = lab.get("/metrics").await;
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    for name in backend::meters::NAMES {
        assert!(reply.body.contains(&format!("# TYPE {name} ")), "{name}");
    }
    assert!(
        reply.body.contains("backend_info{region=\"EU\",server=\"S1\",weight=\"1\"} 1"),
        "{}",
        reply.body
    );
    assert!(reply.body.contains("backend_requests_total{code=\"200\"} 1"), "{}", reply.body);
    assert!(reply.body.contains("backend_requests_in_flight 1"), "{}", reply.body);
}

#[tokio::test]
async fn stats_count_by_code_and_connection() {
    let lab = Lab::start().await;
    lab.get("/home").await;
    lab.get("/nowhere").await;
    lab.get("/status/503").await;
    let _idle = TcpStream::connect(lab.server.address()).await.unwrap();
    let stats = lab.until(|stats| stats["connections"]["active"] == 2).await;
    assert_eq!(
        (&stats["server"], &stats["region"], &stats["healthy"]),
        (&json!("S1"), &json!("EU"), &json!(true))
    );
    let codes = &stats["requests"]["by_code"];
    assert_eq!((&codes["404"], &codes["503"]), (&json!(1), &json!(1)));
    assert_eq!(stats["requests"]["total"], stats["latency"]["count"]);
    let buckets = stats["latency"]["buckets"].as_array().unwrap();
    assert_eq!(buckets.last().unwrap()["count"], stats["latency"]["count"]);
    assert!(stats["latency"]["mean_seconds"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn usage_is_sampled_and_limits_are_known() {
    let lab = Lab::start().await;
    let stats = lab.until(|stats| stats["memory"]["bytes"].as_u64() > Some(0)).await;
    assert!(stats["cpu"]["limit_cores"].as_f64().unwrap() > 0.0, "{stats}");
    assert!(stats["memory"]["limit_bytes"].as_u64().unwrap() > 0, "{stats}");
    let share = stats["memory"]["usage_ratio"].as_f64().unwrap();
    assert!(share > 0.0 && share < 1.0, "{stats}");
    // This very polling costs CPU: the second sample must see it.
    lab.until(|stats| stats["cpu"]["usage_ratio"].as_f64().unwrap() > 0.0).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_once() {
    let lab = Lab::start().await;
    let slow = tokio::spawn(lab.client.get(lab.url("/bench500")).send());
    lab.until(|stats| stats["requests"]["in_flight"] == 2).await;
    slow.abort();
    let stats = lab.until(|stats| stats["requests"]["in_flight"] == 1).await;
    assert_eq!(stats["requests"]["by_code"]["client_closed"], 1);
}
