//! Three times as many requests as the backends can do: what they can do is done, the rest is told at once to come later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use load_balancer::clock::Clock;
use tokio::task::JoinSet;

use super::support::{Lb, Script, ok, request};

/// What a backend takes for a request, whatever else it does: its capacity is its places by that, not this machine's.
const SERVICE: Duration = Duration::from_millis(25);
/// Requests that the backends do at once, two each.
const PLACES: u32 = 4;

async fn backend() -> Script {
    Script::start(|mut conn| async move {
        while conn.request().await.is_some() {
            tokio::time::sleep(SERVICE).await;
            if conn.try_send(ok("done")).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// Answers of 200 and 503 when this many requests come a second, each by itself, and the slowest answer's time.
async fn open_loop(lb: &Arc<Lb>, per_second: f64, lasts: Duration) -> (u32, u32, Duration) {
    let mut clients = JoinSet::new();
    let mut due = tokio::time::interval(Duration::from_secs_f64(1.0 / per_second));
    let clock = Clock::default();
    let began = clock.now();
    let slowest = Arc::new(AtomicU32::new(0));
    while clock.now().since(began) < lasts {
        due.tick().await;
        let (lb, slowest) = (Arc::clone(lb), Arc::clone(&slowest));
        clients.spawn(async move {
            let sent = clock.now();
            let status = lb.send(request("GET", "/", &[])).await.status();
            slowest.fetch_max(clock.now().since(sent).as_millis() as u32, SeqCst);
            status
        });
    }
    let all = clients.join_all().await;
    let count = |status| all.iter().filter(|each| **each == status).count() as u32;
    assert_eq!((count(200) + count(503)) as usize, all.len(), "{all:?}");
    (count(200), count(503), Duration::from_millis(slowest.load(SeqCst).into()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_three_times_the_capacity_all_of_it_is_used() {
    let backends = [backend().await, backend().await];
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let settings = [
        ("pool.max_in_flight", "2"),
        ("queue.length", "20"),
        ("queue.wait", "500ms"),
        ("workers", "2"),
        ("retry.attempts", "0"),
    ];
    let lb = Arc::new(Lb::over(&addresses, &settings).await);
    // What can be done is measured as it will be compared: sleeping takes longer on a busy machine.
    let (mut clients, clock) = (JoinSet::new(), Clock::default());
    let began = clock.now();
    for _ in 0..PLACES {
        let lb = Arc::clone(&lb);
        clients.spawn(async move {
            let mut done = 0;
            while clock.now().since(began) < Duration::from_secs(1) {
                done += u32::from(lb.send(request("GET", "/", &[])).await.status() == 200);
            }
            done
        });
    }
    let capacity =
        f64::from(clients.join_all().await.into_iter().sum::<u32>()) / clock.now().since(began).as_secs_f64();
    let began = clock.now();
    let (done, shed, slowest) = open_loop(&lb, 3.0 * capacity, Duration::from_secs(2)).await;
    let goodput = f64::from(done) / clock.now().since(began).as_secs_f64();
    assert!(goodput >= 0.95 * capacity, "{goodput}/s done of {capacity}/s possible, {shed} shed");
    assert!(f64::from(shed) >= 0.5 * f64::from(done), "{done} done, {shed} shed: that was no overload");
    assert!(slowest < Duration::from_secs(5), "{slowest:?} for an answer");
    let scrape = lb.settled().await;
    assert_eq!(scrape.aborts("queue_full") + scrape.aborts("queue_timeout"), f64::from(shed));
    assert_eq!(scrape.sum("lb_facts_total", &[("kind", "ejected")]), 0.0, "no backend is to blame");
}
