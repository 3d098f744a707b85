//! One data-plane thread: its own runtime, its own listening socket, its own connections to backends.
//!
//! Nothing on the request path is shared with other workers but the atomics inside [`lb_core::Load`]. State that a worker
//! keeps per backend is a [`Lane`]; a [`Scene`] pairs one snapshot with its lanes, so a request indexes both alike.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use lb_core::retry::RetryBudget;
use lb_core::{Rng, Tick};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::forward::{Live, Multiplex, Queue};
use crate::journal::Journal;
use crate::listener::{self, Client, Networks};
use crate::observe::{
    AccessLog, LaneMeters, Lines, Metrics, RegionMeters, RuntimeMeters, Traces, Trail, WorkerMeters,
};
use crate::registry::{Backend, Registry, Snapshot};
use crate::sparse::Sparse;
use crate::stage::Stage;
use crate::telemetry::{self, Taken};

mod recent;

pub use recent::{Recent, RequestLog};

/// Between flushes of the metric buffers and sweeps of idle upstream connections.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Trails kept for requests to come: about as many as are in flight at once on a busy worker.
const SPARE: usize = 256;

/// Bytes read from a client at once: as much as hyper's buffers grow to for a fast upload.
const SCRATCH: usize = 64 << 10;

/// What a worker can be asked.
#[derive(Debug)]
pub enum Command {
    /// Add the metric buffers to the shared families, then answer.
    Flush(oneshot::Sender<()>),
    /// Tell which requests a backend has answered lately.
    Recent {
        /// [`Backend::id`]; of one that is not in the pool nothing is known.
        backend: u64,
        /// Where to.
        reply: oneshot::Sender<Recent>,
    },
}

/// What every worker is given.
#[derive(Clone)]
pub struct Shared {
    /// The one clock.
    pub clock: Clock,
    /// The current snapshot.
    pub registry: Arc<Registry>,
    /// The metric families.
    pub metrics: Arc<Metrics>,
    /// How far the end has come.
    pub stage: watch::Receiver<Stage>,
    /// Answers control paths on the traffic port, where configured.
    pub admin: axum::Router,
    /// Where decision records go.
    pub journal: Arc<Journal>,
    /// What makes spans, where requests are traced.
    pub traces: Option<Arc<Traces>>,
    /// Where lines about requests go.
    pub access_log: Arc<AccessLog>,
    /// Which connections are spoken with by TLS.
    pub secure: listener::Secure,
    /// Permits for client connections, over all workers.
    pub connections: Arc<tokio::sync::Semaphore>,
    /// Those connections by client network, where they are limited.
    pub networks: Arc<Networks>,
    /// Where requests wait while every backend is full.
    pub queue: Arc<Queue>,
}

/// A worker's own state about one backend.
#[derive(Debug)]
pub struct Lane {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Idle connections, the most recently used last.
    pub idle: RefCell<Vec<Live>>,
    /// Connections of HTTP/2, idle or not.
    pub multiplex: Multiplex,
    /// Metric buffers.
    pub meters: Rc<LaneMeters>,
    /// Which requests it has answered lately.
    pub log: RefCell<RequestLog>,
}

/// A snapshot and, position by position, this worker's lanes.
#[derive(Debug)]
pub struct Scene {
    /// The shared picture.
    pub snapshot: Arc<Snapshot>,
    /// `lanes[i]` belongs to `snapshot.backends[i]`.
    pub lanes: Box<[Rc<Lane>]>,
    /// Metric buffers by region; `None` where regions do not matter.
    pub regional: Option<Rc<RegionMeters>>,
}

/// The configuration in force: a counted reference, since a reload may replace it at any time.
pub struct Settings(Rc<Scene>);

impl std::ops::Deref for Settings {
    type Target = Config;
    fn deref(&self) -> &Config {
        &self.0.snapshot.config
    }
}

/// One worker.
pub struct Worker {
    /// What all workers share.
    pub shared: Shared,
    /// Metric buffers.
    pub meters: WorkerMeters,
    /// Lines about requests, to be handed over.
    pub lines: Lines,
    runtime: RuntimeMeters,
    /// Connections refused, as far as the log hears of them.
    pub(crate) refusals: Sparse,
    /// Randomness for picks and request ids.
    pub rng: RefCell<Rng>,
    /// What retries may cost.
    pub budget: RefCell<RetryBudget>,
    /// How far this worker's end has come.
    pub stage: Cell<Stage>,
    /// Requests in flight have had their time since the drain began.
    pub overdue: Cell<bool>,
    /// Open client connections, to be woken when draining begins.
    pub clients: RefCell<HashMap<u64, Rc<Client>>>,
    /// Where bytes of clients are looked at before hyper gets them: one place for all connections.
    pub scratch: RefCell<Box<[u8]>>,
    cache: RefCell<arc_swap::Cache<RegistryHandle, Arc<Snapshot>>>,
    scene: RefCell<Rc<Scene>>,
    /// Trails of requests that have ended, for those to come.
    #[expect(
        clippy::vec_box,
        reason = "it is the boxes that are kept: trails are large, exchanges are moved around"
    )]
    spare: RefCell<Vec<Box<Trail>>>,
}

/// Lets the cache own its way to the registry.
#[derive(Clone)]
struct RegistryHandle(Arc<Registry>);

impl std::ops::Deref for RegistryHandle {
    type Target = arc_swap::ArcSwap<Snapshot>;
    fn deref(&self) -> &Self::Target {
        self.0.source()
    }
}

impl Worker {
    /// A worker over `shared`.
    #[must_use]
    pub fn new(shared: Shared, name: &str) -> Rc<Self> {
        let snapshot = shared.registry.load();
        let meters = WorkerMeters::new(Arc::clone(&shared.metrics));
        let scene = Scene::new(&snapshot, None, &shared.metrics);
        Rc::new(Worker {
            meters,
            lines: Lines::new(&shared.access_log),
            runtime: RuntimeMeters::new(&shared.metrics, name),
            refusals: Sparse::default(),
            rng: RefCell::new(clock::entropy()),
            budget: RefCell::new(budget(&snapshot.config)),
            stage: Cell::new(Stage::Serving),
            overdue: Cell::new(false),
            clients: RefCell::default(),
            scratch: RefCell::new(vec![0; SCRATCH].into()),
            cache: RefCell::new(arc_swap::Cache::new(RegistryHandle(Arc::clone(&shared.registry)))),
            scene: RefCell::new(Rc::new(scene)),
            spare: RefCell::default(),
            shared,
        })
    }

    /// The configuration, as of the last time anybody asked for the scene.
    #[must_use]
    pub fn config(&self) -> Settings {
        Settings(Rc::clone(&self.scene.borrow()))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Tick {
        self.shared.clock.now()
    }

    /// The current scene. One pointer comparison when nothing was published.
    #[must_use]
    pub fn scene(&self) -> Rc<Scene> {
        let mut cache = self.cache.borrow_mut();
        let snapshot = cache.load();
        let mut scene = self.scene.borrow_mut();
        if !Arc::ptr_eq(snapshot, &scene.snapshot) {
            if snapshot.config.retry != scene.snapshot.config.retry {
                self.budget.replace(budget(&snapshot.config));
            }
            *scene = Rc::new(Scene::new(snapshot, Some(&scene), &self.shared.metrics));
        }
        Rc::clone(&scene)
    }

    /// Whether the next request's decisions are to be recorded.
    #[must_use]
    pub fn records(&self) -> bool {
        self.draws(self.config().decisions.share)
    }

    /// Whether this request is one of `share` of all.
    #[must_use]
    pub fn draws(&self, share: f64) -> bool {
        share >= 1.0 || (share > 0.0 && self.rng.borrow_mut().unit() < share)
    }

    /// A trail to ride on an exchange, in memory that an earlier one had.
    #[must_use]
    pub fn boxed(&self, trail: Trail) -> Box<Trail> {
        match self.spare.borrow_mut().pop() {
            Some(mut old) => {
                *old = trail;
                old
            }
            None => Box::new(trail),
        }
    }

    /// Keeps its memory for the next.
    pub fn keep(&self, mut trail: Box<Trail>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE {
            // The request's own memory is not kept: a head that is long would stay for as long as the worker is idle.
            trail.blank();
            spare.push(trail);
        }
    }

    /// Closes all idle connections to backends: their file descriptors are needed elsewhere.
    pub(crate) fn drop_idle(&self) {
        for lane in &self.scene().lanes {
            let idle = lane.idle.take();
            lane.meters.idle.add(-(idle.len() as i64));
        }
    }

    fn recent(&self, backend: u64) -> Recent {
        let scene = self.scene();
        let lane = scene.lanes.iter().find(|lane| lane.backend.id == backend);
        lane.map(|lane| lane.log.borrow().recent(self.config().control.request_log)).unwrap_or_default()
    }

    fn housekeep(&self) {
        let scene = self.scene();
        let (now, limit) = (self.now(), self.config().timeouts.upstream_idle);
        for lane in &scene.lanes {
            lane.sweep(now, limit);
        }
        self.flush(&scene);
    }

    fn flush(&self, scene: &Scene) {
        self.runtime.read(&tokio::runtime::Handle::current().metrics());
        let waiting = self.shared.queue.waiting() as i64;
        let pool = self.shared.metrics.pool.as_str();
        self.shared.metrics.queue_waiting.with_label_values(&[pool]).set(waiting);
        self.meters.affords(self.budget.borrow_mut().left(self.now()));
        self.meters.flush();
        self.lines.flush();
        scene.lanes.iter().for_each(|lane| lane.meters.flush());
        scene.regional.iter().for_each(|meters| meters.flush());
    }
}

impl Scene {
    /// Lanes for a snapshot; those of `before` are carried over by identity.
    fn new(snapshot: &Arc<Snapshot>, before: Option<&Scene>, metrics: &Arc<Metrics>) -> Self {
        let known: HashMap<u64, &Rc<Lane>> =
            before.into_iter().flat_map(|s| &s.lanes).map(|lane| (lane.backend.id, lane)).collect();
        let lane = |backend: &Arc<Backend>| match known.get(&backend.id) {
            Some(&lane) => Rc::clone(lane),
            None => Rc::new(Lane {
                meters: LaneMeters::new(Arc::clone(metrics), &backend.name),
                backend: Arc::clone(backend),
                idle: RefCell::default(),
                multiplex: Multiplex::default(),
                log: RefCell::default(),
            }),
        };
        let lanes = snapshot.backends.iter().map(lane).collect();
        Scene { snapshot: Arc::clone(snapshot), lanes, regional: Scene::regional(snapshot, before, metrics) }
    }

    /// Buffers for the snapshot's regions: those of `before` where they are the same.
    fn regional(
        snapshot: &Snapshot,
        before: Option<&Scene>,
        metrics: &Arc<Metrics>,
    ) -> Option<Rc<RegionMeters>> {
        let geo = snapshot.geo.as_ref()?;
        let same = |scene: &&Scene| scene.snapshot.geo.as_ref().is_some_and(|g| g.regions == geo.regions);
        let kept = before.filter(same).and_then(|scene| scene.regional.clone());
        Some(kept.unwrap_or_else(|| RegionMeters::new(metrics, geo.regions.names())))
    }

    /// Counts where the first attempt of a client's request goes.
    pub fn located(&self, client: Option<u8>, member: u32) {
        if let Some(meters) = &self.regional {
            let places = &self.snapshot.places;
            meters.sent(client, places.region(member), places.spill(client, member));
        }
    }

    /// Whether a backend is a member that is not leaving.
    #[must_use]
    pub fn keeps(&self, backend: u64) -> bool {
        let snapshot = &self.snapshot;
        snapshot.members.iter().any(|&at| snapshot.backends[at as usize].id == backend)
    }
}

impl Lane {
    /// Takes the load report out of a response's headers, where it has one.
    pub fn read_report(&self, now: Tick, headers: &mut HeaderMap) {
        if let Taken::Report(report) = telemetry::take_report(headers) {
            self.meters.reported();
            self.backend.load.heard(now, &report);
        }
    }

    /// Closes idle connections that are too old, or that the backend has closed.
    fn sweep(&self, now: Tick, limit: Duration) {
        let before = std::mem::take(&mut *self.idle.borrow_mut());
        let had = before.len() as i64;
        let kept: Vec<Live> = before.into_iter().filter_map(|live| live.still_idle(now, limit)).collect();
        self.meters.idle.add(kept.len() as i64 - had);
        *self.idle.borrow_mut() = kept;
        self.multiplex.sweep(now, limit);
    }
}

/// What retries may cost one worker: the allowance per second is the process's, each gets its part.
fn budget(config: &Config) -> RetryBudget {
    RetryBudget::new(config.retry.budget_ratio, config.retry.budget_per_second / config.workers as f64)
}

/// Idle connections close with their lane.
impl Drop for Lane {
    fn drop(&mut self) {
        self.meters.idle.add(-(self.idle.borrow().len() as i64));
    }
}

/// Runs a worker until drained: serves `sockets`, answers `commands`, keeps house.
pub async fn run(
    shared: Shared,
    name: &str,
    sockets: Vec<std::net::TcpListener>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let worker = Worker::new(shared, name);
    let chores = {
        let worker = Rc::clone(&worker);
        async move {
            let mut tick = tokio::time::interval(HOUSEKEEPING);
            loop {
                tokio::select! {
                    _ = tick.tick() => worker.housekeep(),
                    command = commands.recv() => match command {
                        Some(Command::Flush(done)) => {
                            let scene = worker.scene();
                            worker.flush(&scene);
                            // The asker may have given up waiting: then nobody needs the answer.
                            let _ = done.send(());
                        }
                        Some(Command::Recent { backend, reply }) => {
                            // As above.
                            let _ = reply.send(worker.recent(backend));
                        }
                        None => std::future::pending().await,
                    },
                }
            }
        }
    };
    let chores = tokio::task::spawn_local(chores);
    listener::serve(&worker, sockets).await;
    chores.abort();
    worker.housekeep();
}
