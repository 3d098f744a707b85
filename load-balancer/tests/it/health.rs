//! Who is asked for what: backends leave when checks fail, return when they pass, and every account of it agrees.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::support::{Conn, Lb, Scrape, Script, addresses, ok, replicas, within};

/// Checks quick enough to wait for; edges quicker still.
const CHECKED: [(&str, &str); 3] =
    [("health.enabled", "true"), ("health.interval", "20ms"), ("health.edge_interval", "5ms")];

fn state_of(scrape: &Scrape, backend: &str) -> String {
    let is = |state: &&str| scrape.sum("lb_backend_state", &[("backend", backend), ("state", state)]) == 1.0;
    let states: Vec<_> = ["unknown", "healthy", "unhealthy"].into_iter().filter(is).collect();
    assert_eq!(states.len(), 1, "exactly one state: {states:?}");
    states[0].to_owned()
}

/// The three ways of saying it agree.
fn assert_states(scrape: &Scrape, expected: &[(&str, &str)]) {
    for (backend, state) in expected {
        assert_eq!(state_of(scrape, backend), *state, "{backend}");
        let healthy = f64::from(u8::from(*state == "healthy"));
        assert_eq!(scrape.sum("lb_backend_healthy", &[("backend", backend)]), healthy, "{backend}");
    }
    for state in ["unknown", "healthy", "unhealthy"] {
        let count = expected.iter().filter(|(_, s)| *s == state).count() as f64;
        assert_eq!(scrape.sum("lb_backends", &[("state", state)]), count, "{state}");
    }
}

#[tokio::test]
async fn a_backend_leaves_and_returns() {
    let backends = replicas(2).await;
    let lb = Lb::over(&addresses(&backends), &CHECKED).await;
    assert_states(&lb.scrape().await, &[("b1", "healthy"), ("b2", "healthy")]);
    backends[0].app().set_healthy(false);
    let scrape = lb.until("b1 leaves", |s| s.sum("lb_backend_healthy", &[("backend", "b1")]) == 0.0).await;
    assert_states(&scrape, &[("b1", "unhealthy"), ("b2", "healthy")]);
    let failed = scrape.sum("lb_health_checks_total", &[("backend", "b1"), ("result", "fail")]);
    assert!(failed >= 3.0, "fall is 3: {failed}");
    for algorithm in lb_core::Algorithm::ALL {
        for _ in 0..5 {
            let json = lb.get(&format!("/echo?algo={algorithm}")).await.json();
            assert_eq!(json["server"], "b2", "{algorithm}");
        }
    }
    assert_eq!(lb.admin("/ready").await.status(), 200);
    backends[1].app().set_healthy(false);
    lb.until("b2 leaves", |s| s.sum("lb_backend_healthy", &[]) == 0.0).await;
    assert_eq!((lb.admin("/ready").await.status(), lb.get("/echo").await.status()), (503, 503));
    assert_eq!(lb.admin("/health").await.text(), "OK", "the process itself is well");
    backends[0].app().set_healthy(true);
    let scrape = lb.until("b1 returns", |s| s.sum("lb_backend_healthy", &[("backend", "b1")]) == 1.0).await;
    assert_states(&scrape, &[("b1", "healthy"), ("b2", "unhealthy")]);
    assert_eq!(lb.get("/echo").await.json()["server"], "b1");
}

/// Answers the n-th check with `status(n)`; everything else with 200.
async fn moody(status: impl Fn(usize) -> u16 + Send + Sync + 'static) -> (Script, Arc<AtomicUsize>) {
    let checks = Arc::new(AtomicUsize::new(0));
    let (count, status) = (Arc::clone(&checks), Arc::new(status));
    let backend = Script::start(move |mut conn: Conn| {
        let (count, status) = (Arc::clone(&count), Arc::clone(&status));
        async move {
            while let Some(request) = conn.request().await {
                let answer = match request.target() {
                    "/live" => format!(
                        "HTTP/1.1 {} X\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
                        status(count.fetch_add(1, SeqCst) + 1)
                    ),
                    _ => ok("ok"),
                };
                if conn.try_send(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (backend, checks)
}

fn with_path(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&CHECKED[..], &[("health.path", "/live")], more].concat()
}

#[tokio::test]
async fn fewer_failures_than_fall_change_nothing() {
    // Two failures, a pass, two failures, a pass … for ever: never three in a row.
    let (backend, checks) = moody(|n| if n % 3 == 1 { 204 } else { 500 }).await;
    let lb = Lb::over(&[backend.address], &with_path(&[("health.fall", "3")])).await;
    while checks.load(SeqCst) < 30 {
        assert_eq!(lb.get("/").await.status(), 200, "it never left");
    }
    let scrape = lb.scrape().await;
    assert!(scrape.sum("lb_health_checks_total", &[("result", "fail")]) >= 18.0);
}

#[tokio::test]
async fn fewer_passes_than_rise_change_nothing() {
    // Up at first, then down, then a single pass now and again.
    let (backend, checks) = moody(|n| if n == 1 || (n > 4 && n % 3 == 0) { 200 } else { 302 }).await;
    let lb = Lb::over(&[backend.address], &with_path(&[("health.rise", "2")])).await;
    lb.until("it is down", |s| s.sum("lb_backend_healthy", &[]) == 0.0).await;
    while checks.load(SeqCst) < 40 {
        assert_eq!(lb.get("/").await.status(), 503, "it never came: a redirect is no pass");
    }
}

/// Who has never been up may only be beginning: it is looked at often, and its first pass is enough.
#[tokio::test]
async fn a_newcomer_is_up_after_its_first_pass() {
    let (backend, checks) = moody(|n| if n == 3 { 200 } else { 500 }).await;
    let settings = [("health.enabled", "true"), ("health.path", "/live"), ("health.rise", "5")];
    let more = [("health.interval", "1h"), ("health.edge_interval", "5ms"), ("health.fall", "9")];
    let lb = Lb::over(&[backend.address], &[settings, more].concat()).await;
    lb.until("it is up", |s| s.sum("lb_backend_healthy", &[]) == 1.0).await;
    assert!(checks.load(SeqCst) >= 3);
}

#[tokio::test]
async fn start_waits_for_the_first_round_of_checks() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let (asked, mut asking) = tokio::sync::mpsc::unbounded_channel();
    let slow = Script::start(move |mut conn| {
        let (mut gate, asked) = (gate.clone(), asked.clone());
        async move {
            conn.request().await;
            asked.send(()).unwrap();
            gate.wait_for(|&open| open).await.unwrap();
            conn.send(ok("ok")).await;
        }
    })
    .await;
    let address = slow.address;
    let starting = tokio::spawn(async move {
        Lb::over(&[address], &[("health.enabled", "true"), ("health.timeout", "1h")]).await
    });
    within("the check", asking.recv()).await.unwrap();
    assert!(!starting.is_finished(), "unchecked backends would get the first requests");
    open.send_replace(true);
    let lb = within("the start", starting).await.unwrap();
    assert_eq!(lb.get("/").await.status(), 200, "the very first request finds it");
    assert_states(&lb.scrape().await, &[("b1", "healthy")]);
}

#[tokio::test]
async fn a_check_that_hangs_fails() {
    let hanging = Script::start(async |mut conn: Conn| drop((conn.request().await, conn.end().await))).await;
    let lb = Lb::over(&[hanging.address], &with_path(&[("health.timeout", "50ms")])).await;
    assert_states(&lb.scrape().await, &[("b1", "unhealthy")]);
    let scrape = lb.scrape().await;
    assert!(scrape.sum("lb_health_check_duration_seconds_sum", &[]) >= 0.05);
}

#[tokio::test]
async fn unchecked_backends_count_as_healthy() {
    let lb = Lb::over(&[super::support::refusing()], &[]).await;
    assert_states(&lb.scrape().await, &[("b1", "healthy")]);
    assert_eq!(lb.admin("/ready").await.status(), 200);
    assert_eq!(lb.scrape().await.sum("lb_health_checks_total", &[]), 0.0);
}
