//! `/metrics` says what the catalogue promises, no less and no more, in a form that any Prometheus reads.

use std::collections::{BTreeMap, BTreeSet};

use load_balancer::observe::catalog::{self, Type};

use super::reload::Written;
use super::support::{Authority, Lb, Script, addresses, post, refusing, replicas, request};

#[tokio::test]
async fn catalogue_and_exposition_agree_both_ways() {
    let backends = replicas(2).await;
    let pool = [addresses(&backends), vec![refusing()]].concat();
    let settings = [
        ("health.enabled", "true"),
        ("pool.algorithm", "random"),
        ("geo.enabled", "on"),
        ("signals.source", "metrics"),
        ("signals.map.connections_limit", "1000"),
        ("signals.map.utilization", "backend_memory_usage_ratio"),
    ];
    let lb = Lb::over(&pool, &settings).await;
    lb.until("its backends' word, weighed", |s| {
        s.sum("lb_backend_utilization_ratio", &[]) > 0.0
            && s.types.contains_key("lb_backend_cpu_usage_ratio")
            && s.types.contains_key("lb_backend_signal_age_seconds")
    })
    .await;
    // b3 is down: a second balancer that does not check meets it, for the families of failures.
    // Its store is down, too; its source of discovery knows nobody.
    let nobody = Written::new("nobody", "");
    let authority = Authority::new();
    let certificates = format!("[{}]", authority.issue("lb", &["lb.test"]).toml());
    let alone = [
        ("pool.algorithm", "round_robin"),
        ("store.url", "redis://127.0.0.1:1"),
        ("discovery.source", "file"),
        ("discovery.file.path", nobody.path()),
        ("listen.tls", "127.0.0.1:0"),
        ("tls.certificate", &certificates),
        ("rate_limits", "[{ name = \"all\", rate = 1000000 }]"),
    ];
    let blind = Lb::over(&pool, &alone).await;
    for lb in [&lb, &blind] {
        for _ in 0..6 {
            assert_eq!(lb.send(post("/echo", "body")).await.status(), 200);
        }
        assert_eq!(lb.get("/?algo=none").await.status(), 400);
    }
    let (seen, failures) = (lb.settled().await, blind.settled().await);
    let families: BTreeSet<&str> = seen
        .types
        .keys()
        .chain(failures.types.keys())
        .map(String::as_str)
        .filter(|n| !n.starts_with("process_"))
        .collect();
    let catalogue: BTreeSet<&str> = catalog::ALL.iter().map(|f| f.name).collect();
    assert_eq!(families, catalogue);
    for family in catalog::ALL {
        let kind = match family.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram(_) => "histogram",
        };
        for scrape in [&seen, &failures] {
            if let Some(told) = scrape.types.get(family.name) {
                assert_eq!(told, kind, "{}", family.name);
            }
            let mut labels: BTreeSet<&str> = family.labels.iter().copied().collect();
            for (name, found, _) in &scrape.samples {
                if name == family.name || name.strip_suffix("_count") == Some(family.name) {
                    labels.remove("le");
                    assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), labels, "{name}");
                }
            }
        }
    }
}

#[tokio::test]
async fn histograms_are_whole_and_no_sample_occurs_twice() {
    let backends = replicas(2).await;
    let lb = Lb::over(&addresses(&backends), &[("health.enabled", "true")]).await;
    for target in ["/bench10", "/", "/bench50", "/bytes/100000"] {
        assert_eq!(lb.get(target).await.status(), 200);
    }
    let scrape = lb.settled().await;
    let mut seen = BTreeSet::new();
    let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (name, labels, value) in &scrape.samples {
        assert!(seen.insert(format!("{name}{labels:?}")), "{name} {labels:?} twice");
        let kind = scrape.types.get(name);
        assert!(kind.is_none_or(|k| k != "counter") || *value >= 0.0);
        if let Some(family) = name.strip_suffix("_bucket") {
            let mut series = labels.clone();
            let le = series.remove("le").unwrap();
            let le = if le == "+Inf" { f64::INFINITY } else { le.parse().unwrap() };
            buckets.entry(format!("{family}{series:?}")).or_default().push((le, *value));
        }
    }
    assert!(!buckets.is_empty());
    for (series, rows) in &buckets {
        assert!(rows.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{series}: {rows:?}");
        assert_eq!(rows.last().unwrap().0, f64::INFINITY, "{series}");
    }
    for (name, labels, count) in &scrape.samples {
        if let Some(family) = name.strip_suffix("_count") {
            assert_eq!(buckets[&format!("{family}{labels:?}")].last().unwrap().1, *count);
        }
    }
    let rest = ("pool", "default");
    assert_eq!(scrape.sum("lb_request_duration_seconds_count", &[rest]), 4.0);
    assert!(scrape.sum("lb_request_duration_seconds_sum", &[rest]) >= 0.06);
    assert_eq!(
        scrape.sum("lb_response_body_bytes_total", &[rest]),
        scrape.sum("lb_response_body_bytes_total", &[])
    );
}

#[tokio::test]
async fn the_content_type_is_the_one_prometheus_insists_on() {
    let backends = replicas(1).await;
    let lb = Lb::over(&addresses(&backends), &[("pool.name", "shop"), ("workers", "2")]).await;
    let reply = lb.admin("/metrics").await;
    assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let scrape = lb.scrape().await;
    assert_eq!(scrape.sum("lb_runtime_workers", &[]), 2.0);
    assert_eq!(scrape.sum("lb_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
    assert!(scrape.samples.iter().all(|(_, labels, _)| labels.get("pool").is_none_or(|pool| pool == "shop")));
}

#[tokio::test]
async fn a_request_is_measured_in_all_its_parts() {
    let backends = replicas(2).await;
    let lb = Lb::over(&addresses(&backends), &[("pool.algorithm", "power_of_two")]).await;
    // Until the control side has told what the best backend takes, there is nothing to regret.
    let regretted = |s: &super::support::Scrape| s.sum("lb_regret_seconds_count", &[("algorithm", "random")]);
    while regretted(&lb.scrape().await) == 0.0 {
        assert_eq!(lb.get("/?algo=random").await.status(), 200);
    }
    // Most of it is the backend's time. The first is so slow that no estimate from the requests before it comes near.
    for target in std::iter::once("/bench500").chain(std::iter::repeat_n("/bench50", 19)) {
        assert_eq!(lb.get(target).await.status(), 200);
    }
    assert_eq!(lb.get("/?algo=none").await.status(), 400);
    let scrape = lb.settled().await;
    let of = |family: &str, part: &str| {
        scrape.sum(&format!("lb_{family}_seconds_{part}"), &[("algorithm", "power_of_two")])
    };
    assert_eq!(of("request_overhead", "count"), 20.0);
    let (all, own) = (of("request_duration", "sum"), of("request_overhead", "sum"));
    assert!(own > 0.0 && own < all - (0.45 + 19.0 * 0.045), "{own} of {all} s are the balancer's");
    assert_eq!(of("decision_duration", "count"), 2.0, "the first pick and the seventeenth");
    assert!((1e-8..all).contains(&of("decision_duration", "sum")));
    assert_eq!(of("regret", "count"), 20.0);
    // Held against an estimate of some milliseconds at first.
    assert!((0.0..all).contains(&of("regret", "sum")), "{}", of("regret", "sum"));
    assert!(of("regret", "sum") > 0.1, "the first one was many times slower than the estimate");
    assert_eq!(scrape.sum("lb_request_overhead_seconds_count", &[("algorithm", "none")]), 0.0);
    assert_eq!(scrape.sum("lb_retry_budget_remaining_ratio", &[]), 1.0);
    assert_eq!(scrape.sum("lb_algorithm_active", &[("algorithm", "power_of_two")]), 1.0);
    assert_eq!(scrape.sum("lb_algorithm_active", &[]), 1.0);
    assert!(scrape.sum("lb_runtime_alive_tasks", &[("worker", "0")]) >= 1.0);
    assert!(scrape.sum("lb_runtime_worker_busy_seconds_total", &[("worker", "0")]) > 0.0);
}

#[tokio::test]
async fn retries_use_the_budget_up() {
    let backends = replicas(1).await;
    let pool = [refusing(), addresses(&backends)[0]];
    let settings = [
        ("retry.budget_ratio", "0"),
        // One retry, and so little a second that a slow machine earns no second one.
        ("retry.budget_per_second", "0.001"),
        ("ejection.enabled", "false"),
        ("pool.algorithm", "round_robin"),
    ];
    let lb = Lb::over(&pool, &settings).await;
    let left = |s: &super::support::Scrape| s.sum("lb_retry_budget_remaining_ratio", &[]);
    assert_eq!(left(&lb.scrape().await), 1.0);
    while lb.get("/").await.status() == 200 {}
    let scrape = lb.settled().await;
    assert!(left(&scrape) < 0.25, "{}", left(&scrape));
    assert_eq!(scrape.sum("lb_retries_total", &[("outcome", "over_budget")]), 1.0);
    // An attempt that could not connect is no time of the balancer's own, and no answer to regret.
    let requests = scrape.sum("lb_request_overhead_seconds_count", &[]);
    assert_eq!(requests, scrape.sum("lb_request_duration_seconds_count", &[]));
}

#[tokio::test]
async fn requests_do_not_invent_labels() {
    let backend = Script::named("ok").await;
    let lb = Lb::over(&[backend.address], &[]).await;
    for i in 0..20 {
        lb.send(request(&format!("BREW{i}"), &format!("/path{i}"), &[&format!("X-H{i}: {i}")])).await;
    }
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_requests_total", &[("method", "other"), ("code", "200")]), 20.0);
    let moved = |(name, _, value): &&(String, _, f64)| name == "lb_requests_total" && *value > 0.0;
    assert_eq!(scrape.samples.iter().filter(moved).count(), 1);
}

#[tokio::test]
async fn control_paths_on_the_traffic_port_only_when_told() {
    let backends = replicas(1).await;
    let hidden = Lb::over(&addresses(&backends), &[]).await;
    assert!(hidden.get("/metrics").await.text().contains("backend_"), "the backend's own");
    assert_eq!(hidden.get("/health").await.json()["status"], "healthy");
    assert_eq!(hidden.get("/ready").await.status(), 404);

    let lb = Lb::over(&addresses(&backends), &[("control.on_traffic_port", "true")]).await;
    assert_eq!(lb.get("/health").await.text(), "OK");
    assert!(lb.get("/ready").await.text().contains("1 eligible"));
    let text = lb.get("/metrics").await.text();
    let scrape = super::support::Scrape::parse(&text);
    assert_eq!(scrape.code("200"), 2.0, "what the balancer answers itself counts as answered");
    assert_eq!(lb.get("/metrics/").await.status(), 404, "other paths are the backend's");
    assert_eq!(lb.get("/echo").await.status(), 200);
    assert_eq!(lb.send(post("/health", "")).await.status(), 405);
    assert_eq!(lb.settled().await.sum("lb_decisions_total", &[]), 2.0);

    for path in ["/metrics", "/health", "/ready"] {
        assert_eq!(lb.admin(path).await.status(), 200);
    }
    assert_eq!(lb.admin("/echo").await.status(), 404, "the admin listener proxies nothing");
}
