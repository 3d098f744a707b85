//! The shared store: one suite that both kinds pass, Redis in each of its forms, and how it is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use load_balancer::config::Store as Settings;
use load_balancer::store::{Lost, Memory, Offer, Redis, Room, StateStore, Taken};

use super::support::{RedisServer, configured, within};

/// Ways into one store: by a balancer's name.
type Door<'a> = &'a dyn Fn(&str) -> Box<dyn StateStore>;

const POOL: &str = "[[pool.backend]]\naddress = \"127.0.0.1:8001\"\n";

fn settings(more: &[(&str, &str)]) -> Settings {
    configured(POOL, more).store
}

fn redis(url: &str, pool: &str, own: &str, more: &[(&str, &str)]) -> Redis {
    let settings = settings(&[&[("store.url", url)], more].concat());
    Redis::new(settings.place.as_ref().unwrap(), &settings, pool, own)
}

async fn say(store: &mut dyn StateStore, message: &[u8], blocks: u64) -> Result<Taken, Lost> {
    let offer = Offer { message: message.to_vec(), blocks };
    within("a round", store.round(&offer)).await
}

fn names(taken: &Taken) -> Vec<&str> {
    taken.others.iter().map(|said| said.by.as_str()).collect()
}

/// What every store promises.
async fn conforms(door: Door<'_>) {
    let (mut a, mut b, mut c) = (door("a"), door("b"), door("c"));
    // Nobody is there, and nobody hears himself.
    assert_eq!(say(&mut *a, b"one", 0).await.unwrap(), Taken::default());
    let again = say(&mut *a, b"two", 0).await.unwrap();
    assert_eq!(
        (again.others.len(), again.before.as_deref()),
        (0, Some(&b"one"[..])),
        "but what he said before"
    );
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    let heard = say(&mut *b, &bytes, 0).await.unwrap();
    assert_eq!(
        (names(&heard), heard.others[0].message.as_slice()),
        (vec!["a"], &b"two"[..]),
        "the last word"
    );
    assert!(heard.others[0].ago < Duration::from_secs(5), "{:?}", heard.others[0].ago);
    let heard = say(&mut *c, b"three", 0).await.unwrap();
    let mut all: Vec<_> =
        heard.others.iter().map(|said| (said.by.as_str(), said.message.as_slice())).collect();
    all.sort_unstable();
    assert_eq!(all, [("a", &b"two"[..]), ("b", bytes.as_slice())], "any bytes");
    // Each block has one owner, and none is left out.
    let mut owned = BTreeSet::new();
    for round in 0..30u64 {
        for (n, store) in [&mut a, &mut b, &mut c].into_iter().enumerate() {
            let blocks = (round + n as u64) % 5;
            let first = say(&mut **store, b"x", blocks).await.unwrap().first;
            (first..first + blocks).for_each(|block| assert!(owned.insert(block), "{block} twice"));
        }
    }
    assert!(owned.iter().copied().eq(0..owned.len() as u64) && owned.len() > 150, "{}", owned.len());
    // Who speaks under another's name is found out by what he left there.
    let mut namesake = door("c");
    say(&mut *namesake, b"mine", 0).await.unwrap();
    assert_eq!(say(&mut *c, b"x", 0).await.unwrap().before.as_deref(), Some(&b"mine"[..]));
    // Who says farewell is gone at once, and may come back.
    b.leave().await.unwrap();
    assert_eq!(names(&say(&mut *a, b"x", 0).await.unwrap()), ["c"]);
    say(&mut *b, b"again", 0).await.unwrap();
    assert_eq!(say(&mut *a, b"x", 0).await.unwrap().others.len(), 2);
    for mut store in [a, b, c] {
        store.leave().await.unwrap();
    }
}

#[tokio::test]
async fn memory_conforms() {
    let room = Arc::new(Room::default());
    conforms(&|own| Box::new(Memory::new(&room, own))).await;
}

#[tokio::test]
async fn redis_conforms_and_keeps_pools_and_prefixes_apart() {
    let server = RedisServer::plain().await;
    let url = format!("redis://127.0.0.1:{}", server.port);
    let generous = [("store.interval", "10s"), ("store.timeout", "10s")];
    conforms(&|own| Box::new(redis(&url, "web", own, &generous))).await;
    let mut apart = [
        redis(&url, "web", "a", &generous),
        redis(&url, "other", "b", &generous),
        redis(&url, "web", "c", &[&generous[..], &[("store.prefix", "else")]].concat()),
        redis(&format!("{url}/3"), "web", "d", &generous),
    ];
    for store in &mut apart {
        assert_eq!(say(store, b"x", 0).await.unwrap().others, []);
    }
    for key in ["live", "said"] {
        let left = server.say(&["PTTL", &format!("ballast:1:{{web}}:{key}")]).await;
        let left: i64 = left.trim_start_matches(':').trim().parse().unwrap();
        assert!((1..=60_000).contains(&left), "{key} must expire: {left}");
    }
}

/// A clock of Redis's that is turned back, or another server's after a failover, keeps no dead balancer alive.
#[tokio::test]
async fn who_was_heard_in_the_future_is_gone() {
    let server = RedisServer::plain().await;
    let mut store = redis(&format!("redis://127.0.0.1:{}", server.port), "web", "a", &[]);
    say(&mut store, b"x", 0).await.unwrap();
    let now: u64 = {
        let said = server.say(&["TIME"]).await;
        said.lines().nth(2).unwrap().parse::<u64>().unwrap() * 1_000
    };
    for (name, at) in [("ghost", now + 3_600_000), ("present", now), ("past", now - 3_600_000)] {
        assert_eq!(server.say(&["ZADD", "ballast:1:{web}:live", &at.to_string(), name]).await, ":1\r\n");
        assert_eq!(server.say(&["HSET", "ballast:1:{web}:said", name, "x"]).await, ":1\r\n");
    }
    assert_eq!(names(&say(&mut store, b"x", 0).await.unwrap()), ["present"]);
}

#[tokio::test]
async fn a_cluster_conforms() {
    let server = RedisServer::start(&["--save", "", "--cluster-enabled", "yes"]).await;
    assert!(server.say(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await.starts_with("+OK"));
    within("a cluster that is whole", async {
        while !server.say(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let url = format!("redis+cluster://127.0.0.1:{}", server.port);
    let generous = [("store.interval", "10s"), ("store.timeout", "10s")];
    conforms(&|own| Box::new(redis(&url, "web", own, &generous))).await;
}

#[tokio::test]
async fn a_master_that_sentinels_name_conforms() {
    let server = RedisServer::plain().await;
    let sentinel = RedisServer::start(&["--sentinel"]).await;
    let port = server.port.to_string();
    let said = sentinel.say(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &port, "1"]).await;
    assert!(said.starts_with("+OK"), "{said}");
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    let generous = [("store.interval", "10s"), ("store.timeout", "10s")];
    conforms(&|own| Box::new(redis(&url, "web", own, &generous))).await;
}

#[tokio::test]
async fn passwords_are_needed_used_and_never_told() {
    let server = RedisServer::start(&["--save", "", "--requirepass", "hush:4711/@"]).await;
    let generous = [("store.interval", "10s"), ("store.timeout", "10s")];
    let with =
        |login: &str| redis(&format!("redis://{login}127.0.0.1:{}", server.port), "web", "a", &generous);
    assert_eq!(say(&mut with(":hush%3A4711%2F%40@"), b"x", 0).await.unwrap(), Taken::default());
    for login in ["", ":wrong-hush@"] {
        let lost = say(&mut with(login), b"x", 0).await.unwrap_err();
        assert!(matches!(lost, Lost::Refused(_)) && !lost.to_string().contains("hush"), "{lost:?}");
    }
}

#[tokio::test]
async fn a_server_that_dies_is_lost_and_one_that_comes_is_found() {
    let mut server = RedisServer::plain().await;
    let mut store = redis(&format!("redis://127.0.0.1:{}", server.port), "web", "a", &[]);
    say(&mut store, b"x", 3).await.unwrap();
    server.kill();
    for _ in 0..3 {
        let lost = say(&mut store, b"x", 3).await.unwrap_err();
        assert!(matches!(lost, Lost::Unreachable(_)), "{lost:?}");
    }
    let again = RedisServer::at(server.port).await;
    let taken = within("the server that came back", async {
        loop {
            if let Ok(taken) = say(&mut store, b"x", 3).await {
                return taken;
            }
        }
    })
    .await;
    assert_eq!(taken.first, 0, "it has forgotten everything, the script too");
    drop(again);
}
