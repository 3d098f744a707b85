//! What a source of discovery says, carried out: who is new joins, who is gone or on its way out drains, who comes back
//! while it still drains is kept.
//!
//! Each list is compared with the members there are, so that nothing can be missed and nothing is done twice. A member that
//! is to leave is held while those that stay cannot take over yet: a list that replaces everybody would otherwise leave a
//! pool of backends that no check has passed. What a source cannot say changes nothing: the last list holds. Names and
//! addresses that others of the pool have already are left out, as is what is more than `control.max_backends`.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use lb_core::Tick;
use lb_core::fact::Fact;
use lb_core::health::Health;
use tokio::task::AbortHandle;

use super::Control;
use super::entry::{Entry, Known, Origin};
use crate::clock;
use crate::config::Discovery;
use crate::discovery::{self, Found, Said};

/// Longest that a member which a source no longer names is held for newcomers: some checks, while a new backend begins.
const HANDOVER: Duration = Duration::from_secs(10);
/// Names of those left out that a log line has.
const SHOWN: usize = 5;

/// What is known from the source.
#[derive(Default)]
pub(super) struct Discovered {
    /// Of the source that is asked now: counts starts.
    number: u64,
    running: Option<AbortHandle>,
    /// What it said last.
    list: Option<Rc<[Found]>>,
    /// Why it could not be asked since.
    fault: Option<String>,
    /// Ids of members that are to leave.
    held: BTreeMap<u64, Held>,
    /// Found, but no members.
    left_out: BTreeSet<String>,
}

/// A member that is to leave.
#[derive(Clone, Copy)]
struct Held {
    since: Tick,
    /// The source does not name it any more, so nobody says that it still serves.
    gone: bool,
}

impl Discovered {
    /// Whether there is no first list to wait for.
    pub(super) fn settled(&self, config: &Discovery) -> bool {
        config.finder.is_none() || self.list.is_some()
    }

    /// Why there is no list that could be relied on; `None` where all is well.
    pub(super) fn trouble(&self, config: &Discovery) -> Option<String> {
        let source = config.finder.as_ref()?.name();
        match (&self.fault, &self.list) {
            (Some(reason), _) => Some(format!("discovery by {source} fails: {reason}")),
            (None, None) => Some(format!("discovery by {source} has said nothing yet")),
            (None, Some(_)) => None,
        }
    }
}

impl Control {
    /// Asks the source that the configuration names, and no other any more.
    pub(super) fn start_discovery(&mut self) {
        if let Some(before) = self.discovered.running.take() {
            before.abort();
        }
        self.discovered.number += 1;
        self.discovered.left_out.clear();
        (self.discovered.list, self.discovered.fault) = (None, None);
        for gauges in [&self.metrics.discovery_up, &self.metrics.discovery_left_out] {
            gauges.reset();
        }
        self.metrics.discovery_synced.reset();
        let settings = &self.config.discovery;
        let (Some(finder), Some(events)) = (settings.finder.clone(), self.events.clone()) else {
            // Nobody names them any more.
            self.discovered.list = Some(Rc::default());
            self.follow_found();
            self.discovered.list = None;
            return;
        };
        let source = [finder.name()];
        self.metrics.discovery_up.with_label_values(&source).set(0);
        self.metrics.discovery_left_out.with_label_values(&source).set(0);
        self.metrics.discovery_errors.with_label_values(&source);
        let running = discovery::start(finder, settings, self.discovered.number, events);
        self.discovered.running = Some(running);
    }

    /// The source has said something; true where others must see a change.
    pub(super) fn discovered(&mut self, number: u64, said: Said) -> bool {
        let Some(finder) = self.config.discovery.finder.clone() else { return false };
        if number != self.discovered.number {
            // From before a reload.
            return false;
        }
        let source = finder.name();
        let before = self.discovered.trouble(&self.config.discovery);
        self.metrics.discovery_up.with_label_values(&[source]).set(i64::from(said.is_ok()));
        match said {
            Ok(mut list) => {
                let at = clock::unix_millis() as f64 / 1e3;
                self.metrics.discovery_synced.with_label_values(&[source]).set(at);
                if self.discovered.fault.take().is_some() {
                    self.tell(Fact::DiscoveryBack { source, backends: list.len() });
                }
                // All balancers, and each start, bring them in alike.
                list.sort_by(|a, b| a.name.cmp(&b.name));
                list.dedup_by(|again, first| again.name == first.name);
                self.discovered.list = Some(list.into());
                self.follow_found();
            }
            Err(reason) => {
                self.metrics.discovery_errors.with_label_values(&[source]).inc();
                tracing::debug!(source, reason, "discovery failed");
                if self.discovered.fault.replace(reason.clone()).is_none() {
                    let backends = self.discovered.list.as_ref().map_or(0, |list| list.len());
                    self.tell(Fact::DiscoveryLost { source, reason, backends });
                }
            }
        }
        // A list that says the same again is no news.
        self.reshaped || before != self.discovered.trouble(&self.config.discovery)
    }

    /// Once a second: whoever had to be left out may have room now, and a last resort may no longer be needed.
    pub(super) fn settle_discovery(&mut self) {
        let draining = self.discovered.list.iter().flat_map(|list| list.iter()).any(|found| found.draining);
        if draining || !self.discovered.left_out.is_empty() {
            self.follow_found();
        }
    }

    /// Makes the members those that the list names.
    pub(super) fn follow_found(&mut self) {
        let Some(list) = self.discovered.list.clone() else { return };
        let other = |e: &&Entry| e.leaving.is_none() && !is_found(e);
        let mut taken: BTreeSet<String> = self.entries.iter().filter(other).flat_map(called).collect();
        // A pool is not emptied because all of it is on its way out: as long as they serve, they are better than nobody.
        let alone = taken.is_empty();
        taken.extend(self.config.pool.backends.iter().map(|b| b.name.clone()));
        taken.extend(self.supply.spoken_for());
        let last_resort = alone && list.iter().all(|found| found.draining);
        let wanted: BTreeMap<&str, &Found> = list
            .iter()
            .filter(|found| last_resort || !found.draining)
            .map(|found| (found.name.as_str(), found))
            .collect();
        self.part_with(&list, &wanted, &taken);
        let mut left_out = BTreeSet::new();
        for found in wanted.into_values() {
            if !self.take_in(found, &taken) {
                left_out.insert(found.name.clone());
            }
        }
        self.say_left_out(left_out);
        self.hand_over(self.clock.now());
    }

    /// Settles who stays and who is to leave.
    fn part_with(&mut self, list: &[Found], wanted: &BTreeMap<&str, &Found>, taken: &BTreeSet<String>) {
        let now = self.clock.now();
        let named: BTreeMap<&str, &Found> = list.iter().map(|found| (found.name.as_str(), found)).collect();
        let mut at_once = Vec::new();
        for entry in self.entries.iter().filter(|e| e.leaving.is_none() && is_found(e)) {
            let (backend, name) = (&entry.backend, entry.backend.name.as_str());
            let found = named.get(name);
            let moved = found.is_some_and(|found| found.address != backend.address);
            if moved || called(entry).iter().any(|called| taken.contains(called)) {
                // It is elsewhere, or is somebody else's now.
                at_once.push(name.to_owned());
            } else if wanted.contains_key(name) {
                self.discovered.held.remove(&backend.id);
            } else {
                let held = self.discovered.held.entry(backend.id).or_insert(Held { since: now, gone: false });
                held.gone = found.is_none();
            }
        }
        at_once.iter().for_each(|name| self.leave(name, false));
    }

    /// Sees to it that one that is found is a member; false where it cannot be.
    fn take_in(&mut self, found: &Found, taken: &BTreeSet<String>) -> bool {
        let Some(known) = self.config.discovery.finder.as_ref().map(Known::by) else { return false };
        let same =
            |e: &Entry| is_found(e) && e.backend.name == found.name && e.backend.address == found.address;
        let at = match self.entries.iter().rposition(same) {
            Some(at) if self.entries[at].leaving.is_none() => at,
            before => {
                if taken.contains(&found.name) || taken.contains(&found.address.to_string()) || self.is_full()
                {
                    return false;
                }
                match before {
                    Some(at) => {
                        // It still drains.
                        self.entries[at].leaving = None;
                        self.reshaped = true;
                        at
                    }
                    None => {
                        let (name, address) = (&found.name, found.address.clone());
                        let origin = Origin::Discovered(known);
                        let at = self.join(origin, name, address, found.weight, &found.region);
                        self.count_joined(at);
                        at
                    }
                }
            }
        };
        self.entries[at].origin = Origin::Discovered(known);
        self.reweigh_at(at, found.weight, &found.region);
        true
    }

    /// Whether those that stay are as many as there may be.
    fn is_full(&self) -> bool {
        let stays = |e: &&Entry| e.leaving.is_none() && !self.discovered.held.contains_key(&e.backend.id);
        self.entries.iter().filter(stays).count() >= self.config.control.max_backends
    }

    fn say_left_out(&mut self, left_out: BTreeSet<String>) {
        let Some(finder) = &self.config.discovery.finder else { return };
        let source = finder.name();
        self.metrics.discovery_left_out.with_label_values(&[source]).set(left_out.len() as i64);
        if left_out == self.discovered.left_out {
            return;
        }
        if !left_out.is_empty() {
            let names: Vec<&str> = left_out.iter().take(SHOWN).map(String::as_str).collect();
            tracing::warn!(
                source,
                count = left_out.len(),
                first = names.join(", "),
                "discovered backends are left out: their names or addresses are taken, or there are \
                 control.max_backends members"
            );
        }
        self.discovered.left_out = left_out;
    }

    /// Lets those go for whom others can stand in; true where there were any.
    pub(super) fn hand_over(&mut self, now: Tick) -> bool {
        if self.discovered.held.is_empty() {
            return false;
        }
        let checked = self.checked_actively();
        let held = &self.discovered.held;
        let stays = |e: &&Entry| e.leaving.is_none() && !held.contains_key(&e.backend.id);
        let unknown = |e: &Entry| checked && e.checks.health() == Health::Unknown;
        let nobody = !self.entries.iter().any(|e| stays(&e));
        let unready = !self.entries.iter().filter(stays).any(|e| e.ready(checked) && e.closed());
        let unsettled = unready || self.entries.iter().filter(stays).any(unknown);
        let goes = |e: &&Entry| {
            let Some(Held { since, gone }) = held.get(&e.backend.id).copied() else { return false };
            let waits = unsettled && now.since(since) < HANDOVER;
            nobody || !(waits || (unready && !gone))
        };
        let staying = self.entries.iter().filter(|e| e.leaving.is_none());
        let going: Vec<(u64, String)> =
            staying.filter(goes).map(|e| (e.backend.id, e.backend.name.clone())).collect();
        for (id, name) in &going {
            self.leave(name, false);
            self.discovered.held.remove(id);
        }
        let here: BTreeSet<u64> =
            self.entries.iter().filter(|e| e.leaving.is_none()).map(|e| e.backend.id).collect();
        self.discovered.held.retain(|id, _| here.contains(id));
        !going.is_empty()
    }

    /// Discovered members by name, as all balancers count them.
    pub(super) fn found_names(&self) -> BTreeSet<&str> {
        let here = |e: &&Entry| e.leaving.is_none() && is_found(e);
        self.entries.iter().filter(here).map(|e| e.backend.name.as_str()).collect()
    }
}

/// Whether a source names it.
pub(super) fn is_found(entry: &Entry) -> bool {
    matches!(entry.origin, Origin::Discovered(_))
}

/// What nobody else may be called or have.
fn called(entry: &Entry) -> [String; 2] {
    [entry.backend.name.clone(), entry.backend.address.to_string()]
}
