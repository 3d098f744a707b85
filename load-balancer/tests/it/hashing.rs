//! Hashing through the wire: the published counts, every source of a key, and clients that keep their backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use lb_core::view::Hashing;
use lb_core::{Load, Member, View};
use load_balancer::hashing::Preset;

use super::support::{Lb, Script, Wire, keep};

const MD5: (&str, &str) = ("hash.preset", "md5-1024-100");
const CONSISTENT: (&str, &str) = ("pool.algorithm", "consistent_hash");

struct Pool {
    scripts: Vec<Script>,
    view: View,
}

impl Pool {
    async fn of(n: u32) -> Pool {
        let mut scripts = Vec::new();
        for i in 1..=n {
            scripts.push(Script::named(&i.to_string()).await);
        }
        let member = |ordinal| Member {
            name_hash: u64::from(ordinal),
            ordinal,
            weight: 1,
            warmth: 1.0,
            region: 0,
            eligible: true,
            load: Arc::new(Load::new()),
        };
        let members: Vec<_> = (1..=n).map(member).collect();
        let hashing = Preset::Md5x1024x100.build(&members, None, None);
        Pool { scripts, view: View::new(members, Arc::default(), Arc::default(), hashing) }
    }

    async fn lb(&self, settings: &[(&str, &str)]) -> Lb {
        let addresses: Vec<_> = self.scripts.iter().map(|s| s.address).collect();
        Lb::over(&addresses, &[&[MD5, CONSISTENT], settings].concat()).await
    }

    /// The body of the backend that owns `key` by the hashing module itself.
    fn owner(&self, key: &str) -> String {
        let Hashing::Slots { table, pair } = self.view.hashing() else { panic!("a slot preset") };
        (table.walk(pair.request(key.as_bytes())).next().unwrap() + 1).to_string()
    }
}

#[tokio::test]
async fn ten_thousand_ids_give_the_published_counts() {
    let pool = Pool::of(3).await;
    let lb = pool.lb(&[("workers", "2")]).await;
    let pool = Arc::new(pool);
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (traffic, pool) = (lb.traffic, Arc::clone(&pool));
            tokio::spawn(async move {
                let mut wire = Wire::connect(traffic).await;
                let mut counts = BTreeMap::<String, u32>::new();
                for id in (1..=10_000).filter(|id| id % 4 == client) {
                    wire.send(keep(&format!("/request?request_id={id}"))).await;
                    let by = wire.reply().await.text();
                    assert_eq!(by, pool.owner(&id.to_string()), "id {id}");
                    *counts.entry(by).or_default() += 1;
                }
                counts
            })
        })
        .collect();
    let mut total = BTreeMap::<String, u32>::new();
    for client in clients {
        for (by, n) in client.await.unwrap() {
            *total.entry(by).or_default() += n;
        }
    }
    assert_eq!(total.into_values().collect::<Vec<_>>(), [3650, 3412, 2938]);
}

#[tokio::test]
async fn the_first_key_source_present_decides() {
    let pool = Pool::of(3).await;
    let sources = "[\"header:x-user\", \"cookie:session\", \"query:id\", \"path\"]";
    let lb = pool.lb(&[("hash.key", sources)]).await;
    for i in 0..30 {
        let (user, session) = (format!("X-User: u{i}"), format!("Cookie: a=b; session=s{i}; z=1"));
        let asked = |headers: Vec<String>, target: String| {
            let lb = &lb;
            async move {
                let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
                lb.get_with(&target, &headers).await.text()
            }
        };
        let target = format!("/p{i}?x=1&id=q{i}");
        assert_eq!(asked(vec![session.clone(), user], target.clone()).await, pool.owner(&format!("u{i}")));
        assert_eq!(asked(vec![session], target.clone()).await, pool.owner(&format!("s{i}")));
        assert_eq!(asked(vec![], target).await, pool.owner(&format!("q{i}")));
        assert_eq!(asked(vec![], format!("/p{i}?x=1")).await, pool.owner(&format!("/p{i}")));
    }
    // The choice of algorithm is no part of the key.
    let lb = pool.lb(&[("hash.key", "[\"query:id\"]"), ("pool.algorithm", "random")]).await;
    assert_eq!(lb.get("/?algo=consistent_hash&id=7").await.text(), pool.owner("7"));
}

#[tokio::test]
async fn without_a_key_the_client_s_address_is_it() {
    let pool = Pool::of(3).await;
    let lb = pool.lb(&[("client.trusted_proxies", "[\"127.0.0.1\", \"10.0.0.0/8\"]")]).await;
    assert_eq!(lb.get("/").await.text(), pool.owner("127.0.0.1"));
    for i in 1..30 {
        let chain = format!("X-Forwarded-For: 6.6.6.6, 203.0.113.{i}, 10.0.0.9");
        let expected = pool.owner(&format!("203.0.113.{i}"));
        assert_eq!(lb.get_with("/", &[&chain]).await.text(), expected, "who is behind the trusted proxies");
    }
    let strict = pool.lb(&[]).await;
    assert_eq!(strict.get_with("/", &["X-Forwarded-For: 203.0.113.7"]).await.text(), pool.owner("127.0.0.1"));
}

#[tokio::test]
async fn a_client_keeps_its_backend_by_ip_hash() {
    let pool = Pool::of(4).await;
    let settings =
        [("pool.algorithm", "ip_hash"), ("workers", "2"), ("client.trusted_proxies", "[\"127.0.0.1\"]")];
    let lb = pool.lb(&settings).await;
    let mut homes = BTreeMap::new();
    for round in 0..3 {
        for i in 0..40 {
            let by = lb
                .get_with(&format!("/{round}"), &[&format!("X-Forwarded-For: 198.51.100.{i}")])
                .await
                .text();
            assert_eq!(homes.entry(i).or_insert_with(|| by.clone()), &by, "client {i}");
        }
    }
    let used: std::collections::BTreeSet<_> = homes.into_values().collect();
    assert_eq!(used.len(), 4, "forty clients spread over four backends");
    let lb = pool.lb(&settings[..2]).await;
    let mut seen = std::collections::BTreeSet::new();
    for i in 0..10 {
        seen.insert(lb.get_with("/", &[&format!("X-Forwarded-For: 198.51.100.{i}")]).await.text());
    }
    assert_eq!(seen.len(), 1, "a stranger cannot move himself about");
}

#[tokio::test]
async fn the_default_ring_keeps_a_key_and_bounds_a_hot_one() {
    let pool = Pool::of(3).await;
    let lb = pool.lb(&[("hash.preset", "default")]).await;
    let home = lb.get("/?request_id=hot").await.text();
    for _ in 0..20 {
        assert_eq!(lb.get("/?request_id=hot").await.text(), home);
    }
    // Thirty at once on one key: with c = 1.25 no backend may hold more than ⌈1.25 · 30 / 3⌉ of them.
    let stuck = async |mut conn: super::support::Conn| drop((conn.request().await, conn.end().await));
    let holders = [Script::start(stuck).await, Script::start(stuck).await, Script::start(stuck).await];
    let addresses: Vec<_> = holders.iter().map(|s| s.address).collect();
    let lb = Lb::over(&addresses, &[CONSISTENT]).await;
    let mut waiting = Vec::new();
    for _ in 0..30 {
        let mut wire = lb.connect().await;
        wire.send(keep("/?request_id=hot")).await;
        waiting.push(wire);
    }
    let scrape = lb.until("thirty in flight", |s| s.sum("lb_upstream_requests_in_flight", &[]) == 30.0).await;
    for name in ["b1", "b2", "b3"] {
        let held = scrape.sum("lb_upstream_requests_in_flight", &[("backend", name)]);
        assert!(held <= 13.0, "{name} holds {held}");
    }
}
