//! The endpoints of rows A, F, G, H and P, as their users know them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail as tests do")]

#[allow(unreachable_pub, dead_code, reason = "shared by the test binaries, each of which uses its own part")]
mod common;

use std::time::Duration;

use common::Lab;
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test]
async fn row_a_home_and_heartbeat() {
    let lab = Lab::start().await;
    let home = lab.get("/home").await;
    assert_eq!(home.json(), json!({ "message": "Hello from Server: S1", "status": "successful" }));
    assert_eq!(home.header("content-type"), "application/json");
    let heartbeat = lab.get("/heartbeat?x=1").await;
    assert_eq!((heartbeat.status, heartbeat.body.as_str()), (StatusCode::OK, ""));
    for path in ["/home", "/heartbeat"] {
        assert_eq!(lab.post(path, "").await.status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[tokio::test]
async fn row_g_greeting() {
    let lab = Lab::start().await;
    assert_eq!(lab.get("/").await.body, "Hello from S1, region EU, algorithm -\n");
    let chosen = lab.client.get(lab.url("/")).header("x-lb-algorithm", "adaptive").send().await.unwrap();
    assert_eq!(chosen.text().await.unwrap(), "Hello from S1, region EU, algorithm adaptive\n");
    let odd = lab.client.get(lab.url("/")).header("x-lb-algorithm", b"\xff".as_slice()).send().await.unwrap();
    assert_eq!(odd.text().await.unwrap(), "Hello from S1, region EU, algorithm -\n");
}

#[tokio::test]
async fn row_h_request() {
    let lab = Lab::start().await;
    let reply = lab.get("/request?request_id=17").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!((&reply.json()["server"], &reply.json()["request_id"]), (&json!("S1"), &json!("17")));
    assert_eq!(lab.get("/request?request_id=a%20%22b").await.json()["request_id"], "a \"b");
    for path in ["/request", "/request?request_id=", "/request?id=3"] {
        let reply = lab.get(path).await;
        assert_eq!(
            (reply.status, &reply.json()["status"]),
            (StatusCode::BAD_REQUEST, &json!("failure")),
            "{path}"
        );
        assert!(reply.body.contains("request_id"), "{path}");
    }
}

#[tokio::test]
async fn row_p_is_prime() {
    let lab = Lab::start().await;
    for (path, answer) in [
        ("/is_prime/0", "no"),
        ("/is_prime/2", "yes"),
        ("/is_prime/524287", "yes"),
        ("/is_prime/6700417", "yes"),
        ("/is_prime/18446744073709551557", "yes"),
        ("/is_prime/18446744073709551615", "no"),
        ("/is_prime/3825123056546413051", "no"),
        ("/is_prime/524287?mode=fast", "yes"),
        ("/is_prime/524287?mode=naive", "yes"),
        ("/is_prime/999999999?mode=naive", "no"),
    ] {
        let reply = lab.get(path).await;
        assert_eq!((reply.status, reply.body.as_str()), (StatusCode::OK, answer), "{path}");
    }
}

#[tokio::test]
async fn row_p_refuses_what_is_no_number() {
    let lab = Lab::start().await;
    for path in [
        "/is_prime/abc",
        "/is_prime/-7",
        "/is_prime/+7",
        "/is_prime/7.0",
        "/is_prime/%207",
        "/is_prime/18446744073709551616",
        "/is_prime/7?mode=quick",
        "/is_prime/1000000001?mode=naive",
    ] {
        let reply = lab.get(path).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{path}");
        assert!(reply.json()["error"].is_string(), "{path}");
    }
    assert_eq!(lab.get("/is_prime/").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_are_answered_while_all_cores_compute() {
    let lab = Lab::start().await;
    let computing =
        (0..4).map(|_| tokio::spawn(lab.client.get(lab.url("/is_prime/999999937?mode=naive")).send()));
    let computing: Vec<_> = computing.collect();
    // Itself, and the four.
    lab.until(|stats| stats["requests"]["in_flight"] == 5).await;
    assert_eq!(lab.get("/heartbeat").await.status, StatusCode::OK);
    // The clients leave; their jobs are called off, and each is counted once.
    computing.iter().for_each(|client| client.abort());
    // Counted out and counted by code are two steps of one moment.
    let gone = |stats: &serde_json::Value| {
        stats["requests"]["in_flight"] == 1 && stats["requests"]["by_code"]["client_closed"] == 4
    };
    lab.until(gone).await;
}

#[tokio::test]
async fn row_f_bench() {
    let lab = Lab::start().await;
    for path in ["/bench", "/bench?slow=0", "/bench?slow=1", "/bench?slow=true"] {
        let reply = lab.get(path).await.json();
        assert_eq!(reply["instance"], "S1", "{path}");
        let stamp = |name: &str| reply[name].as_f64().unwrap();
        assert!(
            stamp("resp_snd_time") >= stamp("req_rcv_time") && stamp("req_rcv_time") > 1.5e9,
            "{path}: {reply}"
        );
    }
    assert_eq!(lab.get("/bench?slow=maybe").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn row_f_fixed_delays_are_kept() {
    let lab = Lab::start().await;
    for (path, ms) in [("/bench10", 10), ("/bench50", 50), ("/bench500", 500)] {
        let begun = tokio::time::Instant::now();
        let reply = lab.get(path).await;
        assert!(begun.elapsed() >= Duration::from_millis(ms), "{path}");
        assert_eq!(reply.json()["instance"], "S1");
    }
}

#[tokio::test]
async fn head_works_wherever_get_does() {
    let lab = Lab::start().await;
    for path in [
        "/",
        "/home",
        "/heartbeat",
        "/bench",
        "/bench10",
        "/is_prime/7",
        "/request?request_id=1",
        "/health_check",
        "/health",
        "/healthy",
        "/metrics",
        "/stats",
        "/fault",
        "/echo",
        "/bytes/1000000",
        "/sse?n=1",
        "/trailers",
        "/status/418",
        "/ws",
    ] {
        let (get, head) = (lab.get_lossy(path).await, lab.send(Method::HEAD, path, "").await);
        assert_eq!((head.status, head.body.as_str()), (get.0, ""), "{path}");
    }
    assert_eq!(lab.send(Method::HEAD, "/bytes/1000000", "").await.header("content-length"), "1000000");
    let length = lab.get("/home").await.body.len().to_string();
    assert_eq!(lab.send(Method::HEAD, "/home", "").await.header("content-length"), length);
}

#[tokio::test]
async fn unknown_paths_are_named() {
    let reply = Lab::start().await.get("/nowhere").await;
    assert_eq!(
        (reply.status, reply.json()),
        (StatusCode::NOT_FOUND, json!({ "error": "this server has no /nowhere" }))
    );
}

impl Lab {
    /// Status and body length; the body need not be text.
    async fn get_lossy(&self, path: &str) -> (StatusCode, usize) {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        (response.status(), response.bytes().await.unwrap().len())
    }
}
