//! What traffic shows about a backend, and what follows: ejection by runs and by rates, the cap, panic, saturation, slow
//! start; each seen in metrics and in `/decisions`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use lb_core::Algorithm;
use serde_json::Value;

use super::support::{Conn, Lb, Scrape, Script, ok, within};

/// A backend that answers everything with the status of the moment.
struct Moody {
    script: Script,
    status: Arc<AtomicU16>,
}

impl Moody {
    async fn new(status: u16) -> Moody {
        let status = Arc::new(AtomicU16::new(status));
        let now = Arc::clone(&status);
        let script = Script::start(move |mut conn: Conn| {
            let now = Arc::clone(&now);
            async move {
                while conn.request().await.is_some() {
                    let status = now.load(SeqCst);
                    let more = if status == 503 { "Retry-After: 2\r\n" } else { "" };
                    conn.send(format!("HTTP/1.1 {status} S\r\nContent-Length: 0\r\n{more}\r\n")).await;
                }
            }
        })
        .await;
        Moody { script, status }
    }

    fn set(&self, status: u16) {
        self.status.store(status, SeqCst);
    }
}

/// A pool of such backends, `b1`, `b2` …, under round robin unless a request says otherwise.
async fn pool(statuses: &[u16], settings: &[(&str, &str)]) -> (Vec<Moody>, Lb) {
    let mut all = Vec::new();
    for &status in statuses {
        all.push(Moody::new(status).await);
    }
    let addresses: Vec<_> = all.iter().map(|m| m.script.address).collect();
    let base = [("pool.algorithm", "round_robin"), ("retry.statuses", "[]")];
    let lb = Lb::over(&addresses, &[&base, settings].concat()).await;
    (all, lb)
}

/// A backend whose checks answer `health`, and everything else `status`.
async fn checked(health: Arc<AtomicU16>, status: u16) -> Script {
    Script::start(move |mut conn: Conn| {
        let health = Arc::clone(&health);
        async move {
            while let Some(request) = conn.request().await {
                let status = if request.target() == "/health" { health.load(SeqCst) } else { status };
                conn.send(format!("HTTP/1.1 {status} S\r\nContent-Length: 0\r\n\r\n")).await;
            }
        }
    })
    .await
}

fn in_state(scrape: &Scrape, backend: &str, state: &str) -> bool {
    scrape.sum("lb_backend_state", &[("backend", backend), ("state", state)]) == 1.0
}

async fn facts(lb: &Lb, kind: &str) -> Vec<Value> {
    let all = lb.admin("/decisions?format=json&last=1000").await.json();
    all["facts"].as_array().unwrap().iter().filter(|f| f["kind"] == kind).cloned().collect()
}

async fn picks(lb: &Lb, backend: &str) -> f64 {
    lb.scrape().await.sum("lb_decisions_total", &[("backend", backend)])
}

#[tokio::test]
async fn five_failures_in_a_row_eject_and_one_trial_brings_back() {
    let (backends, lb) = pool(&[500, 200], &[("ejection.base", "50ms")]).await;
    while !in_state(&lb.scrape().await, "b1", "ejected") {
        lb.get("/").await;
        within("no more than it takes", async { assert!(picks(&lb, "b1").await < 12.0) }).await;
    }
    let fact = &facts(&lb, "ejected").await[0];
    assert_eq!((&fact["backend"], &fact["reason"]), (&"b1".into(), &"consecutive_status".into()), "{fact}");
    assert!(fact["run"].as_f64().unwrap() >= 5.0 && fact["allowed"] == 1.0, "{fact}");
    let scrape = lb.scrape().await;
    let reason = [("backend", "b1"), ("reason", "consecutive_status")];
    assert_eq!(scrape.sum("lb_backend_ejections_total", &reason), 1.0);
    // The trial fails: out again, for twice as long.
    lb.until("the trial is on offer", |s| in_state(s, "b1", "trial")).await;
    let before = picks(&lb, "b1").await;
    assert_eq!(
        lb.get("/").await.status(),
        200,
        "the first request is the trial, and is made again elsewhere"
    );
    lb.until("out again", |s| s.sum("lb_backend_ejections_total", &[("reason", "trial")]) == 1.0).await;
    assert_eq!(picks(&lb, "b1").await, before + 1.0, "one request, no more");
    let again = facts(&lb, "ejected").await;
    assert_eq!(again[1]["seconds"].as_f64().unwrap(), 2.0 * again[0]["seconds"].as_f64().unwrap());
    // It works again: the next trial passes.
    backends[0].set(200);
    lb.until("the second trial", |s| in_state(s, "b1", "trial")).await;
    assert_eq!(lb.get("/").await.status(), 200);
    lb.until("back in the pool", |s| in_state(s, "b1", "healthy")).await;
    assert_eq!(facts(&lb, "restored").await.len(), 1);
    let before = picks(&lb, "b1").await;
    for _ in 0..10 {
        assert_eq!(lb.get("/").await.status(), 200);
    }
    assert_eq!(picks(&lb, "b1").await, before + 5.0);
}

#[tokio::test]
async fn a_pool_of_three_ejects_one_and_never_all() {
    let (_backends, lb) = pool(&[500, 500, 500], &[("ejection.base", "60s")]).await;
    lb.get("/").await;
    let spared = |s: &Scrape| s.sum("lb_facts_total", &[("kind", "spared")]) >= 1.0;
    while !spared(&lb.scrape().await) {
        assert_eq!(lb.get("/").await.status(), 500, "somebody still answers");
    }
    let scrape = lb.scrape().await;
    assert_eq!(scrape.sum("lb_backends", &[("state", "ejected")]), 1.0);
    assert_eq!(scrape.sum("lb_backend_healthy", &[]), 2.0);
}

#[tokio::test]
async fn a_single_backend_is_never_ejected() {
    let (_backends, lb) = pool(&[500], &[]).await;
    for _ in 0..20 {
        assert_eq!(lb.get("/").await.status(), 500);
    }
    assert_eq!(lb.scrape().await.sum("lb_backend_ejections_total", &[]), 0.0);
}

/// Half of its answers fail, so no run is ever long; the rate tells, even among three.
#[tokio::test]
async fn a_poor_success_rate_ejects() {
    let poor = Script::start(|mut conn: Conn| async move {
        let mut bad = false;
        while conn.request().await.is_some() {
            bad = !bad;
            let status = if bad { 500 } else { 200 };
            conn.send(format!("HTTP/1.1 {status} S\r\nContent-Length: 0\r\n\r\n")).await;
        }
    })
    .await;
    let (one, two) = (Script::answering(ok("")).await, Script::answering(ok("")).await);
    let settings = [("pool.algorithm", "round_robin"), ("ejection.base", "60s"), ("retry.attempts", "0")];
    let lb = Lb::over(&[poor.address, one.address, two.address], &settings).await;
    let mut wire = lb.connect().await;
    let ejected = |s: &Scrape| s.sum("lb_backend_ejections_total", &[("reason", "success_rate")]) == 1.0;
    within("the rate shows", async {
        while !ejected(&lb.scrape().await) {
            for _ in 0..30 {
                wire.send(super::support::keep("/")).await;
                wire.reply().await;
            }
        }
    })
    .await;
    let fact = &facts(&lb, "ejected").await[0];
    assert_eq!(fact["backend"], "b1");
    assert!((0.3..0.7).contains(&fact["rate"].as_f64().unwrap()), "{fact}");
    assert!(fact["others"].as_f64().unwrap() > 0.999, "{fact}");
}

/// 500 in no time: the cheapest answer there is must not attract the traffic, ejected or not.
#[tokio::test]
async fn failing_fast_earns_less_than_a_twentieth() {
    for ejection in ["true", "false"] {
        for algorithm in Algorithm::ALL {
            use Algorithm::{Adaptive, LeastConnections, LeastResponseTime, MinEta, PowerOfTwo};
            if !matches!(algorithm, Adaptive | LeastConnections | LeastResponseTime | MinEta | PowerOfTwo) {
                continue;
            }
            let (backends, lb) = pool(&[500, 200, 200], &[("ejection.enabled", ejection)]).await;
            let mut clients = Vec::new();
            for _ in 0..4 {
                let mut wire = lb.connect().await;
                clients.push(tokio::spawn(async move {
                    for _ in 0..500 {
                        wire.send(super::support::keep(&format!("/?algo={algorithm}"))).await;
                        wire.reply().await;
                    }
                }));
            }
            for client in clients {
                within("its requests", client).await.unwrap();
            }
            let share = picks(&lb, "b1").await / 2_000.0;
            assert!(share < 0.05, "{algorithm}, ejection {ejection}: {share}");
            drop(backends);
        }
    }
}

#[tokio::test]
async fn a_full_backend_is_left_alone_and_not_blamed() {
    let (backends, lb) = pool(&[503, 200, 200], &[]).await;
    while !in_state(&lb.scrape().await, "b1", "saturated") {
        lb.get("/").await;
    }
    backends[0].set(200);
    let before = picks(&lb, "b1").await;
    for _ in 0..12 {
        assert_eq!(lb.get("/").await.status(), 200);
    }
    let scrape = lb.scrape().await;
    assert_eq!(picks(&lb, "b1").await, before);
    assert_eq!(scrape.sum("lb_backend_ejections_total", &[]), 0.0);
    let fact = &facts(&lb, "saturated").await[0];
    assert!((1.0..=2.0).contains(&fact["seconds"].as_f64().unwrap()), "{fact}");
    // It comes back with half its share, and says so.
    let scrape = lb.until("it is asked again", |s| s.sum("lb_backend_healthy", &[]) == 3.0).await;
    assert!(scrape.sum("lb_backend_warmth_ratio", &[("backend", "b1")]) <= 0.6);
}

#[tokio::test]
async fn a_pool_that_is_all_full_still_answers() {
    let (_backends, lb) = pool(&[503, 503], &[]).await;
    lb.get("/").await;
    while lb.scrape().await.sum("lb_backends", &[("state", "saturated")]) < 2.0 {
        assert_eq!(lb.get("/").await.header("retry-after"), Some("2"), "a backend's own words");
    }
    assert_eq!(lb.get("/").await.header("retry-after"), Some("2"));
}

/// Two of three are down by their checks and the third fails: below the threshold it is asked all the same.
#[tokio::test]
async fn in_panic_ejection_is_ignored_and_told() {
    let settings = [
        ("health.enabled", "true"),
        ("health.interval", "20ms"),
        ("health.edge_interval", "5ms"),
        ("ejection.base", "60s"),
        ("ejection.max_share", "0.6"),
    ];
    let health: Vec<_> = (0..3).map(|_| Arc::new(AtomicU16::new(200))).collect();
    let mut scripts = Vec::new();
    for (health, status) in health.iter().zip([500, 200, 200]) {
        scripts.push(checked(Arc::clone(health), status).await);
    }
    let addresses: Vec<_> = scripts.iter().map(|s| s.address).collect();
    let base = [("pool.algorithm", "round_robin"), ("retry.attempts", "0")];
    let lb = Lb::over(&addresses, &[&base, &settings[..]].concat()).await;
    while !in_state(&lb.scrape().await, "b1", "ejected") {
        lb.get("/").await;
    }
    assert_eq!(lb.scrape().await.sum("lb_pool_panic", &[]), 0.0);
    health[1].store(503, SeqCst);
    lb.until("panic", |s| s.sum("lb_pool_panic", &[]) == 1.0).await;
    let answers: Vec<u16> = vec![lb.get("/").await.status(), lb.get("/").await.status()];
    assert!(answers.contains(&500) && answers.contains(&200), "{answers:?}");
    health[1].store(200, SeqCst);
    lb.until("calm", |s| s.sum("lb_pool_panic", &[]) == 0.0).await;
    for _ in 0..4 {
        assert_eq!(lb.get("/").await.status(), 200);
    }
    let told: Vec<_> = facts(&lb, "panic").await.iter().map(|f| f["on"].clone()).collect();
    assert_eq!(told, [true, false]);
}

/// A backend that comes back into a running pool gets a tenth first, and all of its share in the end.
#[tokio::test]
async fn who_comes_back_starts_slowly() {
    let backends = super::support::replicas(2).await;
    let settings = [
        ("health.enabled", "true"),
        ("health.interval", "20ms"),
        ("health.edge_interval", "5ms"),
        ("pool.slow_start", "1s"),
    ];
    let lb = Lb::over(&super::support::addresses(&backends), &settings).await;
    let scrape = lb.scrape().await;
    assert_eq!(
        scrape.sum("lb_backend_warmth_ratio", &[]),
        2.0,
        "the first ones have nobody to warm up beside"
    );
    backends[0].app().set_healthy(false);
    lb.until("b1 leaves", |s| in_state(s, "b1", "unhealthy")).await;
    backends[0].app().set_healthy(true);
    let scrape = lb.until("b1 returns", |s| in_state(s, "b1", "warming")).await;
    assert!(scrape.sum("lb_backend_warmth_ratio", &[("backend", "b1")]) <= 0.5);
    lb.until("b1 is warm", |s| in_state(s, "b1", "healthy")).await;
    assert_eq!(facts(&lb, "warm").await.len(), 1);
}

/// `health.when = "idle"`: who serves is not asked, who serves nobody is.
#[tokio::test]
async fn only_the_idle_are_checked() {
    let backends = super::support::replicas(2).await;
    let settings = [
        ("health.enabled", "true"),
        ("health.when", "idle"),
        ("health.interval", "30ms"),
        ("health.edge_interval", "5ms"),
        ("pool.algorithm", "ip_hash"),
    ];
    let lb = Lb::over(&super::support::addresses(&backends), &settings).await;
    let passes = |s: &Scrape, b: &str| s.sum("lb_health_checks_total", &[("backend", b), ("result", "pass")]);
    let mut wire = lb.connect().await;
    wire.send(super::support::keep("/echo")).await;
    let busy = wire.reply().await.json()["server"].as_str().unwrap().to_owned();
    let idle = if busy == "b1" { "b2" } else { "b1" };
    let before = lb.scrape().await;
    let mut now = lb.scrape().await;
    within("checks of the idle one", async {
        while passes(&now, idle) < passes(&before, idle) + 10.0 {
            wire.send(super::support::keep("/echo")).await;
            wire.reply().await;
            now = lb.scrape().await;
        }
    })
    .await;
    let checked = passes(&now, &busy) - passes(&before, &busy);
    assert!(checked <= 2.0, "{checked} checks of the one that serves");
}

/// A passing check does not undo what traffic showed; a server that its checks, too, saw dead and alive again is another.
#[tokio::test]
async fn who_was_down_altogether_needs_no_trial() {
    let health = Arc::new(AtomicU16::new(200));
    let (failing, fine) = (checked(Arc::clone(&health), 500).await, Script::answering(ok("")).await);
    let settings = [
        ("health.enabled", "true"),
        ("health.interval", "20ms"),
        ("health.edge_interval", "5ms"),
        ("pool.algorithm", "round_robin"),
        ("ejection.base", "60s"),
        ("retry.attempts", "0"),
    ];
    let lb = Lb::over(&[failing.address, fine.address], &settings).await;
    while !in_state(&lb.scrape().await, "b1", "ejected") {
        lb.get("/").await;
    }
    let passed = |s: &Scrape| s.sum("lb_health_checks_total", &[("backend", "b1"), ("result", "pass")]);
    let before = passed(&lb.scrape().await);
    let scrape = lb.until("more checks pass", |s| passed(s) > before + 3.0).await;
    assert!(in_state(&scrape, "b1", "ejected"));
    health.store(503, SeqCst);
    lb.until("b1 is down", |s| in_state(s, "b1", "unhealthy")).await;
    health.store(200, SeqCst);
    lb.until("b1 is back, without a request", |s| in_state(s, "b1", "healthy")).await;
}
