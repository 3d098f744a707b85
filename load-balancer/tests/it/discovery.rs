//! Discovery by a watched file, and what all sources have in common: members follow the list, nobody leaves for want of one.

use std::net::SocketAddr;
use std::sync::Arc;

use load_balancer::store::Room;

use super::reload::{Written, applied, backend};
use super::support::{
    Clients, Lb, Scrape, addresses, assert_refused, config, configured, finish, hold, replicas, within,
};

/// An entry of a file of discovery.
fn found(name: &str, address: SocketAddr, more: &str) -> String {
    format!("[[backend]]\nname = \"{name}\"\naddress = \"{address}\"\n{more}\n")
}

/// `b1`, `b2` … at these addresses.
fn all_found(at: &[SocketAddr]) -> String {
    (1..).zip(at).map(|(n, &address)| found(&format!("b{n}"), address, "")).collect()
}

fn by<'a>(file: &'a Written, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("discovery.source", "file"), ("discovery.settle", "0"), ("discovery.file.path", file.path())], more]
        .concat()
}

async fn until(lb: &Lb, expected: &[&str]) {
    lb.until_members(&format!("{expected:?}"), |names| names == expected).await;
}

fn lost(scrape: &Scrape) -> (f64, f64, f64) {
    (scrape.sum("lb_discovery_up", &[]), scrape.facts("discovery_lost"), scrape.facts("discovery_back"))
}

#[tokio::test]
async fn members_follow_the_file_and_no_request_fails() {
    let backends = replicas(5).await;
    let at = addresses(&backends);
    let file = Written::new("found", &all_found(&at[..2]));
    let checked = [("health.enabled", "true"), ("health.edge_interval", "50ms"), ("workers", "2")];
    let lb = Lb::start(configured("", &by(&file, &checked))).await;
    assert_eq!(lb.members().await, ["b1", "b2"]);
    let (held, name) = hold(&lb).await;
    let clients = Clients::start(lb.traffic);
    clients.go_on().await;
    // Whoever holds the request is on its way out; a third one comes.
    let (stays, leaves) = if name == "b1" { ("b2", 0) } else { ("b1", 1) };
    let draining = found(&name, at[leaves], "draining = true");
    let other = found(stays, at[1 - leaves], "weight = 3\nregion = \"EU\"");
    file.write(&(draining + &other + &found("b3", at[2], "")));
    until(&lb, &[stays, "b3"]).await;
    clients.go_on().await;
    let scrape = lb.scrape().await;
    assert_eq!(scrape.sum("lb_discovery_endpoints", &[("source", "file"), ("state", "draining")]), 1.0);
    let labels = [("backend", stays), ("region", "EU")];
    assert_eq!(scrape.sum("lb_backend_info", &labels), 1.0, "what changes about one that stays");
    assert_eq!(finish(held).await.status(), 200);
    // All others at once, which pass no check yet: until they do, those who are no longer named serve.
    backends[3..].iter().for_each(|backend| backend.app().set_healthy(false));
    file.write(&(found("b4", at[3], "") + &found("b5", at[4], "")));
    lb.until_members("b4 and b5", |names| names.len() == 4).await;
    lb.until("failed checks", |s| {
        ["b4", "b5"]
            .iter()
            .all(|b| s.sum("lb_health_checks_total", &[("backend", b), ("result", "fail")]) >= 3.0)
    })
    .await;
    clients.go_on().await;
    assert_eq!(lb.members().await.len(), 4);
    backends[3..].iter().for_each(|backend| backend.app().set_healthy(true));
    until(&lb, &["b4", "b5"]).await;
    clients.go_on().await;
    let done = clients.stop().await;
    let scrape = lb.settled().await;
    assert_eq!((scrape.code("200"), scrape.requests()), (done as f64 + 1.0, done as f64 + 1.0));
    assert_eq!(scrape.sum("lb_request_aborts_total", &[]), 0.0);
    assert_eq!(lost(&scrape), (1.0, 0.0, 0.0));
}

#[tokio::test]
async fn a_file_with_faults_or_none_takes_nobody_out() {
    let backends = replicas(2).await;
    let at = addresses(&backends);
    let file = Written::new("faulty", &all_found(&at));
    let lb = Lb::start(configured("", &by(&file, &[]))).await;
    let wrong = found("b1", at[0], "wait = 3") + &found("b1", at[1], "weight = 0");
    for (n, (text, expected)) in (1..).zip([
        (wrong.as_str(), "backend[0].wait: is unknown here"),
        ("[[backend]]\nname = \"b1", "file: is not TOML: line 2"),
        ("backend = 3\n", "has the wrong shape: write [[backend]]"),
    ]) {
        file.write(text);
        lb.until("a fault", |s| lost(s) == (0.0, f64::from(n), f64::from(n - 1))).await;
        let facts = lb.facts("discovery_lost").await;
        let told = facts.last().unwrap()["text"].as_str().unwrap();
        assert!(told.contains(expected) && told.ends_with("its last list holds (2 backends)"), "{told}");
        until(&lb, &["b1", "b2"]).await;
        file.write(&all_found(&at));
        lb.until("it is well again", |s| lost(s) == (1.0, f64::from(n), f64::from(n))).await;
    }
    std::fs::remove_file(file.path()).unwrap();
    lb.until("it is missed", |s| lost(s).0 == 0.0).await;
    assert_eq!(lb.members().await.len(), 2);
    assert_eq!(lb.get("/home").await.status(), 200);
    // That there is nobody can be said, too.
    file.write("# nobody\n");
    until(&lb, &[]).await;
    assert_eq!(lb.get("/home").await.status(), 503);
    assert_eq!(lb.admin("/ready").await.text(), "no eligible backend\n");
}

#[tokio::test]
async fn a_pool_of_nothing_but_draining_backends_serves_on() {
    let backends = replicas(3).await;
    let at = addresses(&backends);
    let draining = |n: usize| found(&format!("b{n}"), at[n - 1], "draining = true");
    let file = Written::new("last", &(draining(1) + &draining(2)));
    let lb = Lb::start(configured("", &by(&file, &[]))).await;
    until(&lb, &["b1", "b2"]).await;
    assert_eq!(lb.get("/home").await.status(), 200);
    file.write(&(draining(1) + &draining(2) + &found("b3", at[2], "")));
    until(&lb, &["b3"]).await;
    assert_eq!(lb.get("/echo").await.json()["server"], "b3");
}

#[tokio::test]
async fn discovered_backends_stand_beside_others_and_leave_where_they_were_found() {
    let backends = replicas(5).await;
    let at = addresses(&backends);
    // `b1` is the configuration's, and so is its address; the fourth and fifth are more than there may be.
    let listed = all_found(&at) + &format!("[[backend]]\naddress = \"localhost:{}\"\n", at[0].port());
    let file = Written::new("beside", &listed);
    let state = std::env::temp_dir().join(format!("ballast-it-{}-beside.state", std::process::id()));
    let state = state.display().to_string();
    let more = [("control.max_backends", "3"), ("state.file", &state)];
    let lb = Lb::start(config(&[(at[0], 1)], &by(&file, &more))).await;
    until(&lb, &["b1", "b2", "b3"]).await;
    let left_out = |scrape: &Scrape| scrape.sum("lb_discovery_left_out", &[("source", "file")]);
    assert_eq!(left_out(&lb.scrape().await), 4.0, "b1, b4, b5 and the one without a name");
    assert_refused(&lb.remove(1, &["b2"]).await, 409, "'b2' is discovered by file: take it out there");
    assert_refused(&lb.remove(2, &[]).await, 400, "2 are to be removed and only 1 can be");
    assert_refused(&lb.add(1, &[]).await, 409, "backends come here by discovery (file): add them there");
    // Room for one more, once somebody has gone.
    assert_eq!(lb.remove(1, &["b1"]).await.members(), ["b2", "b3"]);
    lb.until_members("b4", |names| names == ["b2", "b3", "b4"]).await;
    assert_refused(&lb.remove(1, &[]).await, 409, "is discovered by file");
    assert_eq!(left_out(&lb.scrape().await), 3.0);
    // What a source names now is not for the next start to know.
    let saved: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&state).unwrap()).unwrap();
    assert_eq!((saved["members"].as_array().unwrap().len(), &saved["removed"][0]), (0, &"b1".into()));
    let _ = std::fs::remove_file(&state);
}

#[tokio::test]
async fn one_name_at_another_address_is_another_member() {
    let backends = replicas(2).await;
    let at = addresses(&backends);
    let file = Written::new("moved", &found("web", at[0], ""));
    let lb = Lb::start(configured("", &by(&file, &[]))).await;
    assert_eq!(lb.get("/echo").await.json()["server"], "b1");
    file.write(&found("web", at[1], ""));
    let address = at[1].to_string();
    lb.until("it has moved", |s| s.sum("lb_backend_info", &[("address", &address)]) == 1.0).await;
    assert_eq!((lb.get("/echo").await.json()["server"].as_str(), lb.members().await.len()), (Some("b2"), 1));
}

#[tokio::test]
async fn a_reload_may_change_the_source_or_end_it() {
    let backends = replicas(3).await;
    let at = addresses(&backends);
    let (one, other) =
        (Written::new("one", &all_found(&at[..2])), Written::new("other", &all_found(&at[..1])));
    let text = |file: &Written| {
        format!("[discovery]\nsource = \"file\"\n[discovery.file]\npath = \"{}\"\n", file.path())
    };
    let written = Written::new("sources", &text(&one));
    let lb = Lb::from(written.source(&[])).await;
    until(&lb, &["b1", "b2"]).await;
    written.write(&text(&other));
    lb.reload();
    applied(&lb, 1).await;
    until(&lb, &["b1"]).await;
    assert_eq!(lb.scrape().await.facts("joined"), 2.0, "who is in both lists stays");
    // What the first file says is nobody's business any more.
    one.write(&all_found(&at));
    written.write(&backend("web", at[2], 1));
    lb.reload();
    applied(&lb, 2).await;
    until(&lb, &["web"]).await;
    assert_eq!(lb.scrape().await.sum("lb_discovery_up", &[]), 0.0);
    assert_refused(&lb.add(1, &[]).await, 409, "set replicas.provider");
}

/// Each finds them itself, in an order of its own; turns are drawn from one.
#[tokio::test]
async fn balancers_that_discover_the_same_have_one_order() {
    let (backends, room) = (replicas(5).await, Arc::new(Room::default()));
    let at = addresses(&backends);
    let lines: Vec<String> = (2..5).map(|n| found(&format!("b{n}"), at[n - 1], "")).collect();
    let files =
        [Written::new("first", &lines.concat()), Written::new("second", &(lines[2].clone() + &lines[0]))];
    let shared = [
        ("store.interval", "100ms"),
        ("store.timeout", "100ms"),
        ("pool.algorithm", "round_robin"),
        ("control.registration", "true"),
    ];
    let mut all = Vec::new();
    for file in &files {
        all.push(Lb::start_in(config(&[(at[0], 1)], &by(file, &shared)), Arc::clone(&room)).await);
    }
    for lb in &all {
        lb.until("both live", |s| s.sum("lb_balancers_live", &[]) == 2.0).await;
    }
    // One that registers at the second, before it has found the third.
    assert_eq!(all[1].register(&format!("http://{}", at[4])).await.status(), 200);
    files[1].write(&(lines[2].clone() + &lines[1] + &lines[0]));
    let registered = format!("127.0.0.1-{}", at[4].port());
    for lb in &all {
        until(lb, &["b1", "b2", "b3", "b4", &registered]).await;
    }
    for _ in 0..250 {
        for lb in &all {
            assert_eq!(lb.get("/home").await.status(), 200);
        }
    }
    let mut shares = [0.0; 5];
    for lb in &all {
        let scrape = lb.scrape().await;
        for (share, name) in shares.iter_mut().zip(["b1", "b2", "b3", "b4", &registered]) {
            *share += scrape.sum("lb_decisions_total", &[("backend", name)]);
        }
    }
    let most = shares.iter().copied().fold(0.0, f64::max);
    let least = shares.iter().copied().fold(f64::MAX, f64::min);
    assert!(shares.iter().sum::<f64>() == 500.0 && most - least <= 5.0, "{shares:?}");
    // Gone for one is not gone for all: each sees for itself, and tells nobody.
    files[0].write(&(lines[0].clone() + &lines[1]));
    until(&all[0], &["b1", "b2", "b3", &registered]).await;
    let rounds = |s: &Scrape| s.sum("lb_state_store_operations_total", &[("result", "ok")]);
    let before = rounds(&all[1].scrape().await);
    all[1].until("three rounds", |s| rounds(s) >= before + 3.0).await;
    assert_eq!(all[1].members().await.len(), 5);
    within("the other's own list", async {
        files[1].write(&(lines[0].clone() + &lines[1]));
        until(&all[1], &["b1", "b2", "b3", &registered]).await;
    })
    .await;
}
