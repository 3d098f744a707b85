//! A balancer that comes to others: what they have learned it knows from its first rounds, and clients that hold on to a
//! backend find the same one everywhere.

use std::net::SocketAddr;
use std::sync::Arc;

use load_balancer::store::Room;
use tokio::time::Instant;

use super::support::{Conn, Lb, Scrape, Script, addresses, config, replicas};

const ROUNDS: [(&str, &str); 2] = [("store.interval", "100ms"), ("store.timeout", "100ms")];

async fn one(room: &Arc<Room>, backends: &[SocketAddr], more: &[&[(&str, &str)]]) -> Lb {
    let backends: Vec<_> = backends.iter().map(|&address| (address, 1)).collect();
    Lb::start_in(config(&backends, &more.concat()), Arc::clone(room)).await
}

fn of(scrape: &Scrape, family: &str, backend: &str) -> f64 {
    scrape.sum(family, &[("backend", backend)])
}

/// A backend that is half busy with so many good answers a second, whoever sent the requests.
async fn working(answers: f64) -> Script {
    let begun = Instant::now();
    Script::start(move |mut conn: Conn| async move {
        while conn.request().await.is_some() {
            let good = answers * begun.elapsed().as_secs_f64();
            let body =
                format!("backend_cpu_usage_ratio 0.5\nbackend_requests_total{{code=\"200\"}} {good:.0}\n");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            conn.send(head + &body).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_newcomer_knows_who_is_slow() {
    let room = Arc::new(Room::default());
    let backends = [working(1_000.0).await, working(1_000.0).await, working(200.0).await];
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let scraping = [("signals.source", "metrics"), ("signals.timeout", "200ms")];
    let slow = |s: &Scrape| of(s, "lb_backend_capacity_ratio", "b3") < 0.6;
    let old = one(&room, &addresses, &[&ROUNDS, &scraping, &[("signals.interval", "250ms")]]).await;
    old.until("it has measured b3", slow).await;
    // It asks each backend once, and a rate takes two answers; its second round is seconds away.
    let patient = [("signals.interval", "60s"), ("store.interval", "10s"), ("store.timeout", "100ms")];
    let new = one(&room, &addresses, &[&scraping, &patient]).await;
    let seen = new.until("it knows b3", slow).await;
    assert!(seen.sum("lb_state_store_operations_total", &[("result", "ok")]) <= 2.0, "within two rounds");
    for name in ["b1", "b2", "b3"] {
        let scrapes = seen.sum("lb_scrapes_total", &[("backend", name), ("result", "ok")]);
        assert!(scrapes <= 1.0, "{name} was measured by itself: {scrapes}");
        let known = of(&seen, "lb_backend_capacity_ratio", name);
        assert!(if name == "b3" { known >= 0.2 } else { (0.9..=1.1).contains(&known) }, "{name}: {known}");
    }
    let apart = one(&Arc::default(), &addresses, &[&scraping, &patient]).await;
    let asked = |s: &Scrape| s.sum("lb_scrapes_total", &[("result", "ok")]) == 3.0;
    let alone = apart.until("it has asked each once", asked).await;
    assert_eq!(of(&alone, "lb_backend_capacity_ratio", "b3"), 1.0, "nobody told it");
}

#[tokio::test]
async fn a_newcomer_finds_backends_as_warm_as_they_are() {
    let (backends, room) = (replicas(3).await, Arc::new(Room::default()));
    let addresses = addresses(&backends);
    let starts = [("control.registration", "true"), ("pool.slow_start", "6s")];
    let old = one(&room, &addresses[..2], &[&ROUNDS, &starts]).await;
    assert_eq!(old.register(&format!("http://{}", addresses[2])).await.status(), 200);
    let name = old.members().await.into_iter().find(|name| !name.starts_with('b')).unwrap();
    let warmth = |s: &Scrape| of(s, "lb_backend_warmth_ratio", &name);
    let early = warmth(&old.until("it starts", |s| warmth(s) > 0.0).await);
    assert!(early <= 0.3, "{early}");
    let before = warmth(&old.until("a third of its start", |s| warmth(s) >= 0.3).await);
    let second = one(&room, &addresses[..2], &[&ROUNDS, &starts]).await;
    let found = warmth(&second.until("the second knows it", |s| warmth(s) >= 0.3).await);
    let after = warmth(&old.scrape().await);
    // Warmth moves by tenths, and each looks in its own time.
    assert!((before..=after + 0.11).contains(&found) && found < 1.0, "{before} {found} {after}");
    old.until("it is warm", |s| warmth(s) == 1.0).await;
    let third = one(&room, &addresses[..2], &[&ROUNDS, &starts]).await;
    let first = third.until("the third knows it", |s| warmth(s) > 0.0).await;
    assert_eq!(warmth(&first), 1.0, "it has long been there");
    assert_eq!(third.scrape().await.sum("lb_facts_total", &[("kind", "warm")]), 0.0, "nor was it warmed up");
}

/// Backends that come to be known in different orders: each client's is the same at all, by every way of hashing.
#[tokio::test]
async fn a_client_finds_its_backend_at_every_balancer() {
    let room = Arc::new(Room::default());
    let mut backends = Vec::new();
    for i in 1..=6 {
        backends.push(Script::named(&format!("s{i}")).await);
    }
    let at: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let trusting = [("client.trusted_proxies", "[\"127.0.0.1\"]"), ("control.registration", "true")];
    for preset in ["default", "md5-1024-100"] {
        let room = if preset == "default" { Arc::clone(&room) } else { Arc::default() };
        let hashing = [("hash.preset", preset)];
        let more: [&[(&str, &str)]; 3] = [&ROUNDS, &trusting, &hashing];
        let (a, b) = (one(&room, &at[..3], &more).await, one(&room, &at[..3], &more).await);
        // At the same moment, so that each is the fourth where it came.
        let urls: Vec<String> = at[3..].iter().map(|address| format!("http://{address}")).collect();
        let (first, second) = tokio::join!(a.register(&urls[0]), b.register(&urls[1]));
        assert_eq!((first.status(), second.status()), (200, 200));
        b.until_members("five", |names| names.len() == 5).await;
        a.until_members("five", |names| names.len() == 5).await;
        let c = one(&room, &at[..3], &more).await;
        c.until_members("five", |names| names.len() == 5).await;
        assert_eq!(c.register(&urls[2]).await.status(), 200);
        let all = [&a, &b, &c];
        for lb in all {
            lb.until_members("six", |names| names.len() == 6).await;
        }
        let mut homes = std::collections::BTreeSet::new();
        for algorithm in ["ip_hash", "consistent_hash"] {
            for client in 0..60 {
                let mut found = Vec::new();
                for lb in all {
                    let target = format!("/?request_id=key-{client}&algo={algorithm}");
                    let from = format!("X-Forwarded-For: 198.51.100.{client}");
                    found.push(lb.get_with(&target, &[&from]).await.text());
                }
                assert!(
                    found.iter().all(|home| *home == found[0]),
                    "{preset} {algorithm} {client}: {found:?}"
                );
                homes.insert(found.swap_remove(0));
            }
        }
        assert_eq!(homes.len(), 6, "all are somebody's");
    }
}
