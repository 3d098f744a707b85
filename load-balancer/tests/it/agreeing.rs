//! Balancers that are told different things in the same moment agree afterwards: on the order of members, on which of them
//! a key belongs to, and on who runs a replica of a name.

use std::net::SocketAddr;
use std::sync::Arc;

use load_balancer::store::Room;

use super::support::{Fleet, Lb, Script, alive, assert_refused, config, gone, own_program, within};

const KEYS: usize = 60;
/// A second passes between two rounds, and replicas that start together are ready within less of each other.
const TRIES: usize = 5;
const SHARED: [(&str, &str); 5] = [
    ("store.interval", "200ms"),
    ("store.timeout", "200ms"),
    ("control.registration", "true"),
    ("hash.bound", "0"),
    ("client.trusted_proxies", "[\"127.0.0.0/8\"]"),
];

async fn one(room: &Arc<Room>, backends: &[SocketAddr], more: &[(&str, &str)]) -> Lb {
    let backends: Vec<_> = backends.iter().map(|&address| (address, 1)).collect();
    Lb::start_in(config(&backends, &[&SHARED, more].concat()), Arc::clone(room)).await
}

async fn three(room: &Arc<Room>, backends: &[SocketAddr], more: &[(&str, &str)]) -> [Lb; 3] {
    let all =
        [one(room, backends, more).await, one(room, backends, more).await, one(room, backends, more).await];
    for lb in &all {
        lb.until("all live", |s| s.sum("lb_balancers_live", &[]) == 3.0).await;
    }
    all
}

async fn named(names: &[&str]) -> Vec<Script> {
    let mut all = Vec::new();
    for name in names {
        all.push(Script::named(name).await);
    }
    all
}

/// Which backend each key, and each client's address, belongs to.
async fn homes(lb: &Lb) -> Vec<String> {
    let mut homes = Vec::new();
    for n in 0..KEYS {
        homes.push(lb.get(&format!("/?request_id=key{n}&algo=consistent_hash")).await.text());
        let from = format!("X-Forwarded-For: 198.51.{n}.7");
        homes.push(lb.get_with("/?algo=ip_hash", &[&from]).await.text());
    }
    homes
}

/// Waits until all have the same `n` members in the same order, and returns it.
async fn one_order(all: &[Lb], n: usize) -> Vec<String> {
    within("the same members in the same order everywhere", async {
        loop {
            let first = all[0].members().await;
            let mut same = first.len() == n;
            for lb in &all[1..] {
                same &= lb.members().await == first;
            }
            if same {
                return first;
            }
        }
    })
    .await
}

/// For every way to hash: two that register at two balancers in the same moment, and one that comes after both.
#[tokio::test]
async fn members_who_came_at_once_at_two_balancers_are_in_one_order_and_own_the_same_keys() {
    for preset in ["default", "assignment", "sha256-512-9", "md5-1024-100"] {
        let (backends, room) = (named(&["a", "b", "c", "x", "y", "z"]).await, Arc::new(Room::default()));
        let addresses: Vec<_> = backends.iter().map(|script| script.address).collect();
        let more = [("hash.preset", preset)];
        let all = three(&room, &addresses[..3], &more).await;
        let urls = addresses.iter().map(|address| format!("http://{address}")).collect::<Vec<_>>();
        let both = tokio::join!(all[0].register(&urls[3]), all[1].register(&urls[4]));
        assert_eq!((both.0.status(), both.1.status()), (200, 200));
        one_order(&all, 5).await;
        assert_eq!(all[2].register(&urls[5]).await.status(), 200);
        let order = one_order(&all, 6).await;
        let late = one(&room, &addresses[..3], &more).await;
        late.until_members("the same at a latecomer", |names| names == order).await;
        let agreed = homes(&all[0]).await;
        for lb in [&all[1], &all[2], &late] {
            assert_eq!(homes(lb).await, agreed, "{preset}");
        }
        for name in ["a", "x", "y", "z"] {
            assert!(agreed.iter().any(|home| home == name), "{preset}: {name} owns nothing");
        }
    }
}

/// Who was taken out and brought back has its old place, also for those to whom it was never gone.
#[tokio::test]
async fn a_member_that_comes_back_is_where_it_was() {
    let (backends, room) = (named(&["a", "b", "c"]).await, Arc::new(Room::default()));
    let addresses: Vec<_> = backends.iter().map(|script| script.address).collect();
    let more = [("hash.preset", "assignment")];
    let all = three(&room, &addresses, &more).await;
    let before = homes(&all[0]).await;
    all[0].remove(1, &["b2"]).await.members();
    // Drained, and out of the list of all.
    all[0].until("b2 is gone", |s| s.facts("left") == 1.0).await;
    all[1].until("b2 is gone", |s| s.facts("left") == 1.0).await;
    all[1].add(1, &["b2"]).await.members();
    assert_eq!(one_order(&all, 3).await, ["b1", "b2", "b3"]);
    let late = one(&room, &addresses, &more).await;
    for lb in all.iter().chain([&late]) {
        assert_eq!(homes(lb).await, before);
    }
}

/// Balancers with a replica of their own each, that know one another.
async fn providers(room: &Arc<Room>, fleets: &[&Fleet]) -> Vec<Lb> {
    let mut all = Vec::new();
    for fleet in fleets {
        let more =
            [("store.interval", "1s"), ("store.timeout", "1s"), ("control.networks", "[\"127.0.0.0/8\"]")];
        all.push(Lb::start_in(fleet.config(&more), Arc::clone(room)).await);
    }
    for lb in &all {
        lb.until("all live", |s| s.sum("lb_balancers_live", &[]) == fleets.len() as f64).await;
    }
    all
}

/// Two balancers that have each added a replica called S9 before they heard of the other's.
async fn both_added() -> ([Fleet; 2], Vec<Lb>) {
    for _ in 0..TRIES {
        let (fleets, room) = ([Fleet::of(1), Fleet::of(1)], Arc::new(Room::default()));
        let all = providers(&room, &[&fleets[0], &fleets[1]]).await;
        let both = tokio::join!(all[0].add(1, &["S9"]), all[1].add(1, &["S9"]));
        match (both.0.status(), both.1.status()) {
            (200, 200) => return (fleets, all),
            // A round came between: the later one was refused, as the next test has it.
            (200, 502) | (502, 200) => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("{TRIES} times a round came between two replicas that started together");
}

#[tokio::test]
async fn two_replicas_of_one_name_become_two_of_two() {
    let (fleets, all) = both_added().await;
    let one_each =
        |names: &[String]| names.len() == 3 && names.iter().filter(|name| *name == "S9").count() == 1;
    for lb in &all {
        lb.until_members("S9 once, and one of a fresh name", one_each).await;
    }
    let members = one_order(&all, 3).await;
    for lb in &all {
        for _ in 0..12 {
            assert_eq!(lb.get("/home?algo=round_robin").await.status(), 200);
        }
        let scrape = lb.scrape().await;
        for name in &members {
            assert!(
                scrape.sum("lb_decisions_total", &[("backend", name)]) >= 3.0,
                "{name}: {}",
                scrape.gist()
            );
        }
    }
    within("only what is a member runs", async {
        loop {
            let mut run: Vec<String> = fleets
                .iter()
                .flat_map(Fleet::children)
                .map(|(name, _)| name)
                .filter(|name| name != "S1")
                .collect();
            run.sort_unstable();
            if run.len() == 2 && run.iter().all(|name| members.contains(name)) && run[0] != run[1] {
                return;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_taken_while_its_replica_starts_is_refused() {
    let slow = format!("case \"$*\" in *S9*) sleep 3;; esac; exec {} \"$@\"", own_program());
    let (fleets, room) = ([Fleet::scripted(1, &slow), Fleet::of(1)], Arc::new(Room::default()));
    let all = providers(&room, &[&fleets[0], &fleets[1]]).await;
    let quick = async {
        within("it is being started", async {
            while !fleets[0].children().iter().any(|(name, _)| name == "S9") {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let pid = fleets[0].pid("S9");
        (all[1].add(1, &["S9"]).await.status(), pid)
    };
    let (refused, (status, pid)) = tokio::join!(all[0].add(1, &["S9"]), quick);
    assert_eq!(status, 200);
    assert_refused(&refused, 502, "another balancer has added one of that name");
    gone(pid).await;
    assert!(alive(fleets[1].pid("S9")));
    assert_eq!(one_order(&all, 2).await, ["S1", "S9"]);
}
