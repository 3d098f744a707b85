//! What backends say about themselves: real answers and broken ones, and that neither harms anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::reload::{Written, applied, backend};
use super::support::{Conn, Labels, Lb, Scrape, Script, addresses, finish, hold, ok, refusing, replicas};

/// Scrapes as quick as they may be.
const QUICK: [(&str, &str); 3] =
    [("signals.source", "metrics"), ("signals.interval", "250ms"), ("signals.timeout", "200ms")];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&QUICK[..], more].concat()
}

fn scrapes(scrape: &Scrape, backend: &str, result: &str) -> f64 {
    scrape.sum("lb_scrapes_total", &[("backend", backend), ("result", result)])
}

/// What a backend said; `None` where nothing is known.
fn reported(scrape: &Scrape, backend: &str, signal: &str) -> Option<f64> {
    let family = match signal {
        "utilization" => "lb_backend_utilization_ratio".to_owned(),
        usage => format!("lb_backend_{usage}_usage_ratio"),
    };
    let there = |n: &str, l: &Labels| n == family && l["backend"] == backend;
    scrape.samples.iter().find(|(n, l, _)| there(n, l)).map(|(_, _, value)| *value)
}

fn facts(scrape: &Scrape, kind: &str) -> f64 {
    scrape.sum("lb_facts_total", &[("kind", kind)])
}

async fn until_scraped(lb: &Lb, result: &str, times: f64) -> Scrape {
    lb.until(&format!("{times} scrapes {result}"), |s| scrapes(s, "b1", result) >= times).await
}

#[tokio::test]
async fn our_own_backend_is_understood_in_both_its_forms() {
    let backends = replicas(2).await;
    for source in ["metrics", "stats"] {
        let settings = with(&[("signals.source", source), ("signals.map.connections_limit", "1000")]);
        let lb = Lb::over(&addresses(&backends), &settings).await;
        for name in ["b1", "b2"] {
            let told = |s: &Scrape| scrapes(s, name, "ok") >= 2.0 && reported(s, name, "cpu").is_some();
            let scrape = lb.until(source, told).await;
            for signal in ["cpu", "memory", "connections"] {
                let share =
                    reported(&scrape, name, signal).unwrap_or_else(|| panic!("{source}: no {signal}"));
                assert!((0.0..=1.5).contains(&share), "{source}: {signal} {share}");
            }
            assert_eq!(reported(&scrape, name, "utilization"), None, "it has no measure of its own");
            let in_flight = scrape.sum("lb_backend_reported_in_flight", &[("backend", name)]);
            assert!((1.0..100.0).contains(&in_flight), "at least the scrape itself: {in_flight}");
            assert!(scrape.sum("lb_scrape_age_seconds", &[("backend", name)]) < 20.0);
        }
        let scrape = lb.scrape().await;
        assert!(scrape.sum("lb_scrape_duration_seconds_count", &[]) >= 4.0);
        assert_eq!(facts(&scrape, "signals_lost"), 0.0);
    }
}

/// What is busy says so: the number follows the backend.
#[tokio::test]
async fn in_flight_is_what_is_in_flight() {
    let backends = replicas(1).await;
    let lb = Lb::over(&addresses(&backends), &with(&[])).await;
    let (held, _) = hold(&lb).await;
    lb.until("two in flight", |s| s.sum("lb_backend_reported_in_flight", &[]) == 2.0).await;
    finish(held).await;
    lb.until("the scrape alone", |s| s.sum("lb_backend_reported_in_flight", &[]) == 1.0).await;
}

/// The exporters of others: on another port of the backend's host.
#[tokio::test]
async fn another_port_is_asked_where_told() {
    let text = include_str!("../../src/telemetry/fixtures/node_exporter.txt");
    let exporter = Script::named(text).await;
    let backends = replicas(1).await;
    let port = exporter.address.port().to_string();
    let lb = Lb::over(
        &addresses(&backends),
        &with(&[("signals.preset", "node_exporter"), ("signals.port", &port)]),
    )
    .await;
    let scrape = until_scraped(&lb, "ok", 1.0).await;
    let memory = reported(&scrape, "b1", "memory").unwrap();
    assert!((memory - 0.25).abs() < 0.01, "{memory}");
    let request = exporter.requests().remove(0);
    assert_eq!((request.method(), request.target()), ("GET", "/metrics"));
    assert_eq!(request.header("accept-encoding"), None, "nothing compressed is asked for");
}

/// Every way to answer badly has a name; none of them takes a backend out, and each is told once.
#[tokio::test]
async fn whatever_goes_wrong_has_a_name_and_harms_nobody() {
    let html = "<!doctype html><title>It works</title>";
    let gzip = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x08\x08";
    let length = "HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\nup 1\n";
    let redirect = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    let error = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n";
    let cases = [
        (ok(html), "unreadable"),
        (ok("{\"cpu\": 1}"), "unreadable"),
        (gzip.to_owned(), "unreadable"),
        (ok(""), "empty"),
        (ok("up 1\n"), "empty"),
        (ok("backend_cpu_usage_ratio NaN\n"), "empty"),
        (length.to_owned(), "too_large"),
        (redirect.to_owned(), "status"),
        (error.to_owned(), "status"),
        ("HTTP/1.1 nonsense\r\n\r\n".to_owned(), "refused"),
    ];
    let mut backends = Vec::new();
    for (answer, _) in &cases {
        let answer = answer.clone();
        let backend = Script::start(move |mut conn: Conn| {
            let answer = answer.clone();
            async move {
                while let Some(request) = conn.request().await {
                    let asked = request.target() == "/metrics";
                    let sent = conn.try_send(if asked { answer.clone() } else { ok("served") }).await;
                    if sent.is_err() {
                        return;
                    }
                }
            }
        });
        backends.push(backend.await);
    }
    let at: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let more = [("health.enabled", "true"), ("health.interval", "50ms"), ("pool.algorithm", "round_robin")];
    let lb = Lb::over(&at, &with(&more)).await;
    let all = |s: &Scrape| s.sum("lb_scrapes_total", &[]) >= 4.0 * cases.len() as f64;
    lb.until("four scrapes each", all).await;
    let scrape = lb.until("all are lost", |s| facts(s, "signals_lost") >= cases.len() as f64).await;
    for (i, (answer, result)) in (1..).zip(&cases) {
        let name = format!("b{i}");
        let total = scrape.sum("lb_scrapes_total", &[("backend", &name)]);
        assert_eq!((scrapes(&scrape, &name, result), total > 0.0), (total, true), "{answer}: {result}");
        assert_eq!(scrape.sum("lb_backend_healthy", &[("backend", &name)]), 1.0, "{answer}");
    }
    for _ in &cases {
        assert_eq!(lb.get("/").await.text(), "served");
    }
    assert_eq!(facts(&lb.scrape().await, "signals_lost"), cases.len() as f64, "each is told once");
    let elsewhere = |b: &Script| b.requests().iter().any(|r| r.target() == "/elsewhere");
    assert!(!backends.iter().any(elsewhere), "no redirect is followed");
}

#[tokio::test]
async fn who_is_not_there_is_refused_and_the_backend_serves() {
    let backends = replicas(1).await;
    let port = refusing().port().to_string();
    let lb = Lb::over(&addresses(&backends), &with(&[("signals.port", &port)])).await;
    until_scraped(&lb, "refused", 3.0).await;
    let said = lb.admin("/decisions?format=json").await.text();
    assert!(said.contains("b1 no longer tells how it is: Connection refused"), "{said}");
    let scrape = lb.until("its age grows", |s| s.sum("lb_scrape_age_seconds", &[]) > 0.2).await;
    assert_eq!(reported(&scrape, "b1", "cpu"), None);
    assert_eq!(lb.get("/echo").await.status(), 200);
}

/// A body without end and without length: no more of it is read than allowed, so its sender cannot go on.
#[tokio::test]
async fn a_body_without_end_is_cut_off() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let flood = Script::start(move |mut conn: Conn| {
        let counter = Arc::clone(&counter);
        async move {
            conn.request().await;
            conn.send("HTTP/1.1 200 OK\r\n\r\n").await;
            let chunk = "x".repeat(64 << 10);
            while counter.load(SeqCst) < 100 << 20 && conn.try_send(&chunk).await.is_ok() {
                counter.fetch_add(chunk.len(), SeqCst);
            }
        }
    })
    .await;
    let more = [("signals.interval", "5m"), ("signals.timeout", "60s"), ("signals.max_bytes", "256KiB")];
    let lb = Lb::over(&[flood.address], &with(&more)).await;
    until_scraped(&lb, "too_large", 1.0).await;
    // The sender runs on into the buffers of both sockets, a few MiB, and no further.
    let sent = sent.load(SeqCst);
    assert!(sent < 32 << 20, "{sent} bytes went out");
}

/// A byte now and again keeps a connection alive, but not a scrape.
#[tokio::test]
async fn an_answer_that_drips_times_out() {
    let drip = Script::start(async |mut conn: Conn| {
        conn.request().await;
        conn.send("HTTP/1.1 200 OK\r\n\r\n").await;
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(10));
        while conn.try_send("#").await.is_ok() {
            tick.tick().await;
        }
    })
    .await;
    let lb = Lb::over(&[drip.address], &with(&[])).await;
    let scrape = until_scraped(&lb, "timeout", 3.0).await;
    assert_eq!(scrape.sum("lb_backend_healthy", &[]), 1.0);
}

/// Lost is told once, and so is the return; what was said goes with it and comes back.
#[tokio::test]
async fn telemetry_is_lost_and_comes_back() {
    let mood = Arc::new(AtomicUsize::new(200));
    let told = Arc::clone(&mood);
    let moody = Script::start(move |mut conn: Conn| {
        let mood = Arc::clone(&told);
        async move {
            while conn.request().await.is_some() {
                let body = "backend_cpu_usage_ratio 0.5\n";
                let (status, n) = (mood.load(SeqCst), body.len());
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {n}\r\n\r\n");
                if conn.try_send(head + body).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let lb = Lb::over(&[moody.address], &with(&[])).await;
    let known = |s: &Scrape| reported(s, "b1", "cpu") == Some(0.5);
    lb.until("its word", known).await;
    for round in [1.0, 2.0] {
        mood.store(503, SeqCst);
        let lost = lb.until("lost", |s| facts(s, "signals_lost") == round).await;
        assert!(!known(&lost), "a frozen number would pass for the truth");
        assert!(scrapes(&lost, "b1", "status") >= 3.0 * round);
        mood.store(200, SeqCst);
        lb.until("back", |s| facts(s, "signals_back") == round && known(s)).await;
    }
}

#[tokio::test]
async fn a_reload_turns_scrapes_on_and_off() {
    let backends = replicas(1).await;
    let base = backend("b1", addresses(&backends)[0], 1);
    let signals =
        |text: &str| format!("{base}[signals]\ninterval = \"250ms\"\ntimeout = \"200ms\"\n{text}\n");
    let written = Written::new("signals", &base);
    let lb = Lb::from(written.source(&[])).await;
    let scrape = lb.scrape().await;
    let silent =
        |s: &Scrape| s.samples.iter().all(|(n, _, _)| !n.contains("scrape") && !n.contains("_usage_"));
    assert!(silent(&scrape), "nobody is asked unless told");
    written.write(&signals("source = \"metrics\""));
    lb.reload();
    let first = until_scraped(&lb, "ok", 2.0).await;
    assert!(reported(&first, "b1", "cpu").is_some() && first.sum("lb_scrape_age_seconds", &[]) < 20.0);
    written.write(&signals("source = \"stats\"\npath = \"/nowhere\""));
    lb.reload();
    let other = until_scraped(&lb, "status", 1.0).await;
    assert_eq!(reported(&other, "b1", "cpu"), None, "begun anew");
    written.write(&signals("source = \"off\""));
    lb.reload();
    let off = applied(&lb, 3).await;
    let gauges =
        |s: &Scrape| s.samples.iter().any(|(n, _, _)| n == "lb_scrape_age_seconds" || n.contains("_usage_"));
    assert!(!gauges(&off), "what nobody asks for any more is not shown");
    // Requests go by; no scrape is among them.
    let before = scrapes(&lb.scrape().await, "b1", "status");
    for _ in 0..50 {
        assert_eq!(lb.get("/echo").await.status(), 200);
    }
    assert_eq!(scrapes(&lb.scrape().await, "b1", "status"), before);
    written.write(&signals("source = \"metrics\"\ninterval = \"100ms\""));
    lb.reload();
    lb.until("it is refused", |s| s.sum("lb_config_reloads_total", &[("result", "refused")]) == 1.0).await;
}

/// A backend that says nothing but `answer`, with load reports in it.
async fn reporting() -> Script {
    Script::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-lb-rif: 12\r\nx-own: 1\r\nx-lb-util: 0.43\r\n\
         endpoint-load-metrics: TEXT cpu_utilization=0.3\r\nendpoint-load-metrics-bin: CQAA\r\n\r\nok",
    )
    .await
}

#[tokio::test]
async fn load_reports_are_read_and_not_passed_on() {
    let told = reporting().await;
    let lb = Lb::over(&[told.address], &[]).await;
    let before = lb.scrape().await;
    assert!(
        before.samples.iter().any(|(n, _, v)| n == "lb_load_reports_total" && *v == 0.0),
        "there from the start"
    );
    for _ in 0..3 {
        let reply = lb.get("/").await;
        assert_eq!((reply.status(), reply.text().as_str(), reply.header("x-own")), (200, "ok", Some("1")));
        assert!(
            !reply.headers.iter().any(|(n, _)| n.contains("load-metrics") || n.starts_with("x-lb-")),
            "{reply:?}"
        );
    }
    let labels = [("backend", "b1"), ("source", "header")];
    assert_eq!(lb.settled().await.sum("lb_load_reports_total", &labels), 3.0);
}

#[tokio::test]
async fn load_reports_are_the_clients_where_they_are_not_ours() {
    let told = reporting().await;
    let lb = Lb::over(&[told.address], &[("signals.headers", "false")]).await;
    let reply = lb.get("/").await;
    assert_eq!((reply.header("x-lb-rif"), reply.header("x-lb-util")), (Some("12"), Some("0.43")));
    assert_eq!(reply.header("endpoint-load-metrics"), Some("TEXT cpu_utilization=0.3"));
    assert!(reply.header("endpoint-load-metrics-bin").is_some());
    assert_eq!(lb.settled().await.sum("lb_load_reports_total", &[]), 0.0);
}

/// Series go with their backend, and its scrapes with it.
#[tokio::test]
async fn who_leaves_is_asked_no_more() {
    let backends = replicas(2).await;
    let at = addresses(&backends);
    let both = format!("{}{}[timeouts]\ndrain = \"1s\"\n", backend("b1", at[0], 1), backend("b2", at[1], 1));
    let written = Written::new("signals-leave", &both);
    let lb = Lb::from(written.source(&with(&[]))).await;
    lb.until("both", |s| reported(s, "b1", "cpu").is_some() && reported(s, "b2", "cpu").is_some()).await;
    written.write(&backend("b1", at[0], 1));
    lb.reload();
    lb.until("b2 is gone", |s| s.sum("lb_facts_total", &[("kind", "left")]) == 1.0).await;
    let scrape = lb.scrape().await;
    assert_eq!(reported(&scrape, "b2", "cpu"), None);
    let left = scrapes(&scrape, "b2", "ok");
    let before = scrapes(&scrape, "b1", "ok");
    let later = until_scraped(&lb, "ok", before + 2.0).await;
    assert_eq!(scrapes(&later, "b2", "ok"), left);
}
