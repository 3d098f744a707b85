//! A balancer that joins others knows at once what they have learned: capacities, and how long backends have been warming up.
//! It has served nobody and scraped nothing of it itself; what it shows it was told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use load_balancer::store::Room;

use super::support::{Conn, Lb, Scrape, Script, addresses, config, keep, replicas};

const SHARED: [(&str, &str); 2] = [("store.interval", "200ms"), ("store.timeout", "200ms")];
/// Reports once in five seconds: a rate takes two of one's own, so a newcomer that has one sooner was told.
const SELDOM: [(&str, &str); 3] =
    [("signals.source", "metrics"), ("signals.interval", "5s"), ("signals.timeout", "1s")];
const OFTEN: [(&str, &str); 3] =
    [("signals.source", "metrics"), ("signals.interval", "250ms"), ("signals.timeout", "200ms")];

async fn one(room: &Arc<Room>, backends: &[SocketAddr], more: &[(&str, &str)]) -> Lb {
    let backends: Vec<_> = backends.iter().map(|&address| (address, 1)).collect();
    Lb::start_in(config(&backends, &[&SHARED, more].concat()), Arc::clone(room)).await
}

/// A backend that says how busy it is and counts what it has answered, as the real one does.
async fn counting(cpu: f64) -> Script {
    let answered = Arc::new(AtomicU64::new(0));
    Script::start(move |mut conn: Conn| {
        let answered = Arc::clone(&answered);
        async move {
            while let Some(request) = conn.request().await {
                let body = if request.target() == "/metrics" {
                    let good = answered.load(Relaxed);
                    // Digits that move, as real ones do.
                    let cpu = cpu * (1.0 + 1e-9 * good as f64);
                    format!(
                        "backend_cpu_usage_ratio {cpu}\nbackend_requests_total{{code=\"200\",endpoint=\"/home\"}} {good}\n"
                    )
                } else {
                    answered.fetch_add(1, Relaxed);
                    "ok".to_owned()
                };
                conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
            }
        }
    })
    .await
}

fn of(scrape: &Scrape, family: &str, backend: &str) -> f64 {
    scrape.sum(family, &[("backend", backend)])
}

#[tokio::test]
async fn it_has_the_capacities_that_others_have_measured() {
    let backends = [counting(0.8).await, counting(0.4).await, counting(0.4).await];
    let (addresses, room) = (backends.each_ref().map(|b| b.address), Arc::new(Room::default()));
    let veteran = one(&room, &addresses, &OFTEN).await;
    let half = |s: &Scrape| {
        let capacity = of(s, "lb_backend_capacity_ratio", "b1");
        capacity > 0.4 && capacity < 0.62
    };
    let mut wire = veteran.connect().await;
    let traffic = async {
        loop {
            wire.send(keep("/?algo=round_robin")).await;
            assert_eq!(wire.reply().await.status(), 200);
        }
    };
    let measured = tokio::select! {
        measured = veteran.until("half the capacity of the others", half) => measured,
        () = traffic => unreachable!("it never ends"),
    };
    let late = one(&room, &addresses, &SELDOM).await;
    let told = late.until("the same at a newcomer", half).await;
    assert_eq!(told.requests(), 0.0, "it has served nobody");
    let scraped = told.sum("lb_scrapes_total", &[("backend", "b1"), ("result", "ok")]);
    assert!(scraped <= 1.0, "a rate takes two scrapes: {scraped}");
    let rate = "lb_backend_capacity_requests_per_second";
    for name in ["b1", "b2", "b3"] {
        let (theirs, ours) = (of(&measured, rate, name), of(&told, rate, name));
        assert!((ours / theirs - 1.0).abs() < 0.3, "{name}: {ours} here, {theirs} there");
    }
}

/// A slow start that is under way elsewhere goes on here, instead of beginning anew or being passed over.
#[tokio::test]
async fn a_backend_is_as_warm_for_it_as_for_the_others() {
    let (backends, room) = (replicas(3).await, Arc::new(Room::default()));
    let addresses = addresses(&backends);
    let slow = [("pool.slow_start", "60s"), ("health.enabled", "true"), ("health.interval", "200ms")];
    let veteran = one(&room, &addresses, &slow).await;
    let warmth = |s: &Scrape| of(s, "lb_backend_warmth_ratio", "b3");
    // Out for longer than a drain takes, and in again: it is a new one, beside two that are not.
    veteran.remove(1, &["b3"]).await.members();
    veteran.until("b3 is gone", |s| s.facts("left") == 1.0).await;
    veteran.add(1, &["b3"]).await.members();
    veteran.until("b3 partly warm", |s| (0.2..0.4).contains(&warmth(s))).await;
    // Long enough that all this is seen after its first round and before its second.
    let seldom = [&slow[..], &[("store.interval", "8s"), ("store.timeout", "8s")]].concat();
    let late = one(&room, &addresses, &seldom).await;
    let ours = late.until("b3 is warming up here, too", |s| warmth(s) < 1.0).await;
    let theirs = warmth(&veteran.scrape().await);
    assert!(theirs < 1.0, "the machine was slower by far than this test allows for: {theirs}");
    assert!((warmth(&ours) - theirs).abs() <= 0.21, "b3 is {} warm here and {theirs} there", warmth(&ours));
    assert_eq!(
        ours.sum("lb_state_store_operations_total", &[("result", "ok")]),
        1.0,
        "it took its first round"
    );
    assert_eq!((of(&ours, "lb_backend_warmth_ratio", "b1"), ours.facts("warm")), (1.0, 0.0));
}
