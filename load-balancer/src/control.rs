//! The single writer: whatever changes the pool arrives here as an [`Event`] and leaves as one new snapshot.
//!
//! It also ticks: estimates that depend on the passing of time are brought up to date here, so that a pick never has to,
//! and what traffic shows is judged here, so that a request only counts. Each concern has a file of its own: `entry` (one
//! backend), `standing` (who may be picked), `traffic` (ejection, saturation, slow start), `members` (joining and
//! leaving), `upgrade` (another process takes over), `replicas` (keeping their number), `discovered` (who a source of
//! discovery names), `shared` (other balancers), `scraper` and `fetch` (what backends say about themselves), `weights`
//! (capacity and regions), `geo` (where clients are), `memory` (how much of it is in use), `certificates`, `reload`, `state` (over restarts), `prober` (active checks), `publish`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lb_core::fact::Fact;
use lb_core::health::Health;
use lb_core::outlier::Window;
use lb_core::ring::Ring;
use lb_core::view::Hashing;
use lb_core::{Locality, PoolLoad, Rng, Tick};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::{self, Clock};
use crate::config::Config;
use crate::error::Kind;
use crate::event::{Answer, Event, Verdict};
use crate::geo::Regions;
use crate::limiter::Limiter;
use crate::listener::REFUSALS;
use crate::observe::live::{self, Live};
use crate::observe::{AccessLog, Chronicle, Metrics, zero};
use crate::provision::{Death, Provider};
use crate::registry::{Backend, Registry, Snapshot};
use crate::store::StateStore;

mod certificates;
mod discovered;
mod entry;
mod fetch;
mod geo;
mod line;
mod members;
mod memory;
mod prober;
mod publish;
mod reload;
mod replicas;
mod scaled;
mod scraper;
mod serving;
pub(crate) mod shared;
mod standing;
mod state;
mod traffic;
mod upgrade;
mod weights;

use discovered::Discovered;
use entry::{Entry, Known};
use fetch::Fetcher;
pub(crate) use line::innermost;
pub use prober::{Asker, Prober};
pub use reload::Source;
use replicas::Supply;
use shared::Sharing;

/// Between refreshes of the loads, and so the longest that a conclusion from traffic waits.
const TICK: Duration = Duration::from_millis(20);
/// The same for pools of more than [`LARGE_POOL`] members, where a refresh is worth a millisecond.
const SLOW_TICK: Duration = Duration::from_millis(100);
/// Members above which the slow tick is used.
const LARGE_POOL: usize = 1_000;

/// What the control task is given to work with, once it runs.
pub struct Wiring {
    /// What happens.
    pub inbox: mpsc::UnboundedReceiver<Event>,
    /// For the control task's own helpers to tell what happened.
    pub events: mpsc::UnboundedSender<Event>,
    /// What starts and stops replicas.
    pub provider: Option<Rc<dyn Provider>>,
    /// What it says about replicas that end by themselves.
    pub deaths: mpsc::UnboundedReceiver<Death>,
    /// Turns true once every backend that there is from the start has been checked, so that traffic can wait for it.
    pub settled: watch::Sender<bool>,
    /// The access log, to be opened anew at each reload.
    pub access_log: Arc<AccessLog>,
    /// Where other balancers are met, if anywhere.
    pub store: Option<Box<dyn StateStore>>,
    /// Whether a predecessor serves until this balancer can: it is settled only with an eligible backend then.
    pub succeeds: bool,
    /// The order to end.
    pub ended: oneshot::Receiver<()>,
}

/// The control task's state.
pub struct Control {
    config: Arc<Config>,
    clock: Clock,
    metrics: Arc<Metrics>,
    chronicle: Arc<Chronicle>,
    registry: Arc<Registry>,
    rng: Rng,
    entries: Vec<Entry>,
    pool: Arc<PoolLoad>,
    ring: Arc<Ring>,
    hashing: Hashing,
    epoch: u64,
    panic: bool,
    /// Failing is the rule in the pool: no backend in particular is to blame.
    widespread: bool,
    settled: bool,
    last_second: Tick,
    shortage: memory::Shortage,
    next_memory: Tick,
    next_id: u64,
    next_ordinal: u32,
    /// Membership or weights have changed since the last snapshot.
    reshaped: bool,
    /// The same since the state file was written.
    unsaved: bool,
    /// Numbers of members that are still to join: given when they were called for, or before a restart.
    remembered: BTreeMap<String, u32>,
    /// Configured backends that `/rm` took out.
    retired: Vec<String>,
    supply: Supply,
    discovered: Discovered,
    sharing: Sharing,
    asker: Option<Rc<Asker>>,
    fetcher: Option<Rc<Fetcher>>,
    /// Membership is kept as it is: a successor reads it, or has it.
    held: bool,
    /// A predecessor serves until this one is settled.
    awaited: bool,
    /// What is opened anew at a reload.
    access_log: Option<Arc<AccessLog>>,
    events: Option<mpsc::UnboundedSender<Event>>,
    /// Answers that may go out once the change can be seen.
    answers: Vec<(oneshot::Sender<Answer>, Answer)>,
    scratch: Vec<f32>,
    /// How dear regions are, where they count.
    locality: Option<Arc<Locality>>,
    /// The regions that it is about.
    regions: Option<Arc<Regions>>,
    located: geo::Located,
    certificates: certificates::Certificates,
    limiters: Arc<[Arc<Limiter>]>,
}

impl Control {
    /// Publishes the first state to `registry`: what the configuration and the state file name, none of it checked yet.
    /// `shares` where other balancers will be met.
    #[must_use]
    pub fn new(
        config: &Arc<Config>,
        clock: Clock,
        metrics: &Arc<Metrics>,
        chronicle: &Arc<Chronicle>,
        registry: &Arc<Registry>,
        shares: bool,
    ) -> Self {
        let pool = Arc::new(if shares { PoolLoad::sharing() } else { PoolLoad::default() });
        let mut rng = clock::entropy();
        let mut control = Control {
            config: Arc::clone(config),
            clock,
            metrics: Arc::clone(metrics),
            chronicle: Arc::clone(chronicle),
            registry: Arc::clone(registry),
            sharing: Sharing::new(config, shares, &mut rng),
            rng,
            entries: Vec::new(),
            pool,
            ring: Arc::default(),
            hashing: Hashing::Ring { bound: None },
            epoch: 0,
            panic: false,
            widespread: false,
            settled: false,
            last_second: clock.now(),
            shortage: memory::Shortage::default(),
            next_memory: clock.now(),
            next_id: 1,
            next_ordinal: 1,
            reshaped: false,
            unsaved: false,
            remembered: BTreeMap::new(),
            retired: Vec::new(),
            supply: Supply::new(config, clock.now()),
            discovered: Discovered::default(),
            asker: None,
            fetcher: None,
            held: false,
            awaited: false,
            access_log: None,
            events: None,
            answers: Vec::new(),
            scratch: Vec::new(),
            locality: None,
            regions: None,
            located: geo::Located::default(),
            certificates: certificates::Certificates::default(),
            limiters: Limiter::all(&config.rate_limits, &[], metrics, shares),
        };
        metrics.series.set_budget(config.metrics.backends);
        zero::pool(metrics, &Kind::aborts(), &Kind::RETRIED, &Known::ALL.map(|(_, name)| name));
        zero::connections(metrics, &REFUSALS);
        zero::algorithm(metrics, config.pool.algorithm);
        control.locate();
        control.certify();
        control.restore();
        control.rederive(true);
        control.publish();
        // The file says as much already.
        control.unsaved = false;
        control
    }

    /// Starts checks and replicas and handles events until told to end; then stops the replicas.
    pub async fn run(mut self, wiring: Wiring) {
        let Wiring { mut inbox, events, provider, mut deaths, settled, access_log, store, .. } = wiring;
        let mut ended = wiring.ended;
        self.awaited = wiring.succeeds;
        (self.events, self.access_log) = (Some(events), Some(access_log));
        self.start_checks();
        self.start_scrapes(true);
        self.start_supply(provider);
        self.start_sharing(store);
        self.start_discovery();
        self.watch_database();
        self.watch_certificates();
        let period = if self.entries.len() > LARGE_POOL { SLOW_TICK } else { TICK };
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.announce(&settled);
            let mut changed = tokio::select! {
                Some(event) = inbox.recv() => self.handle(event),
                Some(death) = deaths.recv() => self.replica_died(death),
                _ = tick.tick() => self.ticked(),
                _ = &mut ended => break,
            };
            // One snapshot for all that has come meanwhile: a large pool's first checks end together.
            while let Ok(event) = inbox.try_recv() {
                changed |= self.handle(event);
            }
            if changed {
                self.publish();
            }
            self.save_changes();
            for (asker, answer) in self.answers.drain(..) {
                // Who asked may have gone: the change stands.
                let _ = asker.send(answer);
            }
        }
        // A successor has members of the same names: they are not away.
        if !self.held {
            self.part(&mut inbox).await;
        }
        self.end_sharing(&mut inbox).await;
        self.end_supply().await;
    }

    /// What is due at this moment; true where others must see a change.
    fn ticked(&mut self) -> bool {
        let now = self.clock.now();
        self.registry.load().view.refresh(now, &mut self.scratch);
        let changed = self.watch_traffic(now)
            | self.let_go(now)
            | self.forget_registered(now)
            | self.keep_number(now)
            | self.hand_over(now)
            | self.watch_memory(now);
        self.clear_series(now);
        changed | self.reshaped
    }

    fn announce(&mut self, settled: &watch::Sender<bool>) {
        if self.settled {
            return;
        }
        let unknown = |e: &Entry| e.checks.health() == Health::Unknown;
        let waits = self.checked_actively() && self.entries.iter().any(unknown);
        let found = self.discovered.settled(&self.config.discovery);
        // Whoever waits for us serves well enough to be replaced by somebody who serves only.
        let serves = !self.awaited || !self.registry.load().view.eligible().is_empty();
        if !waits && found && serves && self.supply.settled() && self.sharing.settled() {
            (self.settled, self.awaited) = (true, false);
            settled.send_replace(true);
        }
    }

    /// Takes an event in; true where others must see the change.
    fn handle(&mut self, event: Event) -> bool {
        match event {
            Event::Checked(verdict) => self.checked(verdict),
            Event::Scraped(scraped) => self.scraped(scraped),
            Event::Asked(ask, asker) => self.asked(ask, asker),
            Event::Adopted(running) => self.adopted(running),
            Event::Created(created) => self.created(created),
            Event::Scaled(scaled, asker) => self.scaled(scaled, asker),
            Event::Reread(occasion, read) => self.reread(occasion, read),
            Event::Located(origin, read) => self.relocated(&origin, read),
            Event::Certified(number, place, read) => self.certified(number, place, read),
            Event::Discovered(number, said) => self.discovered(number, said),
            Event::Telling(asker) => {
                // The exchange task may have been told to end.
                let _ = asker.send(self.offer());
                false
            }
            Event::Shared(round) => self.shared(round),
            Event::Upgrade(upgrade) => self.upgraded(upgrade),
        }
    }

    fn checked(&mut self, verdict: Verdict) -> bool {
        if self.config.health.is_none() {
            // Asked before checks were turned off.
            return false;
        }
        let Some(at) = self.entries.iter().position(|e| e.backend.id == verdict.backend) else {
            return false;
        };
        let now = self.clock.now();
        let entry = &mut self.entries[at];
        let (pool, name) = (self.metrics.pool.as_str(), entry.series.label());
        let result = if verdict.fault.is_none() { "pass" } else { "fail" };
        self.metrics.health_checks.with_label_values(&[pool, name, result]).inc();
        self.metrics.health_check_duration.with_label_values(&[pool]).observe(verdict.took.as_secs_f64());
        let was = entry.checks.health();
        let change = entry.checks.record(verdict.fault.is_none());
        // The prober waits to hear how soon to look again.
        let _ = verdict.pace.send(entry.checks.pace());
        match change {
            Some(Health::Up) => {
                entry.backend.load.forget(now, &self.pool);
                entry.weight.meter.forget();
                // It was gone for its checks too: what comes back is not what traffic condemned.
                entry.breaker.close(now);
                entry.backend.trial.withdraw();
                (entry.window, entry.counted) = (Window::new(), entry.backend.load.tallies());
                (entry.down_since, entry.was_up) = (None, true);
                let was = if was == Health::Unknown { "unknown" } else { "unhealthy" };
                let fact = Fact::Healthy { backend: entry.backend.name.clone(), was };
                self.tell(fact);
                self.warm_up(at, now);
            }
            Some(_) => {
                entry.down_since = Some(now);
                let reason = verdict.fault.unwrap_or_default();
                let fact = Fact::Unhealthy { backend: entry.backend.name.clone(), reason };
                self.tell(fact);
            }
            None => {}
        }
        change.is_some()
    }

    fn checked_actively(&self) -> bool {
        self.config.health.is_some()
    }

    /// Log, metrics and the stream of `/decisions` all come from here.
    fn tell(&self, fact: Fact) {
        self.chronicle.tell(clock::unix_millis(), fact);
    }
}

/// Writes the live numbers of every backend into the metrics: called before each scrape.
pub fn publish_loads(snapshot: &Snapshot, metrics: &Metrics, clock: &Clock) {
    let (view, now) = (&snapshot.view, clock.now());
    let weight = |backend: &Backend| f64::from(backend.weight);
    let mean = snapshot.backends.iter().map(|b| weight(b)).sum::<f64>() / snapshot.backends.len() as f64;
    for (at, backend) in snapshot.backends.iter().enumerate() {
        let own = weight(backend);
        let warmth = f64::from(view.given_weight(at)) / own;
        let live = Live { load: &backend.load, pool: view.pool(), weight: own / mean, warmth };
        // It may leave at this moment, and its gauges with it.
        metrics.series.of(&backend.name).write(|name| {
            live::publish_load(metrics, name, &live, now);
            live::publish_age(metrics, name, backend.scraped.load(Relaxed), now);
        });
    }
}
