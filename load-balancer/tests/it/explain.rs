//! Decision records: every request's way can be explained afterwards, and every pick made again from its record.

use std::collections::HashSet;

use super::support::{Lb, Script, Wire, addresses, at_admin, keep, refusing, replicas, request};

const ALL: (&str, &str) = ("decisions.record", "all");
const OFF: (&str, &str) = ("decisions.record", "off");

/// Requests in flight on one connection: enough to keep a worker busy, few enough for every socket buffer.
const PIPELINED: usize = 50;

/// Sends `rounds` of pipelined requests, each round under another algorithm.
async fn traffic(lb: &Lb, client: usize, rounds: usize) {
    let mut wire = lb.connect().await;
    for round in 0..rounds {
        let algorithm = lb_core::Algorithm::ALL[(client + round) % lb_core::Algorithm::ALL.len()];
        let one = |i| keep(&format!("/echo?algo={algorithm}&request_id={client}-{round}-{i}"));
        let batch: String = (0..PIPELINED).map(one).collect();
        wire.send(batch).await;
        for _ in 0..PIPELINED {
            assert_eq!(wire.reply().await.status(), 200);
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_picks_come_out_of_their_records_again() {
    let backends = replicas(6).await;
    let settings = [ALL, ("decisions.keep", "100000"), ("workers", "2")];
    let lb = Lb::over(&addresses(&backends), &settings).await;
    let clients = 8;
    let rounds = 100_000 / PIPELINED / clients;
    futures_util::future::join_all((0..clients).map(|client| traffic(&lb, client, rounds))).await;
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_decision_records_total", &[]), 100_000.0);
    let (entries, _) = lb.journal().all();
    assert_eq!(entries.len(), 100_000);
    let mut backends = HashSet::new();
    let mut algorithms = HashSet::new();
    for entry in &entries {
        assert_eq!((entry.code, entry.choices.len()), (200, 1));
        let choice = &entry.choices[0];
        assert!(choice.record.is_some() && choice.holds(&entry.snapshot), "{entry:?}");
        backends.insert(choice.member);
        algorithms.insert(entry.algorithm);
    }
    assert_eq!((backends.len(), algorithms.len()), (6, 10), "it was not always the same answer");
}

/// The record of a request that is known to have ended.
async fn explained(lb: &Lb, id: &str) -> serde_json::Value {
    lb.settled().await;
    let reply = lb.admin(&format!("/explain/{id}")).await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    reply.json()
}

#[tokio::test]
async fn a_retry_is_explained_attempt_by_attempt() {
    let good = Script::named("good").await;
    let lb = Lb::over(&[refusing(), good.address], &[ALL, ("pool.algorithm", "round_robin")]).await;
    assert_eq!(lb.get_with("/", &["X-Request-Id: first"]).await.status(), 200);
    let told = explained(&lb, "first").await;
    assert_eq!((&told["algorithm"], &told["code"]), (&"round_robin".into(), &200.into()), "{told:#}");
    let attempts = told["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{told:#}");
    assert!(attempts[0]["outcome"].as_str().unwrap().starts_with("upstream_connect"), "{told:#}");
    assert_eq!((&attempts[0]["backend"], &attempts[1]["backend"]), (&"b1".into(), &"b2".into()));
    let excluded = serde_json::json!([{ "backend": "b1", "reason": "tried before" }]);
    assert_eq!((&attempts[1]["excluded"], &attempts[1]["outcome"]), (&excluded, &"200".into()));
    assert!(attempts.iter().all(|a| a["recomputed"] == true && a["pick_seconds"].as_f64().unwrap() > 0.0));
    assert_eq!(told["backend"], "b2");
}

#[tokio::test]
async fn an_adaptive_pick_shows_every_term_of_every_candidate() {
    let backends = replicas(3).await;
    let lb = Lb::over(&addresses(&backends), &[ALL, ("pool.algorithm", "adaptive")]).await;
    for _ in 0..9 {
        lb.get("/echo?algo=round_robin").await;
    }
    lb.get_with("/echo", &["X-Request-Id: mine"]).await;
    let told = explained(&lb, "mine").await;
    let attempt = &told["attempts"][0];
    let candidates = attempt["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 3);
    for c in candidates {
        let term = |name: &str| c[name].as_f64().unwrap_or_else(|| panic!("{name} in {c:#}"));
        let price = term("latency_ratio") * term("error_factor") / term("capacity");
        assert!((price / term("price") - 1.0).abs() < 1e-3, "{c:#}");
        let cost = (term("in_flight") + term("others_in_flight") + 1.0) * price * term("region_factor");
        assert!((cost / term("weight") / term("cost") - 1.0).abs() < 1e-3, "{c:#}");
        assert!(term("latency_seconds") > 0.0 && term("latency_age_seconds") < 60.0);
    }
    assert!(!attempt["why"].as_str().unwrap().is_empty());
    assert!(!attempt["draws"].as_array().unwrap().is_empty(), "idle ones are drawn");
}

#[tokio::test]
async fn who_may_choose_may_have_any_request_recorded() {
    let backends = replicas(1).await;
    let lb = Lb::over(&addresses(&backends), &[OFF]).await;
    lb.get_with("/echo", &["X-Request-Id: plain"]).await;
    lb.get_with("/echo", &["X-Request-Id: asked", "X-Lb-Debug: 1"]).await;
    assert_eq!(explained(&lb, "asked").await["backend"], "b1");
    let unknown = lb.admin("/explain/plain").await;
    assert_eq!(unknown.status(), 404);
    assert!(unknown.json()["hint"].as_str().unwrap().contains("x-lb-debug"), "{}", unknown.text());
    let off = Lb::over(&addresses(&backends), &[OFF, ("algo.choosers", "off")]).await;
    off.get_with("/echo", &["X-Request-Id: asked", "X-Lb-Debug: 1"]).await;
    off.settled().await;
    assert_eq!(off.admin("/explain/asked").await.status(), 404);
}

#[tokio::test]
async fn requests_are_filtered_and_streamed() {
    let good = Script::named("good").await;
    let lb = Lb::over(&[good.address, refusing()], &[ALL, ("pool.algorithm", "round_robin")]).await;
    for target in ["/a", "/b?algo=random", "/c"] {
        lb.get(target).await;
    }
    lb.settled().await;
    let list = async |filter: &str| {
        let reply = lb.admin(&format!("/decisions?what=requests&format=json{filter}")).await;
        assert_eq!(reply.status(), 200, "{}", reply.text());
        reply.json()["requests"].as_array().unwrap().len()
    };
    assert_eq!(list("").await, 3);
    assert_eq!((list("&algorithm=random").await, list("&algorithm=round_robin").await), (1, 2));
    assert_eq!(
        (list("&last=2").await, list("&code=502").await, list("&backend=b1&code=200").await),
        (2, 0, 3)
    );
    assert_eq!(lb.admin("/decisions?colour=red").await.status(), 400);
    assert_eq!(lb.admin("/decisions?what=requests&last=501").await.status(), 400);
    let mut wire = Wire::connect(lb.admin).await;
    wire.send(at_admin(&request("GET", "/decisions?what=requests&last=0&algorithm=random", &[]))).await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    lb.get_with("/d", &["X-Request-Id: other"]).await;
    lb.get_with("/d?algo=random", &["X-Request-Id: mine"]).await;
    let event = String::from_utf8(wire.upto(b"\n\n").await.unwrap()).unwrap();
    assert!(event.contains("event: request") && event.contains("\"request_id\":\"mine\""), "{event}");
}

#[tokio::test]
async fn a_request_that_finds_nobody_is_explained_too() {
    let backend = replicas(1).await;
    backend[0].app().set_healthy(false);
    let checks = [("health.enabled", "true"), ("health.interval", "20ms")];
    let lb = Lb::over(&addresses(&backend), &[&checks[..], &[ALL]].concat()).await;
    assert_eq!(lb.get_with("/", &["X-Request-Id: lost"]).await.status(), 503);
    let told = explained(&lb, "lost").await;
    assert_eq!((&told["code"], &told["backend"]), (&503.into(), &serde_json::Value::Null));
    let attempt = &told["attempts"][0];
    assert!(attempt["why"].as_str().unwrap().contains("no backend of the pool is healthy"), "{told:#}");
    assert_eq!(attempt["excluded"][0]["reason"], "unhealthy", "{told:#}");
}

/// On the traffic port every client would read every other's address and ids: there it takes what a change takes.
#[tokio::test]
async fn on_the_traffic_port_records_are_for_those_who_may_change_things() {
    let backends = replicas(1).await;
    let settings = [ALL, ("control.on_traffic_port", "true")];
    let lb = Lb::over(&addresses(&backends), &settings).await;
    lb.get_with("/echo", &["X-Request-Id: mine"]).await;
    lb.settled().await;
    for target in ["/explain/mine", "/decisions?what=requests&format=json", "/decisions?what=all&format=json"]
    {
        assert_eq!(lb.get(target).await.status(), 200, "a person on this machine");
        let carried = lb.get_with(target, &["X-Forwarded-For: 203.0.113.9"]).await;
        assert_eq!(carried.status(), 403, "{target}: {}", carried.text());
        assert_eq!(lb.admin(target).await.status(), 200);
    }
    assert_eq!(lb.get_with("/decisions?format=json", &["X-Forwarded-For: 203.0.113.9"]).await.status(), 200);
}

/// An event stream may last for days: its record is told when it begins, and does not hold on to its snapshot.
#[tokio::test]
async fn what_goes_on_is_told_when_it_begins() {
    let stream = Script::start(async |mut conn: super::support::Conn| {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n").await;
        conn.request().await;
    })
    .await;
    let lb = Lb::over(&[stream.address], &[ALL]).await;
    let mut wire = lb.connect().await;
    wire.send(request("GET", "/", &["X-Request-Id: endless"])).await;
    assert_eq!(wire.head().await.unwrap().status(), 200);
    wire.upto(b"data: 1\n\n").await.unwrap();
    assert_eq!(lb.admin("/explain/endless").await.json()["attempts"][0]["outcome"], "200");
}

/// With every number, a generator's state and clients' keys among them: also on the admin listener for who may change things.
#[tokio::test]
async fn exact_records_are_for_those_who_may_change_things() {
    const EXACT: &str = "/decisions?what=requests&format=json&exact=true";
    let backends = replicas(2).await;
    let lb = Lb::over(&addresses(&backends), &[ALL, ("pool.algorithm", "consistent_hash")]).await;
    lb.get("/echo?request_id=k").await;
    lb.settled().await;
    let told = lb.admin(EXACT).await.json();
    let record = &told["requests"][0]["attempts"][0]["record"];
    assert!(record["generator"].as_str().unwrap().parse::<u64>().is_ok(), "{told:#}");
    assert_eq!(
        (&record["algorithm"], &record["key"]),
        (&"consistent_hash".into(), &serde_json::json!([107]))
    );
    let [view] = &told["views"].as_array().unwrap()[..] else { panic!("{told:#}") };
    assert_eq!((&view["epoch"], &view["members"][1]["name"]), (&told["requests"][0]["epoch"], &"b2".into()));
    let plain = lb.admin("/decisions?what=requests&format=json").await.json();
    assert!(plain.get("views").is_none() && plain["requests"][0]["attempts"][0].get("record").is_none());
    assert_eq!(lb.admin("/decisions?what=requests&exact=true").await.status(), 400, "no stream");
    let guarded =
        Lb::over(&addresses(&backends), &[ALL, ("control.token", "a-token-of-sixteen-or-more")]).await;
    assert_eq!(guarded.admin(EXACT).await.status(), 401);
    assert_eq!(guarded.admin("/decisions?what=requests&format=json").await.status(), 200);
}
