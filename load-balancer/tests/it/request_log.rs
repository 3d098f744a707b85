//! What each worker remembers of the requests that its backends answered: `control.request_log`.

use std::sync::Arc;

use load_balancer::clock::Clock;
use load_balancer::config::Config;
use load_balancer::control::Control;
use load_balancer::listener;
use load_balancer::observe::{Chronicle, Metrics};
use load_balancer::registry::{Registry, Snapshot};
use load_balancer::stage::Stage;
use load_balancer::worker::{self, Command, Recent, Shared};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::support::{Script, Wire, config, keep, refusing, within};

/// One worker alone, to be asked as the admin side asks it. Dropping it stops it.
struct Alone {
    traffic: std::net::SocketAddr,
    commands: mpsc::UnboundedSender<Command>,
    registry: Arc<Registry>,
    _drain: watch::Sender<Stage>,
}

impl Alone {
    fn start(config: Config) -> Alone {
        let (traffic, mut sockets) = listener::bind(config.listen.traffic, 1).unwrap();
        let (config, clock) = (Arc::new(config), Clock::default());
        let metrics = Arc::new(Metrics::new("default").unwrap());
        let registry = Registry::new(Snapshot::empty(&config));
        let _ = Control::new(&config, clock, &metrics, &Chronicle::new(&metrics, 0), &registry, false);
        let (drain, stage) = watch::channel(Stage::Serving);
        let (commands, mailbox) = mpsc::unbounded_channel();
        let shared = Shared {
            clock,
            registry: Arc::clone(&registry),
            journal: load_balancer::journal::Journal::new(&metrics),
            traces: None,
            access_log: load_balancer::observe::AccessLog::new(&metrics, move || clock.now()),
            metrics,
            stage,
            admin: axum::Router::new(),
            secure: load_balancer::listener::Secure::Nowhere,
            connections: Arc::new(Semaphore::new(100)),
            networks: Arc::default(),
            queue: Arc::default(),
        };
        let doors = vec![sockets.remove(0)];
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            runtime.unwrap().block_on(worker::run(shared, "0", doors, mailbox));
        });
        Alone { traffic, commands, registry, _drain: drain }
    }

    /// Sends these requests on one connection.
    async fn serve(&self, requests: &[String]) {
        let mut wire = Wire::connect(self.traffic).await;
        for request in requests {
            wire.send(request).await;
            wire.reply().await;
        }
    }

    async fn ask(&self, backend: u64) -> Recent {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Recent { backend, reply }).unwrap();
        within("the worker's answer", answer).await.unwrap()
    }

    /// What is remembered of the `nth` backend.
    async fn recent(&self, nth: usize) -> (Vec<String>, u64) {
        let id = self.registry.load().backends[nth].id;
        let recent = self.ask(id).await;
        assert!(recent.ids.is_sorted_by_key(|(tick, _)| *tick));
        (recent.ids.iter().map(|(_, id)| id.to_string()).collect(), recent.total)
    }
}

fn ids(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|i| keep(&format!("/?request_id=r{i}"))).collect()
}

#[tokio::test]
async fn the_latest_ids_are_remembered_by_backend() {
    let (b1, b2) = (Script::named("b1").await, Script::named("b2").await);
    let pool = [(b1.address, 1), (b2.address, 1)];
    // Whatever the algorithm: this one has no use for the key.
    let settings = [("control.request_log", "2"), ("pool.algorithm", "round_robin")];
    let worker = Alone::start(config(&pool, &settings));
    assert_eq!(worker.recent(0).await, (vec![], 0));
    worker.serve(&ids(0..6)).await;
    assert_eq!(worker.recent(0).await, (vec!["r2".to_owned(), "r4".to_owned()], 3));
    assert_eq!(worker.recent(1).await, (vec!["r3".to_owned(), "r5".to_owned()], 3));
    worker.serve(&[keep("/"), keep("/?other=1")]).await;
    assert_eq!(worker.recent(0).await.1 + worker.recent(1).await.1, 6, "who says no id has none");
    assert_eq!(worker.ask(u64::MAX).await, Recent::default());
}

#[tokio::test]
async fn the_id_is_the_first_source_named_by_the_client() {
    let b1 = Script::named("b1").await;
    let key = r#"["path", "client_addr", "header:x-user", "cookie:session"]"#;
    let settings = [("control.request_log", "10"), ("hash.key", key), ("pool.algorithm", "consistent_hash")];
    let worker = Alone::start(config(&[(b1.address, 1)], &settings));
    let with = |header: &str| format!("GET /p HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n");
    let both = with("Cookie: session=s2\r\nX-User: ann");
    worker.serve(&[with("X-User: bob"), with("Cookie: session=s1"), both, with("X-Other: 1")]).await;
    assert_eq!(worker.recent(0).await.0, ["bob", "s1", "ann"]);
}

#[tokio::test]
async fn every_answered_attempt_is_remembered_and_no_other() {
    let busy = Script::answering("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
    let b3 = Script::named("b3").await;
    let pool = [(refusing(), 1), (busy.address, 1), (b3.address, 1)];
    let settings =
        [("control.request_log", "10"), ("pool.algorithm", "round_robin"), ("retry.attempts", "2")];
    let worker = Alone::start(config(&pool, &settings));
    worker.serve(&ids(0..1)).await;
    let totals = [worker.recent(0).await.1, worker.recent(1).await.1, worker.recent(2).await.1];
    assert_eq!(totals, [0, 1, 1]);
}

#[tokio::test]
async fn nothing_is_remembered_unasked() {
    let b1 = Script::named("b1").await;
    let worker = Alone::start(config(&[(b1.address, 1)], &[]));
    worker.serve(&ids(0..3)).await;
    assert_eq!(worker.recent(0).await, (vec![], 0));
}
