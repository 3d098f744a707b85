//! The single writer: whatever changes the pool arrives here as an [`Event`] and leaves as one new snapshot.
//!
//! It also ticks: estimates that depend on the passing of time are brought up to date here, so that a pick never has to.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lb_core::health::{Checks, Health};
use lb_core::ring::Ring;
use lb_core::{Load, Member, PoolLoad, View};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::config::{Address, Config};
use crate::event::{Event, Verdict};
use crate::observe::{Metrics, local};
use crate::registry::{Backend, Registry, Snapshot};

mod prober;
mod publish;

pub use prober::{Asker, Prober};

/// Between refreshes of the loads.
const TICK: Duration = Duration::from_millis(20);
/// The same for pools of more than [`LARGE_POOL`] members, where a refresh is worth a millisecond.
const SLOW_TICK: Duration = Duration::from_millis(100);
/// Members above which the slow tick is used.
const LARGE_POOL: usize = 1_000;

/// One backend as the control side knows it.
struct Entry {
    backend: Arc<Backend>,
    ordinal: u32,
    checks: Checks,
}

impl Entry {
    fn eligible(&self, checked: bool) -> bool {
        !checked || self.checks.health() == Health::Up
    }
}

/// The control task's state.
pub struct Control {
    config: Arc<Config>,
    clock: Clock,
    metrics: Arc<Metrics>,
    registry: Arc<Registry>,
    entries: Vec<Entry>,
    pool: Arc<PoolLoad>,
    ring: Arc<Ring>,
    epoch: u64,
    /// Where to have a backend checked at once.
    nudges: HashMap<u64, mpsc::Sender<()>>,
}

impl Control {
    /// The first state: every configured backend, none checked yet.
    #[must_use]
    pub fn new(config: &Arc<Config>, clock: Clock, metrics: &Arc<Metrics>) -> Self {
        let (rise, fall) = config.health.as_ref().map_or((1, 1), |h| (h.rise, h.fall));
        let entries: Vec<Entry> = config
            .pool
            .backends
            .iter()
            .zip(1u32..)
            .map(|(b, ordinal)| Entry {
                backend: Arc::new(Backend {
                    id: u64::from(ordinal),
                    name: b.name.clone(),
                    host: host_header(&b.address),
                    address: b.address.clone(),
                    weight: b.weight,
                    region: b.region.clone(),
                    load: Arc::new(Load::new()),
                }),
                ordinal,
                checks: Checks::new(rise, fall),
            })
            .collect();
        let pool = Arc::new(PoolLoad::default());
        let members = members(&entries, config.health.is_some());
        let ring = View::ring_of(&members, config.hash.points);
        let first = publish::snapshot(config, &entries, &pool, &ring, 0);
        let control = Control {
            config: Arc::clone(config),
            clock,
            metrics: Arc::clone(metrics),
            registry: Registry::new(first),
            entries,
            pool,
            ring,
            epoch: 0,
            nudges: HashMap::new(),
        };
        publish::describe(metrics, &control.entries, config.health.is_some());
        control
    }

    /// Where readers find the snapshot.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Starts the checks and handles events until every sender is gone. `settled` is told once every backend has been
    /// checked for the first time, so that traffic can wait for it.
    pub async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<Event>,
        sender: mpsc::UnboundedSender<Event>,
        settled: tokio::sync::watch::Sender<bool>,
    ) {
        if let Err(error) = self.start_checks(&sender) {
            return tracing::error!(%error, "health checks cannot start");
        }
        drop(sender);
        let period = if self.entries.len() > LARGE_POOL { SLOW_TICK } else { TICK };
        let mut tick = tokio::time::interval(period);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut scratch = Vec::new();
        self.announce(&settled);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => {
                        let mut changed = self.handle(event);
                        // One snapshot for all that has come meanwhile: a large pool's first checks end together.
                        while let Ok(event) = events.try_recv() {
                            changed |= self.handle(event);
                        }
                        if changed {
                            self.publish();
                        }
                        self.announce(&settled);
                    }
                    None => return,
                },
                _ = tick.tick() => self.registry.load().view.refresh(self.clock.now(), &mut scratch),
            }
        }
    }

    fn start_checks(&mut self, sender: &mpsc::UnboundedSender<Event>) -> reqwest::Result<()> {
        let Some(health) = &self.config.health else { return Ok(()) };
        let asker = Asker::new(health.timeout)?;
        for entry in &self.entries {
            let (nudge, nudged) = mpsc::channel(1);
            self.nudges.insert(entry.backend.id, nudge);
            let prober = Prober::new(&asker, &entry.backend, health, sender.clone(), self.clock);
            tokio::task::spawn_local(prober.run(nudged));
        }
        Ok(())
    }

    fn announce(&self, settled: &tokio::sync::watch::Sender<bool>) {
        let unknown = |e: &Entry| e.checks.health() == Health::Unknown;
        if self.config.health.is_none() || !self.entries.iter().any(unknown) {
            settled.send_if_modified(|done| !std::mem::replace(done, true));
        }
    }

    /// Takes an event in; true where others must see the change.
    fn handle(&mut self, event: Event) -> bool {
        match event {
            Event::Checked(verdict) => self.checked(verdict),
            Event::Suspect(id) => {
                let Some(entry) = self.entries.iter_mut().find(|e| e.backend.id == id) else { return false };
                entry.checks.suspect();
                tracing::warn!(backend = entry.backend.name, "connections keep failing: checking at once");
                if let Some(nudge) = self.nudges.get(&id) {
                    // A full channel means that a check is due anyway.
                    let _ = nudge.try_send(());
                }
                false
            }
        }
    }

    fn checked(&mut self, verdict: Verdict) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|e| e.backend.id == verdict.backend) else {
            return false;
        };
        let (pool, name) = (self.metrics.pool.as_str(), entry.backend.name.as_str());
        let result = if verdict.fault.is_none() { "pass" } else { "fail" };
        self.metrics.health_checks.with_label_values(&[pool, name, result]).inc();
        self.metrics.health_check_duration.with_label_values(&[pool]).observe(verdict.took.as_secs_f64());
        let change = entry.checks.record(verdict.fault.is_none());
        // The prober waits to hear how soon to look again.
        let _ = verdict.pace.send(entry.checks.pace());
        match change {
            Some(Health::Up) => {
                entry.backend.load.forget(self.clock.now(), &self.pool);
                tracing::info!(backend = name, "healthy");
            }
            Some(_) => {
                tracing::warn!(backend = name, reason = verdict.fault.unwrap_or_default(), "unhealthy");
            }
            None => {}
        }
        change.is_some()
    }

    /// The only place that publishes.
    fn publish(&mut self) {
        self.epoch += 1;
        self.registry.publish(publish::snapshot(
            &self.config,
            &self.entries,
            &self.pool,
            &self.ring,
            self.epoch,
        ));
        publish::describe(&self.metrics, &self.entries, self.config.health.is_some());
    }
}

/// Writes the live numbers of every backend into the metrics: called before each scrape.
pub fn publish_loads(snapshot: &Snapshot, metrics: &Metrics, clock: &Clock) {
    for backend in &snapshot.backends {
        local::publish_load(metrics, &backend.name, &backend.load, clock.now());
    }
}

fn members(entries: &[Entry], checked: bool) -> Vec<Member> {
    let member = |e: &Entry| Member {
        name_hash: lb_core::hash::hash64(e.backend.name.as_bytes()),
        ordinal: e.ordinal,
        weight: e.backend.weight,
        warmth: 1.0,
        eligible: e.eligible(checked),
        load: Arc::clone(&e.backend.load),
    };
    entries.iter().map(member).collect()
}

fn host_header(address: &Address) -> hyper::header::HeaderValue {
    // An address that passed the configuration's checks is always a valid header value.
    hyper::header::HeaderValue::from_str(&address.to_string())
        .unwrap_or(hyper::header::HeaderValue::from_static("backend"))
}
