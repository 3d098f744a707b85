//! A new configuration without a new process: no request fails, what is known about staying backends stays known, and a
//! wrong file changes nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use load_balancer::control::Source;

use super::process::{Served, file};
use super::support::{
    Clients, Conn, Lb, RedisServer, Scrape, Script, addresses, finish, hold, replicas, variables, within,
};

/// A configuration file that a test writes again and again.
pub(super) struct Written {
    path: PathBuf,
}

impl Written {
    pub(super) fn new(name: &str, text: &str) -> Written {
        Written { path: file(name, text) }
    }

    pub(super) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Replaced at once, as a ConfigMap is.
    pub(super) fn write(&self, text: &str) {
        let new = self.path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &self.path).unwrap();
    }

    pub(super) fn source(&self, settings: &[(&str, &str)]) -> Source {
        Source { path: self.path.clone(), env: variables(settings) }
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(self.path.with_extension("state.json"));
    }
}

pub(super) fn backend(name: &str, address: SocketAddr, weight: u32) -> String {
    format!("[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\nweight = {weight}\n")
}

fn reloads(scrape: &Scrape, result: &str) -> f64 {
    scrape.sum("lb_config_reloads_total", &[("result", result)])
}

pub(super) async fn applied(lb: &Lb, times: usize) -> Scrape {
    lb.until("the new configuration", |s| reloads(s, "applied") == times as f64).await
}

#[tokio::test]
async fn nobody_notices_a_reload_and_nothing_known_is_forgotten() {
    let backends = replicas(3).await;
    let at = addresses(&backends);
    let base = "[pool]\nalgorithm = \"round_robin\"\n";
    let two = backend("b1", at[0], 1) + &backend("b2", at[1], 1);
    let written = Written::new("reload", &format!("{base}{two}"));
    let lb = Lb::from(written.source(&[("workers", "2")])).await;
    let (held, name) = hold(&lb).await;
    let clients = Clients::start(lb.traffic);
    clients.go_on().await;
    let three = format!("{}{}{}", backend("b1", at[0], 5), backend("b2", at[1], 1), backend("b3", at[2], 2));
    let steps = [
        (format!("{base}{}{}", backend("b1", at[0], 5), backend("b2", at[1], 1)), "pool"),
        (format!("{base}{three}"), "pool"),
        (format!("[pool]\nalgorithm = \"least_connections\"\n{three}"), "pool"),
        (format!("{base}{three}[timeouts]\ntotal = \"9s\"\nfirst_byte = \"8s\"\n"), "pool, timeouts"),
        (
            format!("{base}{three}[hash]\npoints = 64\n[ejection]\nconsecutive = 9\n"),
            "hash, timeouts, ejection",
        ),
    ];
    for (i, (text, changed)) in (1..).zip(steps) {
        let before = lb.scrape().await;
        written.write(&text);
        lb.reload();
        let after = applied(&lb, i).await;
        let mut told: Vec<_> = lb.facts("reloaded").await[i - 1]["changed"]
            .as_str()
            .unwrap()
            .split(", ")
            .map(str::to_owned)
            .collect();
        let mut expected: Vec<_> = changed.split(", ").collect();
        told.sort();
        expected.sort_unstable();
        assert_eq!(told, expected);
        clients.go_on().await;
        for backend in ["b1", "b2"] {
            let latency = |s: &Scrape| s.of_backend("lb_backend_latency_ewma_seconds", backend);
            assert!(latency(&before) > 0.0 && latency(&after) > 0.0, "{backend} in step {i}");
            let counted = |s: &Scrape| s.of_backend("lb_upstream_requests_total", backend);
            assert!(counted(&before) > 0.0 && counted(&after) >= counted(&before), "{backend} in step {i}");
        }
        assert!(after.of_backend("lb_upstream_requests_in_flight", &name) >= 1.0);
    }
    let scrape = lb.scrape().await;
    // There, and back in the step after.
    for to in ["least_connections", "round_robin"] {
        let switched = [("to", to), ("reason", "reload"), ("pool", "default")];
        assert_eq!(scrape.sum("lb_algorithm_switches_total", &switched), 1.0, "{to}");
    }
    assert_eq!(scrape.sum("lb_algorithm_switches_total", &[]), 2.0);
    assert_eq!(scrape.sum("lb_algorithm_active", &[("algorithm", "round_robin")]), 1.0);
    assert_eq!((scrape.sum("lb_algorithm_active", &[]), scrape.facts("algorithm_switched")), (1.0, 2.0));
    let joined = [("source", "config"), ("event", "joined")];
    assert_eq!(scrape.sum("lb_discovery_events_total", &joined), 3.0);
    assert_eq!(scrape.sum("lb_discovery_endpoints", &[("source", "config"), ("state", "healthy")]), 3.0);
    assert_eq!(scrape.of_backend("lb_backend_weight_ratio", "b1"), 5.0 / 8.0);
    assert!(scrape.of_backend("lb_upstream_requests_total", "b3") > 0.0, "the new one serves");
    assert_eq!(
        (lb.members().await, scrape.facts("joined")),
        (vec!["b1".into(), "b2".into(), "b3".into()], 3.0)
    );
    let reply = finish(held).await;
    assert_eq!((reply.status(), reply.json()["server"].as_str()), (200, Some(name.as_str())));
    let done = clients.stop().await;
    let scrape = lb.settled().await;
    assert_eq!((scrape.code("200"), scrape.requests()), (done as f64 + 1.0, done as f64 + 1.0));
    assert_eq!(scrape.sum("lb_request_aborts_total", &[]), 0.0);
}

#[tokio::test]
async fn a_backend_that_is_no_longer_named_is_drained() {
    let backends = replicas(2).await;
    let at = addresses(&backends);
    let (b1, b2) = (backend("b1", at[0], 1), backend("b2", at[1], 1));
    let written = Written::new("drained", &format!("{b1}{b2}"));
    let lb = Lb::from(written.source(&[])).await;
    let (held, name) = hold(&lb).await;
    let clients = Clients::start(lb.traffic);
    clients.go_on().await;
    let (stays, rest) = if name == "b1" { ("b2", &b2) } else { ("b1", &b1) };
    written.write(rest);
    lb.reload();
    applied(&lb, 1).await;
    assert_eq!(lb.members().await, [stays]);
    assert_eq!(lb.get("/echo?algo=random").await.json()["server"], stays);
    clients.go_on().await;
    assert_eq!(finish(held).await.json()["server"], name.as_str());
    lb.until("it has left", |s| s.facts("left") == 1.0).await;
    assert_eq!(lb.facts("left").await[0]["in_flight"], 0.0);
    // The same name elsewhere: the old server drains while the new one serves.
    let moved = Script::start(async |mut conn: Conn| {
        while conn.request().await.is_some() && conn.try_send(super::support::ok("moved")).await.is_ok() {}
    })
    .await;
    written.write(&backend(stays, moved.address, 3));
    lb.reload();
    applied(&lb, 2).await;
    assert_eq!((lb.members().await, lb.get("/").await.text().as_str()), (vec![stays.to_owned()], "moved"));
    clients.go_on().await;
    let scrape = lb.until("it has left", |s| s.facts("left") == 2.0).await;
    let info = |address: &SocketAddr| scrape.sum("lb_backend_info", &[("address", &address.to_string())]);
    assert_eq!((info(&at[0]) + info(&at[1]), info(&moved.address)), (0.0, 1.0), "who has left is nowhere");
    clients.stop().await;
    assert_eq!(lb.settled().await.sum("lb_request_aborts_total", &[]), 0.0);
}

#[tokio::test]
async fn checks_that_are_turned_on_take_nobody_out_meanwhile() {
    let hanging = Script::start(async |mut conn: Conn| {
        while let Some(request) = conn.request().await {
            let checked = request.target() == "/health";
            if checked {
                conn.end().await;
            } else if conn.try_send(super::support::ok("well")).await.is_err() {
                return;
            }
        }
    })
    .await;
    let text = backend("b1", hanging.address, 1);
    let written = Written::new("checks", &format!("{text}[health]\nenabled = false\n"));
    let mut source = written.source(&[]);
    source.env.retain(|(key, _)| key != "BALLAST_HEALTH__ENABLED");
    let lb = Lb::from(source).await;
    written.write(&format!(
        "{text}[health]\ntimeout = \"300ms\"\nedge_interval = \"10ms\"\ninterval = \"10ms\"\n"
    ));
    lb.reload();
    applied(&lb, 1).await;
    assert_eq!(lb.get("/").await.text(), "well", "up until a check says otherwise");
    lb.until("the checks have failed", |s| s.of_backend("lb_backend_healthy", "b1") == 0.0).await;
    assert_eq!(lb.get("/").await.status(), 503);
    written.write(&format!("{text}[health]\nenabled = false\n"));
    lb.reload();
    applied(&lb, 2).await;
    assert_eq!(lb.get("/").await.text(), "well");
}

/// By SIGHUP, then by nothing but writing.
#[tokio::test]
async fn the_program_reads_its_file_again_and_refuses_a_wrong_one() {
    let backends = [Script::named("one").await, Script::named("two").await];
    let listen = "workers = 1\n[listen]\ntraffic = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[health]\nenabled = false\n";
    let one = format!("{listen}{}", backend("b1", backends[0].address, 1));
    let two = format!("{listen}{}", backend("b2", backends[1].address, 1));
    for by_signal in [true, false] {
        let written = Written::new(&format!("program-{by_signal}"), &one);
        let path = written.path.clone();
        let starting = tokio::task::spawn_blocking(move || Served::with(&path, &[]));
        let served = within("the start", starting).await.unwrap();
        let lb = Lb::at(served.traffic, served.admin);
        let write = |text: &str| {
            written.write(text);
            if by_signal {
                served.signal("HUP");
            }
        };
        assert_eq!(lb.get("/").await.text(), "one");
        write(&two);
        let scrape = applied(&lb, 1).await;
        assert_eq!(scrape.sum("lb_config_last_reload_successful", &[]), 1.0);
        assert_eq!(lb.get("/").await.text(), "two");
        let bad = [
            (
                "workers = \"many\"\n[pool]\nalgorithm = \"fastest\"\n".to_owned(),
                &["workers", "pool.algorithm"][..],
            ),
            ("[[[".to_owned(), &[]),
            (one.replace("traffic = \"127.0.0.1:0\"", "traffic = \"127.0.0.1:1\""), &["listen.traffic"]),
            (one.replace("workers = 1", "workers = 2"), &["workers"]),
        ];
        for (i, (text, fields)) in (1..).zip(&bad) {
            write(text);
            let scrape = lb.until("it is refused", |s| reloads(s, "refused") == f64::from(i)).await;
            assert_eq!(scrape.sum("lb_config_last_reload_successful", &[]), 0.0);
            assert_eq!((reloads(&scrape, "applied"), lb.get("/").await.text().as_str()), (1.0, "two"));
            let told = lb.facts("reload_refused").await.pop().unwrap().to_string();
            assert!(fields.iter().all(|field| told.contains(field)), "{fields:?} in {told}");
        }
        write(&one);
        let scrape = applied(&lb, 2).await;
        assert_eq!(scrape.sum("lb_config_last_reload_successful", &[]), 1.0);
        assert_eq!(
            (lb.get("/").await.text().as_str(), reloads(&scrape, "refused")),
            ("one", bad.len() as f64)
        );
    }
}

/// What `/rm` took out comes back with a file that names it anew, also for those who hear of the removal afterwards.
#[tokio::test]
async fn a_removed_backend_that_is_named_anew_is_back_for_all() {
    let (backends, redis) = (replicas(2).await, RedisServer::plain().await);
    let at = addresses(&backends);
    let (b1, b2) = (backend("b1", at[0], 1), backend("b2", at[1], 1));
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let shared = [("store.url", url.as_str()), ("store.interval", "200ms"), ("store.timeout", "200ms")];
    let written = Written::new("anew", &format!("{b1}{b2}"));
    let lb = Lb::from(written.source(&shared)).await;
    lb.remove(1, &["b2"]).await.members();
    for (times, text) in [(1, b1.clone()), (2, format!("{b1}{b2}"))] {
        written.write(&text);
        lb.reload();
        applied(&lb, times).await;
    }
    assert_eq!(lb.members().await, ["b1", "b2"]);
    let met = |s: &Scrape| {
        let rounds = s.sum("lb_state_store_operations_total", &[("result", "ok")]);
        s.sum("lb_balancers_live", &[]) == 2.0 && rounds >= 3.0
    };
    let whole = Written::new("whole", &format!("{b1}{b2}"));
    let late = Lb::from(whole.source(&shared)).await;
    late.until("it has heard", met).await;
    assert_eq!(
        (late.members().await, lb.members().await),
        (vec!["b1".to_owned(), "b2".into()], vec!["b1".into(), "b2".into()])
    );
}
