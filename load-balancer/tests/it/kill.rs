//! One of three backends dies under load: no client notices, whatever the algorithm. Where picks go on meeting the dead
//! one, suspicion alone finds it; algorithms that look at loads avoid it at once, and leave the finding to the checks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use lb_core::Algorithm;
use tokio::runtime::{Builder, Runtime};

use super::support::{Lb, Wire, within};

/// A replica that can die as a process does: its sockets close wherever they are.
struct Mortal {
    runtime: Option<Runtime>,
    address: SocketAddr,
}

impl Mortal {
    async fn start(name: &str) -> Mortal {
        let config = backend::Config { name: name.to_owned(), ..backend::Config::default() };
        let starting = tokio::task::spawn_blocking(move || {
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let address = runtime.block_on(backend::start(config)).unwrap().address();
            Mortal { runtime: Some(runtime), address }
        });
        within("a replica", starting).await.unwrap()
    }

    fn die(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One client: GETs on one connection until told to stop; any answer but 200, or none, is a panic.
async fn client(traffic: SocketAddr, n: usize, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let mut wire = Wire::connect(traffic).await;
    let mut i = 0;
    while !stop.load(SeqCst) {
        i += 1;
        let from = format!("X-Forwarded-For: 198.51.{n}.{}", i % 250);
        wire.send(format!("GET /home?request_id={n}-{i} HTTP/1.1\r\nHost: h\r\n{from}\r\n\r\n")).await;
        let reply = wire.reply().await;
        assert_eq!(reply.status(), 200, "client {n}, request {i}: {}", reply.text());
        done.fetch_add(1, SeqCst);
    }
}

async fn reached(done: &AtomicUsize, more: usize) {
    let target = done.load(SeqCst) + more;
    within("more requests", async {
        while done.load(SeqCst) < target {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// An hour between checks: only suspicion can find out.
const SUSPICION_ALONE: &str = "1h";
/// Time enough for a few hundred requests before the first check after the death.
const CHECKS_TOO: &str = "300ms";

async fn survives(algorithm: Algorithm, checked_every: &str) {
    let mut backends = [Mortal::start("b1").await, Mortal::start("b2").await, Mortal::start("b3").await];
    let addresses = backends.each_ref().map(|b| b.address);
    let settings = [
        ("pool.algorithm", algorithm.name()),
        ("workers", "2"),
        ("health.enabled", "true"),
        ("health.interval", checked_every),
        ("health.edge_interval", checked_every),
        ("client.trusted_proxies", "[\"127.0.0.1\"]"),
    ];
    let lb = Lb::over(&addresses, &settings).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> =
        (0..8).map(|n| tokio::spawn(client(lb.traffic, n, Arc::clone(&stop), Arc::clone(&done)))).collect();
    reached(&done, 400).await;
    backends[1].die();
    let b2 = [("backend", "b2")];
    lb.until("the death is known", |s| s.sum("lb_backend_healthy", &b2) == 0.0).await;
    reached(&done, 400).await;
    stop.store(true, SeqCst);
    for client in clients {
        within("a client", client).await.unwrap();
    }
    let scrape = lb.settled().await;
    let total = done.load(SeqCst) as f64;
    assert_eq!((scrape.requests(), scrape.code("200")), (total, total), "{algorithm}");
    assert_eq!(scrape.sum("lb_request_aborts_total", &[]), 0.0, "{algorithm}\n{}", scrape.gist());
    for name in ["b1", "b2", "b3"] {
        assert!(scrape.sum("lb_decisions_total", &[("backend", name)]) > 0.0, "{algorithm} {name}");
    }
}

#[tokio::test]
async fn a_death_costs_no_request_when_backends_take_turns() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::WeightedRoundRobin, Algorithm::Random] {
        survives(algorithm, SUSPICION_ALONE).await;
    }
}

#[tokio::test]
async fn a_death_costs_no_request_when_load_decides() {
    for algorithm in [Algorithm::LeastConnections, Algorithm::PowerOfTwo, Algorithm::Adaptive] {
        survives(algorithm, CHECKS_TOO).await;
    }
}

#[tokio::test]
async fn a_death_costs_no_request_when_latency_decides() {
    for algorithm in [Algorithm::LeastResponseTime, Algorithm::MinEta] {
        survives(algorithm, CHECKS_TOO).await;
    }
}

#[tokio::test]
async fn a_death_costs_no_request_when_hashes_decide() {
    for algorithm in [Algorithm::IpHash, Algorithm::ConsistentHash] {
        survives(algorithm, SUSPICION_ALONE).await;
    }
}
