//! Rate limits: who is counted together, what one too many is told, and what balancers that share a limit let through.

use std::sync::Arc;
use std::time::Duration;

use load_balancer::clock::Clock;
use load_balancer::store::Room;
use tokio::task::JoinSet;

use super::support::{Lb, Script, Wire, config};

/// A burst that does not come back while a test runs: a request every 1,000 s.
fn limit(name: &str, more: &str) -> String {
    format!("{{ name = \"{name}\", rate = 0.001, {more} }}")
}

async fn lb(backend: &Script, limits: &[String], more: &[(&str, &str)]) -> Lb {
    let limits = format!("[{}]", limits.join(", "));
    Lb::over(&[backend.address], &[&[("rate_limits", limits.as_str())], more].concat()).await
}

/// The statuses of `n` requests.
async fn statuses(lb: &Lb, n: usize, target: &str, headers: &[&str]) -> Vec<u16> {
    let mut all = Vec::new();
    for _ in 0..n {
        all.push(lb.get_with(target, headers).await.status());
    }
    all
}

#[tokio::test]
async fn one_too_many_is_told_when_to_come_again() {
    let backend = Script::named("ok").await;
    let limits = ["{ name = \"api\", rate = 0.1, burst = 3 }".to_owned()];
    let lb = lb(&backend, &limits, &[("workers", "2")]).await;
    assert_eq!(statuses(&lb, 3, "/", &[]).await, [200, 200, 200]);
    let refused = lb.get("/").await;
    assert_eq!(refused.status(), 429);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit"), Some(format!("\"api\";r=0;t={wait}").as_str()));
    assert_eq!(refused.header("ratelimit-policy"), Some("\"api\";q=3;w=30"));
    assert_eq!(refused.json()["error"], "Too many requests");
    assert!(refused.json()["request_id"].is_string());
    let scrape = lb.settled().await;
    let of = [("limit", "api")];
    assert_eq!((scrape.aborts("rate_limited"), scrape.sum("lb_rate_limited_total", &of)), (1.0, 1.0));
    assert_eq!((scrape.code("429"), scrape.sum("lb_decisions_total", &[])), (1.0, 3.0));
    assert_eq!(backend.requests().len(), 3);
}

#[tokio::test]
async fn a_connection_that_is_refused_goes_on() {
    let backend = Script::named("ok").await;
    let lb = lb(&backend, &[limit("one", "burst = 1, paths = [\"/dear\"]")], &[]).await;
    let mut wire = lb.connect().await;
    for (target, status) in [("/dear", 200), ("/dear", 429), ("/", 200), ("/dear", 429)] {
        wire.send(super::support::post(target, "a body")).await;
        assert_eq!(wire.reply().await.status(), status, "{target}");
    }
}

#[tokio::test]
async fn whose_requests_are_counted_together() {
    let backend = Script::named("ok").await;
    let limits = [
        limit("client", "burst = 2, key = \"client_ip\", paths = [\"/client\"]"),
        limit("key", "burst = 1, key = \"header:x-api-key\", paths = [\"/key\"]"),
        limit("all", "burst = 2, key = \"all\", paths = [\"/all/*\"]"),
    ];
    let lb = lb(&backend, &limits, &[("client.trusted_proxies", "[\"127.0.0.1\"]")]).await;
    let by = |ip: &str| format!("X-Forwarded-For: {ip}");
    for ip in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(statuses(&lb, 3, "/client", &[&by(ip)]).await, [200, 200, 429], "{ip}");
    }
    // One who has an IPv6 address has all of its network's.
    assert_eq!(statuses(&lb, 2, "/client", &[&by("2001:db8::1")]).await, [200, 200]);
    assert_eq!(statuses(&lb, 1, "/client", &[&by("2001:db8::2")]).await, [429]);
    assert_eq!(statuses(&lb, 1, "/client", &[&by("2001:db8:0:1::1")]).await, [200]);
    for key in ["X-Api-Key: a", "X-Api-Key: b"] {
        assert_eq!(statuses(&lb, 2, "/key", &[key]).await, [200, 429], "{key}");
    }
    // Without the header it is the client's.
    assert_eq!(statuses(&lb, 2, "/key", &[]).await, [200, 429]);
    assert_eq!(statuses(&lb, 1, "/all/a", &[&by("192.0.2.1")]).await, [200]);
    assert_eq!(statuses(&lb, 1, "/all/b", &[&by("192.0.2.2")]).await, [200]);
    assert_eq!(statuses(&lb, 1, "/all/c", &[&by("192.0.2.3")]).await, [429]);
}

#[tokio::test]
async fn no_other_spelling_of_a_path_is_a_way_around() {
    let backend = Script::named("ok").await;
    let lb = lb(&backend, &[limit("all", "burst = 1, key = \"all\", paths = [\"/api/*\"]")], &[]).await;
    assert_eq!(lb.get("/api/x").await.status(), 200);
    for spelt in ["/api/x", "/%61pi/x", "//api/x", "/x/../api/x", "/x%2F..%2Fapi/x", "/api?x", "/./api/y"] {
        assert_eq!(lb.get(spelt).await.status(), 429, "{spelt}");
    }
    assert_eq!(lb.get("/apiary").await.status(), 200, "another path");
}

#[tokio::test]
async fn a_reload_keeps_what_is_owed_where_the_limit_stays() {
    let backend = Script::named("ok").await;
    let folder = std::env::temp_dir().join(format!("ballast-it-{}-rates", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("ballast.toml");
    let write = |limits: &[String]| {
        let text = format!(
            "rate_limits = [{}]\n[[pool.backend]]\nname = \"b1\"\naddress = \"{}\"\n[state]\nfile = \"off\"\n",
            limits.join(", "),
            backend.address
        );
        std::fs::write(&path, text).unwrap();
    };
    let (old, new) =
        (limit("old", "burst = 1, paths = [\"/old\"]"), limit("new", "burst = 1, paths = [\"/new\"]"));
    write(std::slice::from_ref(&old));
    let source = load_balancer::control::Source { path: path.clone(), env: super::support::variables(&[]) };
    let lb = Lb::from(source).await;
    assert_eq!(statuses(&lb, 2, "/old", &[]).await, [200, 429]);
    assert_eq!(statuses(&lb, 2, "/new", &[]).await, [200, 200]);
    write(&[old, new]);
    lb.reload();
    lb.until("in force", |s| s.sum("lb_config_reloads_total", &[("result", "applied")]) == 1.0).await;
    assert_eq!(statuses(&lb, 1, "/old", &[]).await, [429]);
    assert_eq!(statuses(&lb, 2, "/new", &[]).await, [200, 429]);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Two balancers that meet in a room every tenth of a second, with one limit between them.
async fn two(backend: &Script, limit: &str) -> [Lb; 2] {
    let room = Arc::new(Room::default());
    let limits = format!("[{limit}]");
    let settings =
        [("rate_limits", limits.as_str()), ("store.interval", "100ms"), ("store.timeout", "100ms")];
    let one = || Lb::start_in(config(&[(backend.address, 1)], &settings), Arc::clone(&room));
    let all = [one().await, one().await];
    for lb in &all {
        lb.until("both live", |s| s.sum("lb_balancers_live", &[]) == 2.0).await;
    }
    all
}

/// Waits until `lb` has met the other this often again.
async fn rounds(lb: &Lb, n: f64) {
    let done = |s: &super::support::Scrape| s.sum("lb_state_store_operations_total", &[("result", "ok")]);
    let before = done(&lb.scrape().await);
    lb.until("rounds", |s| done(s) >= before + n).await;
}

#[tokio::test]
async fn what_one_balancer_let_through_another_charges() {
    let backend = Script::named("ok").await;
    for (shared, expected) in [("true", [429, 429, 429]), ("false", [200, 200, 200])] {
        let [a, b] = two(&backend, &limit("shared", &format!("burst = 5, shared = {shared}"))).await;
        assert_eq!(statuses(&a, 6, "/", &[]).await, [200, 200, 200, 200, 200, 429], "all of it is anybody's");
        // It tells of a round at its next, unless that was half an interval ago; and that is heard a round later.
        rounds(&a, 3.0).await;
        rounds(&b, 2.0).await;
        assert_eq!(statuses(&b, 3, "/", &[]).await, expected, "shared = {shared}");
    }
}

/// The bound of docs/SHARED-STATE.md, over sockets: rate × time + burst, and for each further balancer what news is late.
#[tokio::test]
async fn together_they_let_through_little_more_than_the_limit() {
    const RATE: f64 = 50.0;
    const BURST: f64 = 10.0;
    let backend = Script::named("ok").await;
    let both =
        two(&backend, &format!("{{ name = \"s\", rate = {RATE:.1}, burst = {BURST:.0}, shared = true }}"))
            .await;
    let (clock, lasts) = (Clock::default(), Duration::from_secs(2));
    let began = clock.now();
    let mut clients = JoinSet::new();
    for to in both.iter().flat_map(|lb| [lb.traffic; 2]) {
        clients.spawn(async move {
            let (mut wire, mut granted) = (Wire::connect(to).await, 0);
            while clock.now().since(began) < lasts {
                wire.send(super::support::keep("/")).await;
                granted += u32::from(wire.reply().await.status() == 200);
            }
            granted
        });
    }
    let granted = f64::from(clients.join_all().await.into_iter().sum::<u32>());
    let time = clock.now().since(began).as_secs_f64();
    // News is late by three intervals and two timeouts at most.
    let late = 3.0 * 0.1 + 2.0 * 0.1;
    let most = RATE * time + BURST + (RATE * late + BURST);
    assert!(granted <= most, "{granted} in {time} s, {most} allowed");
    assert!(granted >= RATE * 2.0, "{granted} in {time} s: a limit is no ban");
}

#[tokio::test]
async fn a_refusal_says_which_limit_to_whoever_may_ask() {
    let backend = Script::named("ok").await;
    let lb = lb(&backend, &[limit("one", "burst = 1")], &[]).await;
    assert_eq!(lb.get("/").await.status(), 200);
    let refused = lb.get_with("/", &["x-lb-debug: 1"]).await;
    assert_eq!(refused.json()["reason"]["kind"], "rate_limited");
    assert_eq!(refused.json()["reason"]["detail"], "the limit \"one\" is reached");
}
