//! Ballast: an HTTP load balancer that shows its reasons.
//!
//! [`start`] wires everything and is the page to read first. One control thread holds the single writer, the health checks
//! and the admin listener; each worker thread serves clients on its own. They meet in the [`registry`] (snapshots one way)
//! and in a channel of [`event::Event`]s (news the other way). A request's way: [`listener`] → [`http`] → [`forward`] →
//! `lb_core` → [`forward`] → [`observe`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
mod demo;
mod descriptors;
pub mod discovery;
pub mod error;
pub mod event;
pub mod forward;
#[doc(hidden)]
pub mod fuzzing;
pub mod geo;
pub mod handover;
pub mod hashing;
pub mod health;
pub mod http;
pub mod journal;
mod kubernetes;
pub mod limiter;
pub mod listener;
pub mod observe;
pub mod provision;
pub mod proxy_protocol;
pub mod registry;
pub mod seen;
mod signals;
mod socket;
mod sparse;
pub mod stage;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod worker;

use admin::Admin;
use clock::Clock;
use config::Config;
use control::{Control, Source, Wiring};
use event::Event;
use handover::Inherited;
use journal::Journal;
use observe::{AccessLog, Chronicle, Metrics, Traces};
use registry::{Backend, Registry, Snapshot};
use stage::Stage;
use store::{Memory, Redis, Room, StateStore};
use worker::Shared;

/// Added to a check's timeout when waiting for the first round of them: the time to start and to report.
const FIRST_ROUND: Duration = Duration::from_secs(1);
/// Added to it where replicas have to be started first: a container takes a second, a busy machine several.
const FIRST_REPLICAS: Duration = Duration::from_secs(15);
/// Added to it where a source has to say which backends there are: a look-up with its retries.
const FIRST_LIST: Duration = Duration::from_secs(5);

/// Share of `timeouts.upgrade` in which a successor becomes ready, or says why not before it is ended.
const OF_UPGRADE: f64 = 0.8;

/// Longest that stopping waits for spans to be exported, and again for lines to be written.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Why the balancer could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(
        "{field} = \"{address}\": {source}; is another process using it? See `ss -ltnp`, or choose another port"
    )]
    Listen {
        /// The field of the configuration.
        field: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Sockets that this process was started with do not fit.
    #[error("{0}")]
    Inherited(String),
    /// A predecessor waits for this balancer, which cannot serve in its place.
    #[error("no backend was eligible within {} s, most of timeouts.upgrade", .0.as_secs_f64())]
    NotReady(Duration),
    /// A thread or runtime could not be made.
    #[error("starting a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// Replicas cannot be provided.
    #[error("replicas.provider: {0}")]
    Provider(String),
    /// The access log cannot be written.
    #[error("access_log.path: {0}; is it a file that this process may write?")]
    AccessLog(std::io::Error),
    /// Spans cannot be exported.
    #[error("traces: {0}")]
    Traces(String),
    /// The metric families collide.
    #[error("registering metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A running balancer. Dropping it begins the same end as [`Running::stop`], without waiting for it.
pub struct Running {
    /// Where clients connect.
    pub traffic: SocketAddr,
    /// Where TLS is spoken with them; the same, or beside it.
    pub tls: Option<SocketAddr>,
    /// Where operators connect.
    pub admin: SocketAddr,
    stage: watch::Sender<Stage>,
    workers: Vec<JoinHandle<()>>,
    control: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    metrics: Arc<Metrics>,
    registry: Arc<Registry>,
    journal: Arc<Journal>,
    traces: Option<Arc<Traces>>,
    access_log: Arc<AccessLog>,
    reloads: mpsc::UnboundedSender<()>,
    events: mpsc::UnboundedSender<Event>,
    /// What it listens on, to be passed on; the workers have duplicates.
    doors: Vec<(&'static str, std::net::TcpListener)>,
}

/// Starts the balancer: returns once it listens and every backend has been checked once.
///
/// # Errors
/// Where an address is taken, replicas cannot be provided or a thread cannot be made. Nothing is left running then.
pub fn start(config: Config) -> Result<Running, StartError> {
    begin(config, None, None, Inherited::default())
}

/// The same with the other balancers of this process that start in `room`, whatever the configuration says about a store.
///
/// # Errors
/// As [`start`].
pub fn start_in(config: Config, room: &Arc<Room>) -> Result<Running, StartError> {
    begin(config, None, Some(Arc::clone(room)), Inherited::default())
}

/// The same for a configuration that came from `source`: changes of the file are put in force while running.
///
/// # Errors
/// As [`start`].
pub fn start_from(config: Config, source: Source) -> Result<Running, StartError> {
    take_over(config, source, Inherited::default())
}

/// The same on sockets that others have opened. Where a predecessor waits, it returns only once there is an eligible backend.
///
/// # Errors
/// As [`start`]; where the sockets do not fit; where no backend became eligible in `timeouts.upgrade`.
pub fn take_over(config: Config, source: Source, inherited: Inherited) -> Result<Running, StartError> {
    begin(config, Some(source), None, inherited)
}

fn begin(
    config: Config,
    source: Option<Source>,
    room: Option<Arc<Room>>,
    mut inherited: Inherited,
) -> Result<Running, StartError> {
    let config = Arc::new(config);
    let clock = Clock::default();
    let metrics = Arc::new(Metrics::new(&config.pool.name)?);
    let (traffic, sockets) = handover::listen(
        handover::TRAFFIC,
        "listen.traffic",
        config.listen.traffic,
        config.workers,
        &mut inherited,
    )?;
    let secured = config.listen.tls.map(|address| {
        handover::listen(handover::TLS, "listen.tls", address, config.workers, &mut inherited)
    });
    let (beside, secured) = secured.transpose()?.map_or((None, Vec::new()), |(at, of)| (Some(at), of));
    let (admin_address, admin_sockets) =
        handover::listen(handover::ADMIN, "listen.admin", config.listen.admin, 1, &mut inherited)?;
    inherited.used_up().map_err(StartError::Inherited)?;
    // Of each address everybody has a share.
    let mut shares = listener::spread(&sockets, config.workers)?;
    for (share, more) in shares.iter_mut().zip(listener::spread(&secured, config.workers)?) {
        share.extend(more);
    }
    let admin_doors = listener::spread(&admin_sockets, 1)?.pop().unwrap_or_default();
    let succeeds = inherited.succeeds();

    let traces = config.traces.destination().map(|to| Traces::start(&to, &metrics, move || clock.now()));
    let traces = traces.transpose().map_err(StartError::Traces)?;
    let access_log = AccessLog::new(&metrics, move || clock.now());
    if config.access_log.format.is_some() {
        let (to, most) = (&config.access_log.to, config.access_log.queue);
        access_log.open(to, most).map_err(StartError::AccessLog)?;
    }

    let chronicle = Chronicle::new(&metrics, clock::unix_millis());
    let journal = Journal::new(&metrics);
    let registry = Registry::new(Snapshot::empty(&config));
    let (stage, told) = watch::channel(Stage::Serving);
    let (events, inbox) = mpsc::unbounded_channel();
    let (commands, mut mailboxes): (Vec<_>, Vec<_>) =
        shares.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let denials = Arc::new(admin::Denials::new(&metrics, clock));
    let admin = admin::router(Admin {
        metrics: Arc::clone(&metrics),
        registry: Arc::clone(&registry),
        clock,
        workers: commands.into(),
        stage: told.clone(),
        events: events.clone(),
        chronicle: Arc::clone(&chronicle),
        journal: Arc::clone(&journal),
        denials: Arc::clone(&denials),
        listening: [traffic, admin_address].into_iter().chain(beside).collect(),
    });

    let (settled, settling) = watch::channel(false);
    let (end, ended) = oneshot::channel();
    let (reloads, orders) = mpsc::unbounded_channel();
    let (opened, opening) = oneshot::channel();
    let meets = room.is_some() || config.store.place.is_some();
    let side = ControlSide {
        config: Arc::clone(&config),
        clock,
        metrics: Arc::clone(&metrics),
        chronicle,
        access_log: Arc::clone(&access_log),
        registry: Arc::clone(&registry),
        stage: told.clone(),
        inbox,
        events: events.clone(),
        settled,
        opened,
        admin: admin.clone(),
        denials,
        source: source.map(|source| (source, orders)),
        room,
        meets,
        succeeds,
        ended,
    };
    let control_thread = side.spawn(admin_doors)?;
    // By then the first snapshot is there. An error here is a control thread that is gone: it has logged why.
    if let Ok(Err(reason)) = opening.blocking_recv() {
        return Err(StartError::Provider(reason));
    }
    // Traffic that came before the first checks would find no eligible backend. One round of them is worth waiting for.
    let mut patience = config.health.as_ref().map_or(Duration::ZERO, |h| h.timeout + FIRST_ROUND);
    if meets {
        // Where it cannot be reached, that takes a round's time to find out.
        patience += config.store.timeout;
    }
    if config.replicas.provider.starts() {
        patience += FIRST_REPLICAS;
    }
    if config.discovery.finder.is_some() {
        patience += FIRST_LIST;
    }
    if succeeds.is_some() {
        // Somebody serves meanwhile: there is time to be sure.
        let patience = config.timeouts.upgrade.mul_f64(OF_UPGRADE);
        if !wait(settling, patience)? {
            return Err(StartError::NotReady(patience));
        }
    } else {
        wait(settling, patience)?;
    }

    metrics.workers.with_label_values::<&str>(&[]).set(config.workers as i64);
    let most = descriptors::connections(&config).min(Semaphore::MAX_PERMITS);
    metrics.downstream_limit.with_label_values(&["traffic"]).set(most as i64);
    let connections = Arc::new(Semaphore::new(most));
    let shared = Shared {
        clock,
        registry: Arc::clone(&registry),
        metrics: Arc::clone(&metrics),
        stage: told,
        admin,
        journal: Arc::clone(&journal),
        traces: traces.clone(),
        access_log: Arc::clone(&access_log),
        secure: match (&config.tls, beside) {
            (None, _) => listener::Secure::Nowhere,
            (Some(_), None) => listener::Secure::Everywhere,
            (Some(_), Some(at)) => listener::Secure::At(at),
        },
        connections,
        networks: Arc::default(),
        queue: Arc::default(),
    };
    let mut workers = Vec::new();
    for (i, doors) in shares.into_iter().enumerate() {
        let (shared, mailbox) = (shared.clone(), mailboxes.remove(0));
        let run = move || async move { worker::run(shared, &i.to_string(), doors, mailbox).await };
        workers.push(thread(format!("worker-{i}"), run)?);
    }
    let tls = config.tls.is_some().then(|| beside.unwrap_or(traffic));
    let shown = tls.map(tracing::field::display);
    tracing::info!(%traffic, admin = %admin_address, tls = shown, workers = workers.len(), "listening");
    let control = Some((end, control_thread));
    Ok(Running {
        traffic,
        tls,
        admin: admin_address,
        stage,
        workers,
        control,
        metrics,
        registry,
        journal,
        traces,
        access_log,
        reloads,
        events,
        doors: sockets
            .into_iter()
            .map(|socket| (handover::TRAFFIC, socket))
            .chain(secured.into_iter().map(|socket| (handover::TLS, socket)))
            .chain(admin_sockets.into_iter().map(|socket| (handover::ADMIN, socket)))
            .collect(),
    })
}

impl Running {
    /// The pool as it stands.
    #[must_use]
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        self.registry.load().backends.to_vec()
    }

    /// Decision records of late.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Has the configuration file read again at once, where it came from one.
    pub fn reload(&self) {
        // Without a file nobody listens.
        let _ = self.reloads.send(());
    }

    /// Says to whoever asks `/ready` that this balancer is about to stop, and goes on serving everybody; each response is the
    /// last of its connection, so that clients move. Returns for how long: `timeouts.drain_delay`, before [`Running::stop`].
    #[must_use]
    pub fn leave(&self) -> Duration {
        self.enter(Stage::Leaving);
        self.registry.load().config.timeouts.drain_delay
    }

    fn enter(&self, stage: Stage) {
        self.metrics.draining.with_label_values::<&str>(&[]).set(1);
        // Receivers live as long as the workers: an error means they have ended already.
        let _ = self.stage.send(stage);
    }

    /// Stops accepting, lets requests in flight finish up to `timeouts.drain`, then ends every thread. Blocks.
    pub fn stop(mut self) {
        // A duplicate would keep the port open, with nobody to accept.
        self.doors.clear();
        self.enter(Stage::Draining);
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
        // Nothing is told any more: what has been told goes out, as far as somebody takes it.
        if let Some(traces) = &self.traces {
            traces.flush(LAST_WORDS);
        }
        self.access_log.flush(LAST_WORDS);
        if let Some((end, thread)) = self.control.take() {
            let _ = end.send(());
            if thread.join().is_err() {
                tracing::error!("the control thread panicked");
            }
        }
    }
}

/// What the control thread runs.
struct ControlSide {
    config: Arc<Config>,
    clock: Clock,
    metrics: Arc<Metrics>,
    chronicle: Arc<Chronicle>,
    access_log: Arc<AccessLog>,
    registry: Arc<Registry>,
    stage: watch::Receiver<Stage>,
    inbox: mpsc::UnboundedReceiver<event::Event>,
    events: mpsc::UnboundedSender<event::Event>,
    settled: watch::Sender<bool>,
    opened: oneshot::Sender<Result<(), String>>,
    admin: axum::Router,
    denials: Arc<admin::Denials>,
    source: Option<(Source, mpsc::UnboundedReceiver<()>)>,
    room: Option<Arc<Room>>,
    /// Whether other balancers are met, in the room or at a store.
    meets: bool,
    /// The process of a predecessor that serves until this one can.
    succeeds: Option<u32>,
    ended: oneshot::Receiver<()>,
}

impl ControlSide {
    fn spawn(self, doors: Vec<std::net::TcpListener>) -> Result<JoinHandle<()>, StartError> {
        Ok(thread("control".to_owned(), move || self.run(doors))?)
    }

    async fn run(self, doors: Vec<std::net::TcpListener>) {
        let (dying, deaths) = mpsc::unbounded_channel();
        let provider = provision::configured(&self.config, self.succeeds, dying);
        let (config, clock) = (&self.config, self.clock);
        let control = Control::new(config, clock, &self.metrics, &self.chronicle, &self.registry, self.meets);
        let store = self.store(control.instance());
        // Whoever starts us waits for this.
        let _ = self.opened.send(provider.as_ref().map(|_| ()).map_err(Clone::clone));
        let Ok(provider) = provider else { return };
        let (stage, settling) = (self.stage, self.settled.subscribe());
        let first = self.succeeds.map(|_| settling);
        tokio::task::spawn_local(admin::serve(
            doors,
            self.admin,
            stage,
            first,
            admin::Served { registry: self.registry, metrics: self.metrics, denials: self.denials, clock },
        ));
        if let Some((source, orders)) = self.source {
            tokio::task::spawn_local(source.watch(orders, self.events.clone()));
        }
        let (inbox, events, settled, ended) = (self.inbox, self.events, self.settled, self.ended);
        let (access_log, succeeds) = (self.access_log, self.succeeds.is_some());
        let wiring = Wiring { inbox, events, provider, deaths, settled, access_log, store, succeeds, ended };
        control.run(wiring).await;
    }

    /// Where the balancer called `own` meets the others.
    fn store(&self, own: &str) -> Option<Box<dyn StateStore>> {
        let (settings, pool) = (&self.config.store, &self.config.pool.name);
        match (&self.room, &settings.place) {
            (Some(room), _) => Some(Box::new(Memory::new(room, own))),
            (None, Some(place)) => Some(Box::new(Redis::new(place, settings, pool, own))),
            (None, None) => None,
        }
    }
}

/// A thread with a runtime of its own, running one future to its end.
fn thread<F: Future<Output = ()>>(
    name: String,
    future: impl FnOnce() -> F + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(move || match runtime() {
        Ok(runtime) => runtime.block_on(future()),
        Err(error) => tracing::error!(%error, "a thread could not start its runtime"),
    })
}

fn runtime() -> std::io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// Blocks until the first round of checks is done, the control thread is gone, or patience is at its end; true where it is
/// done. Whatever else ends the wait: the balancer then answers 503, visibly, until a check passes.
fn wait(mut settling: watch::Receiver<bool>, patience: Duration) -> std::io::Result<bool> {
    runtime()?.block_on(async {
        let done = tokio::time::timeout(patience, settling.wait_for(|&done| done)).await;
        Ok(matches!(done, Ok(Ok(_))))
    })
}
