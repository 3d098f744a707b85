//! `/decisions`: the past as a list, the past and what follows as a stream, and the way back after a broken connection.

use super::support::{Lb, Wire, addresses, at_admin, replicas, request};

const CHECKED: [(&str, &str); 3] =
    [("health.enabled", "true"), ("health.interval", "20ms"), ("health.edge_interval", "5ms")];

/// The next event's fields: id, name and data.
async fn event(wire: &mut Wire) -> (String, String, serde_json::Value) {
    let text = String::from_utf8(wire.upto(b"\n\n").await.expect("an event")).unwrap();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{name} in {text:?}")).trim().to_owned()
    };
    (field("id"), field("event"), serde_json::from_str(&field("data")).unwrap())
}

async fn stream(lb: &Lb, target: &str, headers: &[&str]) -> Wire {
    let mut wire = Wire::connect(lb.admin).await;
    wire.send(at_admin(&request("GET", target, headers))).await;
    let head = wire.head().await.unwrap();
    assert_eq!((head.status(), head.header("content-type")), (200, Some("text/event-stream")));
    wire
}

#[tokio::test]
async fn the_stream_tells_the_past_and_then_what_happens() {
    let backends = replicas(2).await;
    let lb = Lb::over(&addresses(&backends), &CHECKED).await;
    let mut wire = stream(&lb, "/decisions", &[]).await;
    let mut seen = Vec::new();
    for number in 1..=4 {
        let (id, name, fact) = event(&mut wire).await;
        assert_eq!((id, name.as_str(), &fact["number"]), (number.to_string(), "fact", &number.into()));
        seen.push((fact["kind"].as_str().unwrap().to_owned(), fact["backend"].as_str().unwrap().to_owned()));
    }
    seen.sort();
    let expected = [("healthy", "b1"), ("healthy", "b2"), ("joined", "b1"), ("joined", "b2")];
    assert_eq!(seen, expected.map(|(kind, backend)| (kind.to_owned(), backend.to_owned())));
    backends[1].app().set_healthy(false);
    let (_, _, fact) = event(&mut wire).await;
    assert_eq!((&fact["kind"], &fact["backend"]), (&"unhealthy".into(), &"b2".into()), "{fact}");
    assert!(fact["text"].as_str().unwrap().contains("status 503"), "{fact}");
    // Who lost the connection goes on where it was.
    let mut again = stream(&lb, "/decisions", &["Last-Event-ID: 4"]).await;
    assert_eq!(event(&mut again).await.0, "5");
}

#[tokio::test]
async fn the_list_is_as_long_as_one_wishes() {
    let backends = replicas(3).await;
    let lb = Lb::over(&addresses(&backends), &[]).await;
    for (target, headers, count) in [
        ("/decisions?format=json", &[][..], 3),
        ("/decisions?format=json&last=2", &[], 2),
        ("/decisions?last=0", &["Accept: application/json"], 0),
    ] {
        let mut wire = Wire::connect(lb.admin).await;
        wire.send(at_admin(&request("GET", target, headers))).await;
        let facts = wire.reply().await.json()["facts"].as_array().unwrap().clone();
        assert_eq!(facts.len(), count, "{target}");
        assert!(facts.iter().all(|fact| fact["at"].as_u64().unwrap() > 1_700_000_000_000));
    }
    assert_eq!(lb.admin("/decisions?last=many").await.status(), 400);
}

/// What `/decisions` tells, the metric of facts counts.
#[tokio::test]
async fn the_list_and_the_metric_agree() {
    let backends = replicas(2).await;
    let lb = Lb::over(&addresses(&backends), &CHECKED).await;
    backends[0].app().set_healthy(false);
    let scrape = lb.until("b1 leaves", |s| s.sum("lb_backend_healthy", &[]) == 1.0).await;
    let facts = lb.admin("/decisions?format=json").await.json()["facts"].as_array().unwrap().clone();
    for kind in ["joined", "healthy", "unhealthy"] {
        let told = facts.iter().filter(|fact| fact["kind"] == kind).count() as f64;
        assert_eq!(scrape.sum("lb_facts_total", &[("kind", kind)]), told, "{kind}");
    }
}

/// On the traffic port the stream is no idle connection: it outlives the deadlines of one, and the drain ends it.
#[tokio::test]
async fn the_stream_on_the_traffic_port_lasts_until_the_drain() {
    let backends = replicas(2).await;
    let settings = [
        ("control.on_traffic_port", "true"),
        ("timeouts.client_idle", "100ms"),
        ("timeouts.body_idle", "100ms"),
        ("timeouts.total", "150ms"),
        ("timeouts.request_head", "100ms"),
        ("timeouts.drain", "20s"),
    ];
    let mut lb = Lb::over(&addresses(&backends), &[&CHECKED[..], &settings].concat()).await;
    let mut wire = lb.connect().await;
    wire.send(request("GET", "/decisions?last=0", &[])).await;
    assert_eq!(wire.head().await.unwrap().header("content-type"), Some("text/event-stream"));
    // Another connection shows that every deadline has passed: it is closed for being idle, twice.
    for _ in 0..2 {
        let mut idle = lb.connect().await;
        idle.send(super::support::keep("/echo")).await;
        idle.reply().await;
        assert!(idle.end().await.is_empty());
    }
    backends[0].app().set_healthy(false);
    assert_eq!(event(&mut wire).await.2["kind"], "unhealthy");
    let stopping = lb.stopping();
    // The last chunk, and the end: well before the drain's deadline.
    assert!(String::from_utf8(wire.end().await).unwrap().ends_with("0\r\n\r\n"));
    stopping.await;
}
