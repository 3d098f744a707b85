//! A new configuration without a new process: the file is watched, and SIGHUP has it read at once.
//!
//! All or nothing: a file with faults, or one that changes what only a start can change, is refused, the old configuration
//! stays in force, and metrics and log say so. Backends that stay keep their loads, latencies and connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_core::fact::Fact;
use lb_core::health::Checks;
use tokio::sync::mpsc;

use super::Control;
use super::entry::{Entry, Origin};
use super::prober::Asker;
use crate::config::{Config, Fault, Faults};
use crate::event::{Event, Occasion};
use crate::limiter::Limiter;
use crate::observe::metrics::forget_info;
use crate::observe::zero;
use crate::registry::Backend;

/// Between looks at the file. Looking is reading: that also sees what a swapped symbolic link (a ConfigMap) hides from
/// watches, and costs a few microseconds.
const LOOK: Duration = Duration::from_secs(1);

/// Where a configuration comes from, to be read again.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The environment laid over it.
    pub env: Vec<(String, String)>,
}

impl Source {
    /// Reads it.
    ///
    /// # Errors
    /// All faults at once.
    pub fn load(&self) -> Result<Config, Faults> {
        Config::load(&self.path, self.env.iter().cloned())
    }

    /// Tells `events` of every change, and of every order to look, until one of them is gone.
    pub(crate) async fn watch(
        self,
        mut orders: mpsc::UnboundedReceiver<()>,
        events: mpsc::UnboundedSender<Event>,
    ) {
        let read = || std::fs::read(&self.path).ok();
        let mut applied = read();
        let mut last = applied.clone();
        loop {
            let occasion = tokio::select! {
                () = tokio::time::sleep(LOOK) => {
                    let seen = read();
                    // Twice the same: nobody is in the middle of writing it. A file that is gone is no configuration.
                    let settled = seen == last;
                    last = seen;
                    if !settled || last == applied || last.is_none() {
                        continue;
                    }
                    Occasion::File
                }
                order = orders.recv() => match order {
                    Some(()) => Occasion::Signal,
                    None => return,
                },
            };
            applied = read();
            last.clone_from(&applied);
            // A configuration may name a large database: the control task goes on meanwhile.
            let source = self.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || source.load()).await else { return };
            if events.send(Event::Reread(occasion, read.map(Box::new))).is_err() {
                return;
            }
        }
    }
}

impl Control {
    /// Puts a configuration in force, or says why not.
    pub(super) fn reread(&mut self, occasion: Occasion, read: Result<Box<Config>, Faults>) -> bool {
        let checked = read.and_then(|next| {
            let fixed = fixed(&self.config, &next);
            if !fixed.0.is_empty() {
                return Err(fixed);
            }
            self.turn_log(&next)?;
            Ok(next)
        });
        let result = if checked.is_ok() { "applied" } else { "refused" };
        tracing::info!(target: "audit", who = occasion.who(), result, "reload");
        match checked {
            Ok(next) => {
                let changed = changed(&self.config, &next);
                let before = self.config.pool.algorithm;
                self.apply(*next);
                self.tell(Fact::Reloaded { changed });
                if before != self.config.pool.algorithm {
                    let (from, to) = (before.name(), self.config.pool.algorithm.name());
                    self.tell(Fact::Switched { from, to, reason: "reload" });
                    zero::algorithm(&self.metrics, self.config.pool.algorithm);
                }
                true
            }
            Err(faults) => {
                // What the values were is in the file: `load-balancer check` shows them to whoever may read it.
                self.tell(Fact::ReloadRefused { faults: faults.without_values() });
                false
            }
        }
    }

    /// Opens the access log, anew even where it is the same: it may have been moved away.
    fn turn_log(&self, next: &Config) -> Result<(), Faults> {
        let (Some(log), Some(_)) = (&self.access_log, next.access_log.format) else { return Ok(()) };
        let opened = log.open(&next.access_log.to, next.access_log.queue);
        opened.map_err(|error| Faults::one("access_log.path", "", format!("cannot be opened: {error}")))
    }

    fn apply(&mut self, next: Config) {
        let before = std::mem::replace(&mut self.config, Arc::new(next));
        let now = Arc::clone(&self.config);
        self.metrics.series.set_budget(now.metrics.backends);
        if before.health.is_none() {
            // They have served without being asked: they are up until a check says otherwise.
            for entry in &mut self.entries {
                entry.checks = Checks::new(1, 1);
                entry.checks.record(true);
            }
        }
        for old in &before.pool.backends {
            let stays = now.pool.backends.iter().any(|b| is_same(b, old));
            if !stays {
                self.leave(&old.name, false);
                self.supply.cancel(&old.name);
                self.retired.retain(|name| *name != old.name);
            }
        }
        for new in &now.pool.backends {
            match before.pool.backends.iter().find(|b| is_same(b, new)) {
                Some(old) if old != new => self.reweigh(new),
                Some(_) => {}
                None if new.address.is_none() && self.entries.iter().any(|e| is_replica(e, &new.name)) => {
                    // It runs already, if only to drain.
                    self.recall(vec![new.name.clone()]);
                    self.reweigh(new);
                }
                None => {
                    self.say_named_anew(&new.name);
                    // Whoever came under this name otherwise makes way; who is just being started comes anyway.
                    self.leave(&new.name, false);
                    if !self.supply.spoken_for().any(|name| name == new.name) {
                        self.join_new(new);
                    }
                }
            }
        }
        self.certify();
        self.limiters = Limiter::all(&now.rate_limits, &self.limiters, &self.metrics, self.shares());
        if before.hash != now.hash {
            self.rederive(true);
        }
        if before.discovery != now.discovery {
            self.start_discovery();
        }
        // Names and addresses may be taken now, or free.
        self.follow_found();
        self.reshaped = true;
        if before.geo != now.geo {
            self.locate();
            self.watch_database();
        }
        let reached = |config: &Config| (config.pool.proxy_protocol, config.pool.protocol);
        if before.health != now.health || reached(&before) != reached(&now) {
            self.asker = None;
            for entry in &mut self.entries {
                if let Some((prober, _)) = entry.prober.take() {
                    prober.abort();
                }
                match &now.health {
                    Some(health) => entry.checks.set(health.rise, health.fall),
                    None => entry.down_since = None,
                }
            }
            self.start_checks();
        }
        if before.signals != now.signals || reached(&before) != reached(&now) {
            let read = |signals: &crate::config::Signals| {
                let scrape = signals.scrape.as_ref();
                (scrape.map(|s| (s.source, s.path.clone(), s.port, s.map.clone())), signals.headers)
            };
            self.start_scrapes(read(&before.signals) != read(&now.signals));
        }
    }

    /// A new weight or region for the same server: everything learned about it stays.
    fn reweigh(&mut self, new: &crate::config::Backend) {
        let same = |e: &Entry| {
            e.backend.name == new.name && matches!(e.origin, Origin::Configured | Origin::Replica)
        };
        if let Some(at) = self.entries.iter().rposition(same) {
            self.reweigh_at(at, new.weight, &new.region);
        }
    }

    /// The same for the entry at `at`; nothing where nothing differs.
    pub(super) fn reweigh_at(&mut self, at: usize, weight: u32, region: &str) {
        let entry = &mut self.entries[at];
        let old = Arc::clone(&entry.backend);
        if old.weight == weight && old.region == region {
            return;
        }
        entry.backend = Arc::new(Backend {
            weight,
            region: region.to_owned(),
            name: old.name.clone(),
            address: old.address.clone(),
            secure: old.secure.clone(),
            host: old.host.clone(),
            load: Arc::clone(&old.load),
            trial: Arc::clone(&old.trial),
            scraped: Arc::clone(&old.scraped),
            taken: Arc::clone(&old.taken),
            id: old.id,
        });
        let name = old.name.clone();
        forget_info(&self.metrics, &name);
        self.reshaped = true;
    }

    /// Checks for every member that has none yet.
    pub(super) fn start_checks(&mut self) {
        if let Some(health) = &self.config.health {
            self.asker = Some(Asker::new(health.timeout));
        }
        (0..self.entries.len()).for_each(|at| self.probe(at));
    }
}

/// Whether the two are one server that is spoken with in one way.
fn is_same(a: &crate::config::Backend, b: &crate::config::Backend) -> bool {
    (&a.name, &a.address, a.tls, &a.server_name) == (&b.name, &b.address, b.tls, &b.server_name)
}

fn is_replica(entry: &Entry, name: &str) -> bool {
    entry.origin == Origin::Replica && entry.backend.name == name
}

/// What only a start can change, where it differs.
fn fixed(old: &Config, new: &Config) -> Faults {
    let differs = [
        ("workers", old.workers != new.workers),
        ("listen.traffic", old.listen.traffic != new.listen.traffic),
        ("listen.admin", old.listen.admin != new.listen.admin),
        ("listen.tls", old.listen.tls != new.listen.tls),
        ("tls.certificate", old.tls.is_some() != new.tls.is_some()),
        ("tls.admin.certificate", old.admin_tls.is_some() != new.admin_tls.is_some()),
        ("pool.tls.enabled", old.pool.tls.enabled != new.pool.tls.enabled),
        ("pool.tls.server_name", old.pool.tls.server_name != new.pool.tls.server_name),
        ("pool.name", old.pool.name != new.pool.name),
        ("limits.connections", old.limits.connections != new.limits.connections),
        ("replicas.provider", old.replicas.provider != new.replicas.provider),
        ("state.file", old.state != new.state),
        ("traces.endpoint", old.traces.endpoint != new.traces.endpoint),
        ("traces.protocol", old.traces.protocol != new.traces.protocol),
        ("traces.service", old.traces.service != new.traces.service),
        ("traces.timeout", old.traces.timeout != new.traces.timeout),
        ("traces.queue", old.traces.queue != new.traces.queue),
        ("store", old.store != new.store),
    ];
    let fault = |field: &str| Fault {
        field: field.to_owned(),
        value: String::new(),
        remedy: "cannot change while running: restart the balancer, or put the old value back".to_owned(),
    };
    Faults(differs.iter().filter(|(_, differs)| *differs).map(|(field, _)| fault(field)).collect())
}

/// Sections that differ.
fn changed(old: &Config, new: &Config) -> Vec<String> {
    let differs = [
        ("pool", old.pool != new.pool),
        ("tls", old.tls != new.tls || old.admin_tls != new.admin_tls),
        ("algo", old.choosers != new.choosers),
        ("client", old.client != new.client),
        ("proxy_protocol", old.proxy_protocol != new.proxy_protocol),
        ("hash", old.hash != new.hash),
        ("timeouts", old.timeouts != new.timeouts),
        ("limits", old.limits != new.limits),
        ("queue", old.queue != new.queue),
        ("rate_limits", old.rate_limits != new.rate_limits),
        ("retry", old.retry != new.retry),
        ("health", old.health != new.health),
        ("ejection", old.ejection != new.ejection),
        ("control", old.control != new.control),
        ("signals", old.signals != new.signals),
        ("discovery", old.discovery != new.discovery),
        ("replicas", old.replicas != new.replicas),
        ("decisions", old.decisions != new.decisions),
        ("metrics", old.metrics != new.metrics),
        ("geo", old.geo != new.geo),
        ("traces", old.traces != new.traces),
        ("access_log", old.access_log != new.access_log),
    ];
    differs.iter().filter(|(_, differs)| *differs).map(|(section, _)| (*section).to_owned()).collect()
}
