//! Joining and leaving: `/add`, `/rm`, `/server_up`, and what the provider brings. All or nothing, one change at a time.

use std::sync::Arc;
use std::time::Duration;

use lb_core::fact::Fact;
use lb_core::health::Checks;
use lb_core::membership::{Refusal, plan_add, plan_remove, valid_name};
use lb_core::trial::Trial;
use lb_core::{Load, Tick};
use tokio::sync::oneshot;

use super::Control;
use super::entry::{Entry, Leaving, Origin};
use crate::config::{self, Address};
use crate::event::{Answer, Ask, Refused, Waiting};
use crate::observe::metrics::{forget_all, forget_gauges, forget_info};
use crate::observe::zero;
use crate::provision::Order;
use crate::registry::Backend;

/// Shortest drain, even with nothing in flight: by then every worker has the snapshot without the backend, and none can
/// still be about to send to it (workers look at least once a second).
pub(super) const DRAIN_LEAST: Duration = Duration::from_secs(2);
/// How long the counters of a backend that has left stay, so that the last scrape before it left is not its last word.
const SERIES_STAY: Duration = Duration::from_secs(60);

/// How long a registered backend may fail its checks before it is no member any more: longer than any redeployment.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Names whose series are removed in one tick: it takes a look at every series there is.
const CLEARED_AT_ONCE: usize = 100;

/// Who asked, and why it is refused.
type Unanswered = (oneshot::Sender<Answer>, Refused);

impl Control {
    /// Takes a request for a change in. Its answer goes out after the next publication, or when its replicas are up.
    pub(super) fn asked(&mut self, ask: Ask, asker: oneshot::Sender<Answer>) -> bool {
        if self.held {
            self.answer(asker, Err(Refused::Upgrading));
            return false;
        }
        if let Some((deployment, change)) = self.scales(&ask) {
            self.scale_pods(deployment, change, asker);
            return false;
        }
        let answer = match ask {
            Ask::Add { n, names } => match self.add(n, &names, asker) {
                Ok(()) => return true,
                Err((asker, refused)) => {
                    self.answer(asker, Err(refused));
                    return false;
                }
            },
            Ask::Remove { n, names } => self.remove(n, &names),
            Ask::Register { name, address } => self.register(name, address),
        };
        let changed = answer.is_ok();
        let answer = answer.map(|()| self.names());
        self.answer(asker, answer);
        changed
    }

    /// Members as users see them: not those that are leaving, in the order in which they came.
    pub(super) fn names(&self) -> Vec<String> {
        self.entries.iter().filter(|e| e.leaving.is_none()).map(|e| e.backend.name.clone()).collect()
    }

    /// Members and those that are being started: these make a pool full. Who only drains takes no room.
    pub(super) fn taken(&self) -> Vec<String> {
        self.names().into_iter().chain(self.supply.spoken_for()).collect()
    }

    /// Answers after the next publication.
    pub(super) fn answer(&mut self, asker: oneshot::Sender<Answer>, answer: Answer) {
        self.answers.push((asker, answer));
    }

    /// Starts `n` replicas; a named one that still drains is kept instead, and a configured backend that was removed is
    /// brought back. Without a provider, does the last alone. Who cannot be answered yet is answered by
    /// [`Control::created`].
    fn add(&mut self, n: usize, names: &[String], asker: oneshot::Sender<Answer>) -> Result<(), Unanswered> {
        if self.supply.provider().is_none() {
            return match self.bring_back(n, names) {
                Ok(()) => {
                    self.answer(asker, Ok(self.names()));
                    Ok(())
                }
                Err(refused) => Err((asker, refused)),
            };
        }
        let draining = |e: &&Entry| e.leaving.is_some() && e.origin == Origin::Replica;
        let draining = self.entries.iter().filter(draining).map(|e| e.backend.name.clone());
        let back: Vec<String> = draining.chain(self.retired.iter().cloned()).collect();
        let taken = self.taken();
        let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
        let most = self.config.control.max_backends;
        let (kept, planned): (Vec<String>, Vec<String>) =
            match plan_add(n, names, &taken, most, &mut self.rng) {
                Ok(planned) => planned.into_iter().partition(|name| back.contains(name)),
                Err(refusal) => return Err((asker, Refused::Unfit(refusal))),
            };
        self.recall(kept.clone());
        let replicas = &self.config.replicas;
        let order = |name| Order { name, weight: replicas.weight, region: replicas.region.clone() };
        let orders = planned.into_iter().map(order).collect();
        self.create(orders, Some(Waiting { asker, kept }));
        Ok(())
    }

    /// Undoes `/rm` of configured backends: those named, else the ones removed first.
    fn bring_back(&mut self, n: usize, names: &[String]) -> Result<(), Refused> {
        let removed: Vec<&str> = self.retired.iter().map(String::as_str).collect();
        let present = self.names();
        // The same rules as for taking away, from the list of the removed.
        let planned = match plan_remove(n, names, &removed, &mut self.rng) {
            Ok(planned) => planned,
            Err(Refusal::TooManyNames { .. }) => {
                return Err(Refused::Unfit(Refusal::TooManyNames { removable: false }));
            }
            Err(refusal @ (Refusal::NotPositive | Refusal::Repeated(_))) => {
                return Err(Refused::Unfit(refusal));
            }
            Err(Refusal::Unknown(name)) if present.contains(&name) => {
                return Err(Refused::Unfit(Refusal::Present(name)));
            }
            // Nobody has this name, and nobody could.
            Err(Refusal::Unknown(name)) if !valid_name(&name) => {
                return Err(Refused::Unfit(Refusal::Invalid(name)));
            }
            Err(_) => {
                return Err(Refused::Powerless(self.no_provider()));
            }
        };
        self.recall(planned);
        Ok(())
    }

    /// Who adds backends here, since `/add` cannot.
    fn no_provider(&self) -> String {
        let again = "only configured backends that /rm removed can be added again";
        match &self.config.discovery.finder {
            _ if matches!(self.config.replicas.provider, config::Provider::Kubernetes(_)) => {
                format!("<Error> hostnames: Kubernetes names its pods itself: ask for n of them; {again}")
            }
            Some(finder) => format!(
                "<Error> backends come here by discovery ({}): add them there; {again}",
                finder.name()
            ),
            None => format!(
                "<Error> this pool has no provider that can start replicas: {again}; set replicas.provider"
            ),
        }
    }

    /// Undoes removals: who still drains stays, configured backends that have left join again.
    pub(super) fn recall(&mut self, mut names: Vec<String>) {
        self.say_recalled(&names);
        self.retired.retain(|name| !names.contains(name));
        let config = Arc::clone(&self.config);
        let mut kept = Vec::new();
        // One that drains may have a predecessor of its name that drains, too: the later one is meant.
        for entry in self.entries.iter_mut().rev().filter(|e| e.leaving.is_some()) {
            let moved = |b: &&config::Backend| b.name == entry.backend.name && b.address.is_some();
            let address = config.pool.backends.iter().find(moved).and_then(|b| b.address.as_ref());
            let as_configured = address.is_none_or(|address| *address == entry.backend.address);
            if let Some(at) = names.iter().position(|name| as_configured && *name == entry.backend.name) {
                entry.leaving = None;
                kept.push(entry.backend.name.clone());
                names.remove(at);
            }
        }
        config.pool.backends.iter().filter(|b| names.contains(&b.name)).for_each(|b| self.join_new(b));
        // Replicas among them that others were told to be gone.
        for name in kept {
            if let Some(at) = self.entries.iter().position(|e| e.leaving.is_none() && e.backend.name == name)
            {
                self.say_joined(at);
            }
        }
        self.reshaped = true;
    }

    /// Takes `n` members out and drains them.
    fn remove(&mut self, n: usize, names: &[String]) -> Result<(), Refused> {
        let found = self.found_names();
        if let Some(name) = names.iter().find(|name| found.contains(name.as_str())) {
            return Err(Refused::Powerless(self.is_discovered(name)));
        }
        let members: Vec<String> =
            self.names().into_iter().filter(|name| !found.contains(name.as_str())).collect();
        if let (true, Some(name)) = (members.is_empty(), found.first()) {
            return Err(Refused::Powerless(self.is_discovered(name)));
        }
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let planned = plan_remove(n, names, &members, &mut self.rng).map_err(Refused::Unfit)?;
        for name in &planned {
            self.leave(name, true);
        }
        Ok(())
    }

    fn is_discovered(&self, name: &str) -> String {
        let source = self.config.discovery.finder.as_ref().map_or("discovery", config::Finder::name);
        format!("<Error> hostnames: '{name}' is discovered by {source}: take it out there")
    }

    /// A backend announces itself: new, or known and perhaps just back. Said again, it changes nothing.
    fn register(&mut self, name: String, address: Address) -> Result<(), Refused> {
        let staying = |e: &&Entry| e.leaving.is_none();
        let here = self.entries.iter().filter(staying).find(|e| e.backend.address == address);
        if here.is_some_and(|e| e.origin != Origin::Registered || e.backend.name == name) {
            self.nudge_all(&address);
            return Ok(());
        }
        let ours = |e: &Entry| e.backend.name == name && e.origin != Origin::Registered;
        if let Some(entry) = self.entries.iter().find(|e| ours(e)) {
            return match entry.leaving {
                None => Err(Refused::Unfit(Refusal::Present(name))),
                // One of ours that is on its way out: whoever lets it go stops it, too.
                Some(_) => Ok(()),
            };
        }
        // The same server is back at a new address, or another one is where one was.
        let old = |e: &Entry| {
            e.origin == Origin::Registered && (e.backend.name == name || e.backend.address == address)
        };
        let replaced = self.entries.iter().filter(staying).filter(|e| old(e)).count();
        let most = self.config.control.max_backends;
        if self.taken().len() - replaced >= most {
            return Err(Refused::Unfit(Refusal::Full { most }));
        }
        while let Some(at) = self.entries.iter().position(old) {
            self.drop_entry(at);
        }
        let at = self.join(Origin::Registered, &name, address, 1, "");
        self.count_joined(at);
        Ok(())
    }

    /// Has whoever is at this address checked at once.
    fn nudge_all(&self, address: &Address) {
        (0..self.entries.len())
            .filter(|&at| self.entries[at].backend.address == *address)
            .for_each(|at| self.nudge(at));
    }

    /// Registered backends that have been gone for long are taken for gone for good: whoever comes back registers again.
    pub(super) fn forget_registered(&mut self, now: Tick) -> bool {
        let gone = |e: &Entry| {
            matches!(e.origin, Origin::Registered | Origin::Shared)
                && e.leaving.is_none()
                && e.down_since.is_some_and(|since| now.since(since) >= FORGET_AFTER)
                && self.may_forget(e)
        };
        let Some(at) = self.entries.iter().position(gone) else { return false };
        let name = self.entries[at].backend.name.clone();
        self.leave(&name, false);
        true
    }

    /// A new member, not eligible before its first check passes; returns its position. Whoever knows where it is known from
    /// says so by [`Control::count_joined`].
    pub(super) fn join(
        &mut self,
        origin: Origin,
        name: &str,
        address: Address,
        weight: u32,
        region: &str,
    ) -> usize {
        let series = self.metrics.series.join(name);
        // Whatever it was before, it may be elsewhere now.
        forget_info(&self.metrics, name);
        let secure = self.config.pool.secures(name, &address);
        zero::backend(&self.metrics, &series, secure.is_some());
        let backend = Backend {
            id: self.next_id,
            name: name.to_owned(),
            host: host_header(&address),
            secure,
            address,
            weight,
            region: region.to_owned(),
            load: Arc::new(Load::new()),
            trial: Arc::new(Trial::new()),
            scraped: Arc::default(),
            taken: Arc::default(),
        };
        self.next_id += 1;
        let (rise, fall) = self.config.health.as_ref().map_or((1, 1), |h| (h.rise, h.fall));
        let fact = Fact::Joined { backend: name.to_owned(), address: backend.address.to_string() };
        let ordinal = self.remembered.remove(name).unwrap_or_else(|| {
            self.next_ordinal += 1;
            self.next_ordinal - 1
        });
        let entry = Entry::new(backend, series, ordinal, origin, Checks::new(rise, fall), self.clock.now());
        // In the order of their numbers, which is the order in which they were called for.
        let at = self.entries.partition_point(|e| e.ordinal < ordinal);
        self.entries.insert(at, entry);
        self.reshaped = true;
        if self.config.health.is_none() {
            self.warm_up(at, self.clock.now());
        }
        self.probe(at);
        self.scrape(at);
        self.tell(fact);
        self.say_joined(at);
        at
    }

    /// Counts a new member under where it is known from.
    pub(super) fn count_joined(&self, at: usize) {
        let source = self.entries[at].known().name();
        self.metrics.discovery_events.with_label_values(&[source, "joined"]).inc();
    }

    /// No new requests for `name`; it is gone once nothing is in flight. `retire` remembers that its operator wanted so.
    pub(super) fn leave(&mut self, name: &str, retire: bool) {
        let now = self.clock.now();
        let until = now.after(self.config.timeouts.drain.max(DRAIN_LEAST));
        let Some(entry) = self.entries.iter_mut().find(|e| e.backend.name == name && e.leaving.is_none())
        else {
            return;
        };
        entry.leaving = Some(Leaving { since: now, until });
        self.reshaped = true;
        let (in_flight, origin) = (entry.backend.load.in_flight(), entry.origin);
        if retire && origin == Origin::Configured {
            self.retired.push(name.to_owned());
        }
        self.say_left(name, origin, retire);
        self.tell(Fact::Draining { backend: name.to_owned(), in_flight });
    }

    /// Lets those go that have drained; true where there were any.
    pub(super) fn let_go(&mut self, now: Tick) -> bool {
        let drained = |e: &Entry| {
            e.leaving.is_some_and(|l| {
                now >= l.until || (e.backend.load.in_flight() == 0 && now.since(l.since) >= DRAIN_LEAST)
            })
        };
        let mut changed = false;
        while let Some(at) = self.entries.iter().position(drained) {
            let (name, origin) = (self.entries[at].backend.name.clone(), self.entries[at].origin);
            self.drop_entry(at);
            if origin == Origin::Replica {
                self.stop_replica(name);
            }
            changed = true;
        }
        changed
    }

    /// Out of the pool, whatever is in flight.
    pub(super) fn drop_entry(&mut self, at: usize) {
        let entry = self.entries.remove(at);
        self.reshaped = true;
        let backend = entry.backend.name.clone();
        if entry.leaving.is_none() {
            self.say_left(&backend, entry.origin, false);
        }
        if self.metrics.series.leave(&backend, self.clock.now().after(SERIES_STAY)) {
            forget_gauges(&self.metrics, &backend);
        } else {
            // Its successor under the same name, or the rest of the folded, go on with its series.
            forget_info(&self.metrics, &backend);
        }
        self.metrics.discovery_events.with_label_values(&[entry.known().name(), "left"]).inc();
        self.tell(Fact::Left { backend, in_flight: entry.backend.load.in_flight() });
    }

    /// Drops the series of those that left long enough ago.
    pub(super) fn clear_series(&mut self, now: Tick) {
        let names = self.metrics.series.close(now, CLEARED_AT_ONCE);
        if !names.is_empty() {
            forget_all(&self.metrics, &names);
        }
    }
}

fn host_header(address: &Address) -> hyper::header::HeaderValue {
    // An address that passed the configuration's checks is always a valid header value.
    hyper::header::HeaderValue::from_str(&address.to_string())
        .unwrap_or(hyper::header::HeaderValue::from_static("backend"))
}
