//! Balancers of one process that meet in memory: one membership, votes, births, and a store that is not there.

use std::net::SocketAddr;
use std::sync::Arc;

use load_balancer::store::Room;
use tokio::net::TcpListener;

use super::support::{Conn, Lb, Scrape, Script, addresses, config, configured, ok, replicas, within};

const QUICK: [(&str, &str); 3] =
    [("store.interval", "100ms"), ("store.timeout", "100ms"), ("pool.algorithm", "round_robin")];

/// `n` balancers over the same backends, each of which knows all the others.
async fn fleet(n: usize, room: &Arc<Room>, backends: &[SocketAddr], more: &[(&str, &str)]) -> Vec<Lb> {
    let mut all = Vec::new();
    for _ in 0..n {
        all.push(one(room, backends, more).await);
    }
    for lb in &all {
        lb.until("all live", |s| s.sum("lb_balancers_live", &[]) == n as f64).await;
    }
    all
}

async fn one(room: &Arc<Room>, backends: &[SocketAddr], more: &[(&str, &str)]) -> Lb {
    let backends: Vec<_> = backends.iter().map(|&address| (address, 1)).collect();
    Lb::start_in(config(&backends, &[&QUICK, more].concat()), Arc::clone(room)).await
}

#[tokio::test]
async fn turns_are_drawn_from_one_order() {
    let (backends, room) = (replicas(3).await, Arc::new(Room::default()));
    let all = fleet(2, &room, &addresses(&backends), &[]).await;
    for _ in 0..300 {
        for lb in &all {
            assert_eq!(lb.get("/home").await.status(), 200);
        }
    }
    let mut shares = [0.0; 3];
    for lb in &all {
        let scrape = lb.scrape().await;
        assert_eq!(scrape.sum("lb_turns_local_total", &[]), 0.0, "turns were there before traffic");
        for (n, share) in shares.iter_mut().enumerate() {
            *share += scrape.sum("lb_decisions_total", &[("backend", &format!("b{}", n + 1))]);
        }
    }
    let spread = shares.iter().copied().fold(0.0, f64::max) - shares.iter().copied().fold(f64::MAX, f64::min);
    assert!(shares.iter().sum::<f64>() == 600.0 && spread <= 5.0, "{shares:?}");
}

#[tokio::test]
async fn what_one_is_told_of_membership_all_do() {
    let (backends, room) = (replicas(4).await, Arc::new(Room::default()));
    let addresses = addresses(&backends);
    let open = [("control.registration", "true")];
    let all = fleet(3, &room, &addresses[..3], &open).await;
    assert_eq!(all[0].remove(1, &["b2"]).await.members(), ["b1", "b3"]);
    for lb in &all {
        lb.until_members("b2 drained", |names| names == ["b1", "b3"]).await;
    }
    assert_eq!(all[1].add(1, &["b2"]).await.members().len(), 3);
    assert_eq!(all[2].register(&format!("http://{}", addresses[3])).await.status(), 200);
    let mut lists = Vec::new();
    for lb in &all {
        lists.push(lb.until_members("all four", |names| names.len() == 4).await);
    }
    let late = one(&room, &addresses[..3], &open).await;
    lists.push(late.until_members("all four at the latecomer", |names| names.len() == 4).await);
    let registered = |names: &Vec<String>| names.iter().filter(|name| !name.starts_with('b')).count();
    assert!(lists.iter().all(|names| registered(names) == 1), "{lists:?}");
    // What left nobody brings back, not even one that never heard of it.
    let name = lists[0].iter().find(|name| !name.starts_with('b')).unwrap().clone();
    late.remove(1, &[&name]).await;
    for lb in &all {
        lb.until_members("three", |names| names.len() == 3).await;
    }
}

fn rounds(scrape: &Scrape) -> f64 {
    scrape.sum("lb_state_store_operations_total", &[("result", "ok")])
}

/// One that registered once and was removed says nothing of a backend that the configuration calls the same.
#[tokio::test]
async fn an_old_removal_takes_no_configured_backend_out() {
    let (backends, room) = (replicas(2).await, Arc::new(Room::default()));
    let addresses = addresses(&backends);
    let first = one(&room, &addresses[..1], &[("control.registration", "true")]).await;
    assert_eq!(first.register(&format!("http://{}", addresses[1])).await.status(), 200);
    let name = first.members().await.remove(1);
    assert_eq!(first.remove(1, &[&name]).await.members(), ["b1"]);
    let backend = |(name, address): (&str, &SocketAddr)| {
        format!("[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n")
    };
    let text: String = ["b1", &name].into_iter().zip(&addresses).map(backend).collect();
    let late = Lb::start_in(configured(&text, &QUICK), Arc::clone(&room)).await;
    late.until("it has heard", |s| s.sum("lb_balancers_live", &[]) == 2.0 && rounds(s) >= 2.0).await;
    assert_eq!(late.members().await, ["b1", &name]);
}

/// Whoever did not fit in comes once there is room; who only drains takes none.
#[tokio::test]
async fn a_full_pool_takes_another_balancers_member_in_later() {
    let (backends, room) = (replicas(4).await, Arc::new(Room::default()));
    let addresses = addresses(&backends);
    let open = ("control.registration", "true");
    let small = one(&room, &addresses[..2], &[open, ("control.max_backends", "3")]).await;
    let large = one(&room, &addresses[..2], &[open]).await;
    let url = |at: usize| format!("http://{}", addresses[at]);
    assert_eq!(large.register(&url(2)).await.status(), 200);
    let third = small.until_members("the third", |names| names.len() == 3).await.remove(2);
    assert_eq!(large.register(&url(3)).await.status(), 200);
    let before = rounds(&small.scrape().await);
    small.until("it has heard of the fourth", |s| rounds(s) >= before + 3.0).await;
    assert_eq!(small.members().await.len(), 3);
    large.remove(1, &[&third]).await.members();
    let names = small.until_members("the fourth", |names| names.len() == 3 && !names.contains(&third)).await;
    assert_eq!(names, large.members().await);
}

/// A backend that fails everybody.
async fn broken() -> Script {
    Script::start(|mut conn: Conn| async move {
        while conn.request().await.is_some() {
            conn.send("HTTP/1.1 500 S\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await
}

#[tokio::test]
async fn one_vote_does_not_spread_and_two_do() {
    let (backends, room, bad) = (replicas(2).await, Arc::new(Room::default()), broken().await);
    let all_addresses = [&addresses(&backends)[..], &[bad.address]].concat();
    let strict = [("retry.attempts", "0"), ("ejection.base", "60s"), ("ejection.longest", "60s")];
    let all = fleet(3, &room, &all_addresses, &strict).await;
    let convict = async |lb: &Lb| {
        within("an ejection", async {
            while lb.facts("ejected").await.is_empty() {
                lb.get("/home").await;
            }
        })
        .await;
    };
    convict(&all[0]).await;
    for lb in &all[1..] {
        let before = rounds(&lb.scrape().await);
        lb.until("ten rounds", |s| rounds(s) >= before + 10.0).await;
        assert!(lb.facts("ejected").await.is_empty(), "one vote has spread");
    }
    convict(&all[1]).await;
    within("the third to follow", async {
        while all[2].facts("ejected").await.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let fact = &all[2].facts("ejected").await[0];
    assert_eq!((fact["reason"].as_str(), fact["voters"].as_f64()), (Some("voted"), Some(2.0)));
    assert!((50.0..=60.0).contains(&fact["seconds"].as_f64().unwrap()), "{fact}");
    assert_eq!(all[2].scrape().await.requests(), 0.0, "it has seen nothing itself");
}

#[tokio::test]
async fn without_its_store_a_balancer_serves_and_says_so_once() {
    let backends = replicas(1).await;
    // Listens and never answers.
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (address, result) in [(hung.local_addr().unwrap(), "timeout"), (closed, "unreachable")] {
        let url = format!("redis://:hush@{address}");
        let lb = Lb::over(&addresses(&backends), &[&QUICK[..], &[("store.url", &url)]].concat()).await;
        let lost = [("result", result)];
        lb.until("three rounds", |s| s.sum("lb_state_store_operations_total", &lost) >= 3.0).await;
        for _ in 0..20 {
            assert_eq!(lb.get("/home").await.status(), 200);
        }
        let scrape = lb.scrape().await;
        let alone =
            scrape.sum("lb_state_store_up", &[]) == 0.0 && scrape.sum("lb_balancers_live", &[]) == 1.0;
        assert!(alone);
        let facts = lb.facts("store_lost").await;
        assert_eq!(facts.len(), 1, "{facts:?}");
        let text = facts[0]["text"].as_str().unwrap();
        assert!(text.contains(&address.to_string()) && !text.contains("hush"), "{text}");
    }
    let answered = Script::start(|mut conn: Conn| async move {
        while conn.request().await.is_some() {
            conn.send(ok("nonsense")).await;
        }
    })
    .await;
    let url = format!("redis://{}", answered.address);
    let lb = Lb::over(&addresses(&backends), &[&QUICK[..], &[("store.url", &url)]].concat()).await;
    lb.until("it is lost", |s| s.sum("lb_facts_total", &[("kind", "store_lost")]) == 1.0).await;
    assert_eq!(lb.get("/home").await.status(), 200);
}
