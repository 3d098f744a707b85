//! `?algo=` and `x-lb-algo`: who may choose, what a choice does, and that the decisions counted are the ones taken.

use std::collections::BTreeMap;

use lb_core::Algorithm;

use super::support::{Lb, Script, addresses, config, keep, replicas};

/// `b1`, `b2` … each answering with its name.
async fn named(n: usize) -> Vec<Script> {
    let mut all = Vec::new();
    for i in 1..=n {
        all.push(Script::named(&format!("b{i}")).await);
    }
    all
}

fn listening(scripts: &[Script]) -> Vec<std::net::SocketAddr> {
    scripts.iter().map(|s| s.address).collect()
}

#[tokio::test]
async fn every_name_and_alias_works_in_query_and_header() {
    let backends = replicas(2).await;
    let lb = Lb::over(&addresses(&backends), &[]).await;
    let aliases = [("power_of_two_choices", "power_of_two")];
    for (asked, name) in Algorithm::ALL.iter().map(|a| (a.name(), a.name())).chain(aliases) {
        let by_query = lb.get(&format!("/?algo={asked}")).await;
        assert!(by_query.text().ends_with(&format!("algorithm {name}\n")), "{asked}: {}", by_query.text());
        let by_header = lb.get_with("/", &[&format!("x-lb-algo: {asked}")]).await;
        assert!(by_header.text().ends_with(&format!("algorithm {name}\n")), "{asked}: {}", by_header.text());
    }
    assert!(lb.get("/").await.text().ends_with("algorithm adaptive\n"), "the default");
    let scrape = lb.settled().await;
    for algorithm in Algorithm::ALL {
        let expected = if matches!(algorithm, Algorithm::Adaptive) { 3.0 } else { 2.0 };
        let expected = if matches!(algorithm, Algorithm::PowerOfTwo) { 4.0 } else { expected };
        let labels = [("algorithm", algorithm.name())];
        assert_eq!(scrape.sum("lb_decisions_total", &labels), expected, "{algorithm}");
        assert_eq!(scrape.sum("lb_requests_total", &labels), expected, "{algorithm}");
    }
}

#[tokio::test]
async fn an_unknown_name_is_told_all_valid_ones() {
    let backends = named(1).await;
    for bad in ["fastest", "", "Random", "round_robin%20", "random;x"] {
        let lb = Lb::over(&listening(&backends), &[]).await;
        let reply = lb.get(&format!("/?x=1&algo={bad}")).await;
        assert_eq!(reply.status(), 400, "{bad}");
        let error = reply.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(&format!("{bad:?}")), "{error}");
        for algorithm in Algorithm::ALL {
            assert!(error.contains(algorithm.name()), "{algorithm} in {error}");
        }
        lb.settled().await.assert_one("400", "bad_request");
    }
    assert_eq!(backends[0].requests().len(), 0);
}

#[tokio::test]
async fn who_may_not_choose_is_told_so() {
    let backends = named(1).await;
    for settings in [
        vec![("algo.choosers", "off")],
        vec![("algo.choosers", "trusted"), ("algo.trusted", "[\"10.0.0.0/8\"]")],
    ] {
        for (target, header) in [("/?algo=random", "X-A: 1"), ("/", "X-Lb-Algo: random")] {
            let lb = Lb::over(&listening(&backends), &settings).await;
            let reply = lb.get_with(target, &[header]).await;
            assert_eq!(reply.status(), 403, "{target} {header}");
            assert!(reply.json()["error"].as_str().unwrap().contains("algo.choosers"));
            lb.settled().await.assert_one("403", "algorithm_not_allowed");
        }
    }
    assert_eq!(backends[0].requests().len(), 0);
    let trusted = [("algo.choosers", "trusted"), ("algo.trusted", "[\"127.0.0.0/8\"]")];
    let lb = Lb::over(&listening(&backends), &trusted).await;
    assert_eq!(lb.get("/?algo=random").await.status(), 200);
}

#[tokio::test]
async fn round_robin_keeps_its_order_over_two_workers() {
    let backends = named(3).await;
    let lb = Lb::over(&listening(&backends), &[("workers", "2"), ("pool.algorithm", "round_robin")]).await;
    for i in 0..60 {
        // A connection each: the kernel spreads them over both workers.
        assert_eq!(lb.get("/").await.text(), format!("b{}", i % 3 + 1), "request {i}");
    }
}

#[tokio::test]
async fn weighted_shares_are_exact() {
    let backends = named(6).await;
    let weights = [2, 3, 1, 3, 4, 2];
    let members: Vec<_> = listening(&backends).into_iter().zip(weights).collect();
    let settings = [("workers", "2"), ("pool.algorithm", "weighted_round_robin")];
    let lb = Lb::start(config(&members, &settings)).await;
    let mut wire = lb.connect().await;
    for _ in 0..4 {
        let mut seen = BTreeMap::<String, u32>::new();
        for _ in 0..weights.iter().sum::<u32>() {
            wire.send(keep("/")).await;
            *seen.entry(wire.reply().await.text()).or_default() += 1;
        }
        assert_eq!(seen.into_values().collect::<Vec<_>>(), weights, "in every period");
    }
    let scrape = lb.scrape().await;
    let ratio = |b| scrape.sum("lb_backend_weight_ratio", &[("backend", b)]);
    assert!((ratio("b5") - 4.0 / 15.0).abs() < 1e-9);
}

#[tokio::test]
async fn decisions_counted_are_the_requests_seen() {
    let backends = named(4).await;
    let lb = Lb::over(&listening(&backends), &[("workers", "2")]).await;
    for algorithm in Algorithm::ALL {
        let before: Vec<usize> = backends.iter().map(|b| b.requests().len()).collect();
        let clients = (0..4).map(|client| {
            let (traffic, target) = (lb.traffic, format!("/?algo={algorithm}&request_id={client}"));
            tokio::spawn(async move {
                let mut wire = super::support::Wire::connect(traffic).await;
                for _ in 0..25 {
                    wire.send(keep(&target)).await;
                    assert_eq!(wire.reply().await.status(), 200);
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
        let scrape = lb.settled().await;
        for (i, (backend, before)) in backends.iter().zip(before).enumerate() {
            let name = format!("b{}", i + 1);
            let labels = [("algorithm", algorithm.name()), ("backend", name.as_str())];
            let seen = (backend.requests().len() - before) as f64;
            assert_eq!(scrape.sum("lb_decisions_total", &labels), seen, "{algorithm} {name}");
        }
        assert_eq!(scrape.sum("lb_decisions_total", &[("algorithm", algorithm.name())]), 100.0);
    }
    let scrape = lb.settled().await;
    for (i, backend) in backends.iter().enumerate() {
        let name = format!("b{}", i + 1);
        let labels = [("backend", name.as_str()), ("code", "200")];
        assert_eq!(scrape.sum("lb_upstream_requests_total", &labels), backend.requests().len() as f64);
    }
}
