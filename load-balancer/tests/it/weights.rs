//! What the control side makes of reports and regions, as picks then show: capacities from scrapes and headers, gates, and
//! clients served at home.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use super::geo::pool;
use super::support::{Conn, Lb, Scrape, Script, addresses, configured, keep, replicas};

const QUICK: [(&str, &str); 3] =
    [("signals.source", "metrics"), ("signals.interval", "250ms"), ("signals.timeout", "200ms")];

/// A latency of once is worth nothing by then: it fades within some 10 s at a backend that nobody asks.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Whether backends still say how they are.
type Talking = Arc<AtomicBool>;

/// A backend that answers at once and says that it is as busy as this, its digits moving as real ones do.
async fn saying(cpu: f64, memory: f64, talking: &Talking) -> Script {
    let (talking, turn) = (Arc::clone(talking), Arc::new(AtomicU32::new(0)));
    Script::start(move |mut conn: Conn| {
        let (talking, turn) = (Arc::clone(&talking), Arc::clone(&turn));
        async move {
            while let Some(request) = conn.request().await {
                let cpu = cpu * (1.0 + 1e-6 * f64::from(turn.fetch_add(1, Relaxed)));
                let body = match request.target() {
                    "/metrics" if !talking.load(Relaxed) => String::new(),
                    "/metrics" => {
                        format!("backend_cpu_usage_ratio {cpu}\nbackend_memory_usage_ratio {memory}\n")
                    }
                    _ => "ok".to_owned(),
                };
                conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
            }
        }
    })
    .await
}

fn talking() -> Talking {
    Arc::new(AtomicBool::new(true))
}

fn of(scrape: &Scrape, family: &str, backend: &str) -> f64 {
    scrape.sum(family, &[("backend", backend)])
}

fn mode(scrape: &Scrape, backend: &str, mode: &str) -> f64 {
    scrape.sum("lb_backend_signal_mode", &[("backend", backend), ("mode", mode)])
}

/// Requests in turn to every backend, for as long as the test looks on.
async fn busy(lb: &Lb, what: &str, condition: impl Fn(&Scrape) -> bool) -> Scrape {
    let mut wire = lb.connect().await;
    let traffic = async {
        loop {
            wire.send(keep("/?algo=round_robin")).await;
            assert_eq!(wire.reply().await.status(), 200);
        }
    };
    tokio::select! {
        scrape = lb.until(what, condition) => scrape,
        () = traffic => unreachable!("it never ends"),
    }
}

#[tokio::test]
async fn who_does_as_much_with_less_can_do_more_and_the_ladder_ends_where_reports_do() {
    let talking = talking();
    let backends = [
        saying(0.8, 0.3, &talking).await,
        saying(0.4, 0.3, &talking).await,
        saying(0.4, 0.3, &talking).await,
    ];
    let lb = Lb::over(&backends.each_ref().map(|b| b.address), &QUICK).await;
    let known = |s: &Scrape| {
        let capacity = |name| of(s, "lb_backend_capacity_ratio", name);
        capacity("b1") < 0.62
            && capacity("b1") > 0.4
            && capacity("b2") == 1.0
            && mode(s, "b1", "fresh") == 1.0
            // Prices follow capacities by up to a tick.
            && of(s, "lb_backend_price", "b1") > 1.5
    };
    let scrape = busy(&lb, "half the capacity of the others", known).await;
    assert!(of(&scrape, "lb_backend_capacity_requests_per_second", "b1") > 20.0);
    assert_eq!(of(&scrape, "lb_backend_others_in_flight", "b1"), 0.0, "a scrape is nobody else's request");
    let facts = lb.facts("capacity").await;
    let told = facts.iter().find(|fact| fact["backend"] == "b1").expect("a fact of the change");
    assert!(told["to"].as_f64().unwrap() < 0.7 && told["busy"].as_f64().unwrap() > 0.7, "{told}");
    talking.store(false, Relaxed);
    lb.until("no reports for longer than is held", |s| mode(s, "b1", "aged") == 1.0).await;
    assert_eq!(lb.facts("signals").await.last().unwrap()["to"], "aged");
}

#[tokio::test]
async fn a_backend_short_of_memory_is_given_less() {
    let backends = [saying(0.4, 0.96, &talking()).await, saying(0.4, 0.3, &talking()).await];
    let lb = Lb::over(&backends.each_ref().map(|b| b.address), &QUICK).await;
    // Not there, and so 0, before the first report.
    let gated = |s: &Scrape| (0.01..0.3).contains(&of(s, "lb_backend_capacity_gate_ratio", "b1"));
    let scrape = lb.until("the gate closes", gated).await;
    assert!(of(&scrape, "lb_backend_capacity_ratio", "b1") < 0.3);
    assert_eq!(of(&scrape, "lb_backend_capacity_ratio", "b2"), 1.0);
    assert_eq!(lb.facts("gated").await[0]["backend"], "b1");
}

/// The backend's own `/metrics` counts the scrape that reads it: that must not look like another balancer's request.
#[tokio::test]
async fn at_rest_nobody_else_has_anything_in_flight() {
    let backends = replicas(2).await;
    let lb = Lb::over(&addresses(&backends), &QUICK).await;
    let scraped = |s: &Scrape| s.sum("lb_scrapes_total", &[("result", "ok")]) >= 8.0;
    let scrape = lb.until("scrapes", scraped).await;
    assert_eq!(scrape.sum("lb_backend_others_in_flight", &[]), 0.0, "{}", scrape.gist());
}

#[tokio::test]
async fn clients_are_served_at_home_while_home_is_there() {
    let backends = [Script::named("eu").await, Script::named("us").await, Script::named("us").await];
    let places = [(backends[0].address, "EU"), (backends[1].address, "US"), (backends[2].address, "US")];
    let settings = [("client.trusted_proxies", "[\"127.0.0.0/8\"]"), ("pool.algorithm", "adaptive")];
    let lb = Lb::start(configured(&pool(&places), &settings)).await;
    lb.until("regions weighed", |s| {
        s.sum("lb_region_factor", &[("client_region", "EU"), ("backend_region", "US")]) >= 1.5
    })
    .await;
    for (address, home) in [("193.0.6.139", "eu"), ("8.8.8.8", "us")] {
        let mut at_home = 0;
        for _ in 0..50 {
            let reply = lb.get_with("/", &[&format!("X-Forwarded-For: {address}")]).await;
            assert_eq!(reply.status(), 200, "{address}");
            at_home += u32::from(reply.text() == home);
        }
        // A machine that hesitates may make home look slow for some requests; without regions it would be a third or two.
        assert!(at_home >= 40, "{address}: {at_home} of 50");
    }
    // Nobody at home in Asia: everywhere is equally far.
    let both = async {
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 2 {
            seen.insert(lb.get_with("/", &["X-Forwarded-For: 202.12.29.205"]).await.text());
        }
    };
    // One that hesitated is chosen seldom until its latency is forgotten.
    tokio::time::timeout(FORGOTTEN, both).await.unwrap();
}
