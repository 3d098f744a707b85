//! How many requests a backend is given at once, and the queue of those that wait: bounded, in order, and left by every door.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::sync::{Semaphore, mpsc};

use super::support::{Conn, Lb, Script, Wire, config, keep, ok, request, within};

/// A backend that answers when it may, tells of each request that came, and counts those it has at once.
struct Held {
    script: Script,
    go: Arc<Semaphore>,
    came: mpsc::UnboundedReceiver<String>,
    most: Arc<AtomicUsize>,
}

impl Held {
    async fn start() -> Held {
        let (go, most, now) =
            (Arc::new(Semaphore::new(0)), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (tell, came) = mpsc::unbounded_channel();
        let (gate, peak) = (Arc::clone(&go), Arc::clone(&most));
        let script = Script::start(move |mut conn| {
            let (gate, peak, now, tell) =
                (Arc::clone(&gate), Arc::clone(&peak), Arc::clone(&now), tell.clone());
            async move {
                while let Some(request) = conn.request().await {
                    peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    // The test may be over.
                    let _ = tell.send(request.target().to_owned());
                    gate.acquire().await.unwrap().forget();
                    now.fetch_sub(1, SeqCst);
                    if conn.try_send(ok("ok")).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Held { script, go, came, most }
    }

    /// The target of the next request that comes.
    async fn next(&mut self) -> String {
        within("a request at the backend", self.came.recv()).await.unwrap()
    }
}

async fn sent(to: SocketAddr, target: &str) -> Wire {
    let mut wire = Wire::connect(to).await;
    wire.send(keep(target)).await;
    wire
}

async fn waiting(lb: &Lb, n: f64) {
    lb.until("so many wait", |s| s.sum("lb_queue_waiting", &[]) == n).await;
}

/// A wait that no test sees the end of.
const LONG: (&str, &str) = ("queue.wait", "60s");

#[tokio::test]
async fn a_ceiling_is_never_exceeded_and_everybody_is_served_in_the_end() {
    let mut backend = Held::start().await;
    let settings = [("pool.max_in_flight", "3"), ("workers", "4"), LONG];
    let lb = Lb::over(&[backend.script.address], &settings).await;
    let mut wires = Vec::new();
    for _ in 0..40 {
        wires.push(sent(lb.traffic, "/").await);
    }
    waiting(&lb, 37.0).await;
    backend.go.add_permits(40);
    for wire in &mut wires {
        assert_eq!(wire.reply().await.text(), "ok");
    }
    assert_eq!(backend.most.load(SeqCst), 3);
    backend.next().await;
    let scrape = lb.settled().await;
    assert_eq!((scrape.code("200"), scrape.sum("lb_queue_wait_seconds_count", &[])), (40.0, 37.0));
}

#[tokio::test]
async fn a_full_backend_is_passed_over_by_every_algorithm() {
    for algorithm in lb_core::Algorithm::ALL {
        let (mut full, other) = (Held::start().await, Script::named("other").await);
        let text = format!(
            "[[pool.backend]]\nname = \"full\"\naddress = \"{}\"\nmax_in_flight = 1\n\
             [[pool.backend]]\nname = \"other\"\naddress = \"{}\"\n",
            full.script.address, other.address
        );
        let settings = [("pool.algorithm", algorithm.name()), ("decisions.record", "all")];
        let lb = Lb::start(super::support::configured(&text, &settings)).await;
        // Until one of them holds the backend; with a key of its own each, since some go by key.
        let mut held = None;
        for i in 0..200 {
            let mut wire = sent(lb.traffic, &format!("/?request_id={i}")).await;
            tokio::select! {
                target = full.came.recv() => { assert!(target.is_some()); held = Some(wire); break }
                reply = wire.reply() => assert_eq!(reply.text(), "other"),
            }
        }
        if held.is_none() {
            assert_eq!(
                algorithm,
                lb_core::Algorithm::IpHash,
                "it goes by the address, and that may be the other's"
            );
            continue;
        }
        for i in 0..40 {
            assert_eq!(lb.get(&format!("/?request_id={i}")).await.text(), "other", "{algorithm:?}");
        }
        assert_eq!(full.most.load(SeqCst), 1);
        full.go.add_permits(1);
        assert_eq!(held.unwrap().reply().await.text(), "ok");
    }
}

#[tokio::test]
async fn with_many_full_backends_the_one_with_room_is_found() {
    let mut full = Held::start().await;
    let free = Script::named("free").await;
    let backends: Vec<SocketAddr> = vec![full.script.address; 12];
    let mut text = String::new();
    for (i, address) in backends.iter().enumerate() {
        text +=
            &format!("[[pool.backend]]\nname = \"full{i}\"\naddress = \"{address}\"\nmax_in_flight = 1\n");
    }
    text +=
        &format!("[[pool.backend]]\nname = \"free\"\naddress = \"{}\"\nmax_in_flight = 1\n", free.address);
    let lb = Lb::start(super::support::configured(&text, &[("pool.algorithm", "round_robin"), LONG])).await;
    let mut held = Vec::new();
    while held.len() < 12 {
        let mut wire = sent(lb.traffic, "/").await;
        tokio::select! {
            _ = full.came.recv() => held.push(wire),
            reply = wire.reply() => assert_eq!(reply.text(), "free"),
        }
    }
    for _ in 0..30 {
        assert_eq!(lb.get("/").await.text(), "free");
    }
}

#[tokio::test]
async fn the_queue_is_bounded_in_number_and_in_time() {
    let mut backend = Held::start().await;
    let settings = [("pool.max_in_flight", "1"), ("queue.length", "1"), ("queue.wait", "300ms")];
    let lb = Lb::over(&[backend.script.address], &settings).await;
    let mut first = sent(lb.traffic, "/first").await;
    assert_eq!(backend.next().await, "/first");
    let mut second = sent(lb.traffic, "/second").await;
    waiting(&lb, 1.0).await;
    let refused = lb.get("/third").await;
    assert_eq!((refused.status(), refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.json()["error"], "All backends are busy");
    let late = second.reply().await;
    assert_eq!((late.status(), late.header("retry-after")), (503, Some("1")));
    let scrape = lb.scrape().await;
    assert_eq!((scrape.aborts("queue_full"), scrape.aborts("queue_timeout")), (1.0, 1.0));
    backend.go.add_permits(1);
    assert_eq!(first.reply().await.text(), "ok");
    assert_eq!(backend.script.requests().len(), 1);
}

#[tokio::test]
async fn first_come_first_served() {
    let mut backend = Held::start().await;
    let lb = Lb::over(&[backend.script.address], &[("pool.max_in_flight", "1"), LONG]).await;
    let mut wires = vec![sent(lb.traffic, "/0").await];
    assert_eq!(backend.next().await, "/0");
    for i in 1..8 {
        wires.push(sent(lb.traffic, &format!("/{i}")).await);
        waiting(&lb, f64::from(i)).await;
    }
    for (i, wire) in wires.iter_mut().enumerate() {
        backend.go.add_permits(1);
        assert_eq!(wire.reply().await.text(), "ok");
        if i < 7 {
            assert_eq!(backend.next().await, format!("/{}", i + 1));
        }
    }
}

#[tokio::test]
async fn a_place_is_given_back_however_a_request_ends() {
    let mut backend = Held::start().await;
    let settings = [("pool.max_in_flight", "1"), ("timeouts.first_byte", "400ms"), LONG];
    let lb = Lb::over(&[backend.script.address], &settings).await;
    // Its client leaves; who waits leaves; one times out at the backend; then the next one has the place.
    let leaving = sent(lb.traffic, "/leaves").await;
    assert_eq!(backend.next().await, "/leaves");
    let waiter = sent(lb.traffic, "/waits").await;
    waiting(&lb, 1.0).await;
    waiter.reset();
    waiting(&lb, 0.0).await;
    let mut slow = sent(lb.traffic, "/slow").await;
    waiting(&lb, 1.0).await;
    leaving.reset();
    assert_eq!(backend.next().await, "/slow");
    assert_eq!(slow.reply().await.status(), 504);
    backend.go.add_permits(100);
    assert_eq!(lb.get("/served").await.text(), "ok");
    let scrape = lb.settled().await;
    assert_eq!(scrape.sum("lb_queue_waiting", &[]), 0.0);
}

#[tokio::test]
async fn more_than_may_be_in_flight_is_shed() {
    let mut backend = Held::start().await;
    let lb = Lb::over(&[backend.script.address], &[("limits.in_flight", "2")]).await;
    let mut inside = [sent(lb.traffic, "/").await, sent(lb.traffic, "/").await];
    backend.next().await;
    backend.next().await;
    for _ in 0..3 {
        let shed = lb.send(request("GET", "/", &[])).await;
        assert_eq!((shed.status(), shed.header("retry-after")), (503, Some("1")));
        assert_eq!(shed.json()["error"], "Too many requests in flight");
    }
    backend.go.add_permits(10);
    for wire in &mut inside {
        assert_eq!(wire.reply().await.text(), "ok");
    }
    lb.settled().await;
    assert_eq!(lb.get("/").await.text(), "ok");
    assert_eq!(lb.scrape().await.aborts("shed"), 3.0);
}

/// The least limit of memory that may be set, and more memory than that, for as long as it is held.
const LIMIT: (&str, &str) = ("limits.memory", "32MiB");
const LIMIT_BYTES: u32 = 32 << 20;

fn too_much() -> Vec<u8> {
    std::hint::black_box(vec![1; LIMIT_BYTES as usize + (8 << 20)])
}

async fn short_of_memory(lb: &Lb) {
    let facts = async || lb.admin("/decisions?format=json&kind=memory").await.text();
    within("the fact", async { while !facts().await.contains("fewer requests are let in") {} }).await;
}

#[tokio::test]
async fn beyond_the_limit_of_memory_some_are_served_and_more_are_shed() {
    let _memory = too_much();
    let mut backend = Held::start().await;
    let lb = Lb::over(&[backend.script.address], &[LIMIT]).await;
    short_of_memory(&lb).await;
    let mut inside = Vec::new();
    for _ in 0..8 {
        inside.push(sent(lb.traffic, "/").await);
        backend.next().await;
    }
    for _ in 0..3 {
        let shed = lb.send(request("GET", "/", &[])).await;
        assert_eq!((shed.status(), shed.header("retry-after")), (503, Some("1")));
        assert_eq!(shed.json()["error"], "Out of resources");
    }
    backend.go.add_permits(100);
    for wire in &mut inside {
        assert_eq!(wire.reply().await.text(), "ok");
    }
    lb.settled().await;
    for _ in 0..20 {
        assert_eq!(lb.get("/").await.text(), "ok");
    }
    let scrape = lb.scrape().await;
    assert_eq!((scrape.aborts("memory"), scrape.aborts("shed")), (3.0, 0.0));
    assert_eq!(scrape.sum("lb_memory_limit_bytes", &[]), f64::from(LIMIT_BYTES));
    assert!(scrape.sum("process_resident_memory_bytes", &[]) > f64::from(LIMIT_BYTES));
}

#[tokio::test]
async fn streams_that_last_keep_nobody_out_where_memory_is_short() {
    let _memory = too_much();
    let backend = Script::start(async |mut conn: Conn| {
        while let Some(request) = conn.request().await {
            if request.target() == "/events" {
                conn.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n").await;
                conn.end().await;
                return;
            }
            conn.send(ok("ok")).await;
        }
    })
    .await;
    let lb = Lb::over(&[backend.address], &[LIMIT]).await;
    short_of_memory(&lb).await;
    let mut streams = Vec::new();
    // More than the few that are served however short memory is.
    for _ in 0..20 {
        let mut wire = sent(lb.traffic, "/events").await;
        wire.upto(b"data: 1\n\n").await.unwrap();
        streams.push(wire);
    }
    for _ in 0..20 {
        assert_eq!(lb.get("/").await.text(), "ok");
    }
    drop(streams);
    let scrape = lb.settled().await;
    assert_eq!((scrape.aborts("memory"), scrape.code("200")), (0.0, 40.0));
}

#[tokio::test]
async fn without_ceilings_nothing_waits() {
    let mut backend = Held::start().await;
    let lb = Lb::start(config(&[(backend.script.address, 1)], &[("queue.length", "0")])).await;
    let mut wires = Vec::new();
    for _ in 0..20 {
        wires.push(sent(lb.traffic, "/").await);
        backend.next().await;
    }
    backend.go.add_permits(20);
    for wire in &mut wires {
        assert_eq!(wire.reply().await.text(), "ok");
    }
    assert_eq!(lb.settled().await.sum("lb_queue_wait_seconds_count", &[]), 0.0);
}
