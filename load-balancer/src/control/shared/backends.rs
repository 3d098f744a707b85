//! What balancers tell each other about single backends: ejections, warmth, capacity, and what scrapes brought.
//!
//! In flight, latency and costs are not among it: views that differ are what keeps balancers from all going the same way.

use std::collections::BTreeMap;
use std::time::Duration;

use lb_core::breaker::{Reason, State};
use lb_core::hash::hash64;
use lb_core::health::Health;
use lb_core::{Tick, rendezvous, votes};

use super::super::Control;
use super::super::entry::{Entry, Origin};
use super::message::{About, Reported, millis};
use crate::registry::Backend;

/// Balancers that scrape a backend, so that one may be gone.
const SCRAPERS: usize = 2;
/// How many intervals without a report of those who should have one, before others ask the backend themselves.
const PATIENCE: u32 = 4;
/// And what is added for rounds with the others.
const ROUNDS: Duration = Duration::from_secs(2);

/// Which backend is meant, among all balancers.
fn who(backend: &Backend) -> String {
    format!("{} {}", backend.name, backend.address)
}

impl Control {
    /// What is told about backends.
    pub(super) fn told_backends(&self, now: Tick) -> BTreeMap<String, About> {
        let checked = self.checked_actively();
        let about = |entry: &Entry| {
            let ejected_ms = match entry.breaker.state() {
                State::Ejected { until } if entry.concluded => Some(millis(until.since(now))),
                _ => None,
            };
            let warming = entry.warming.filter(|_| entry.ready(checked));
            About {
                ejected_ms,
                warming_ms: warming.map(|at| millis(now.since(at) + entry.ahead)),
                rate: entry.weight.meter.estimate(),
                report: entry.told.own.map(|(count, report)| Reported::new(count, &report)),
                up: (matches!(entry.origin, Origin::Registered | Origin::Shared) && checked)
                    .then(|| entry.checks.health() == Health::Up),
            }
        };
        let told = self.entries.iter().filter(|e| e.leaving.is_none()).map(|e| (who(&e.backend), about(e)));
        told.filter(|(_, about)| about.says_something()).collect()
    }

    /// Takes in what the others know of backends; true where others must see a change.
    pub(super) fn follow_backends(&mut self, now: Tick) -> bool {
        let mut changed = false;
        for at in 0..self.entries.len() {
            let heard: Vec<(String, Tick, About)> = {
                let who = who(&self.entries[at].backend);
                let of = |(by, heard): (&String, &super::Heard)| {
                    Some((by.clone(), heard.at, heard.message.backends.get(&who)?.clone()))
                };
                self.sharing.others.iter().filter_map(of).collect()
            };
            if heard.is_empty() {
                continue;
            }
            self.follow_warmth(at, &heard, now);
            self.follow_report(at, &heard, now);
            let rates = heard.iter().filter_map(|(_, _, about)| about.rate);
            self.entries[at].weight.meter.seed(now, rates);
            changed |= self.follow_votes(at, &heard, now);
        }
        self.share_scrapes(now);
        changed
    }

    /// Ejects what at least two others have ejected by their own traffic.
    fn follow_votes(&mut self, at: usize, heard: &[(String, Tick, About)], now: Tick) -> bool {
        let entry = &self.entries[at];
        // What was followed once and passed its trial here is not followed again.
        let followed = entry.followed.is_some_and(|until| now < until);
        let open = self.config.ejection.enabled && entry.ready(self.checked_actively()) && entry.closed();
        if !open || followed {
            return false;
        }
        let vote = |(by, said, about): &'_ (String, Tick, About)| {
            let left = Duration::from_millis(about.ejected_ms?).checked_sub(now.since(*said))?;
            (!left.is_zero()).then(|| (by.clone(), left))
        };
        let cast: Vec<(String, Duration)> = heard.iter().filter_map(vote).collect();
        let Some(left) = votes::adopted(cast.iter().map(|(by, left)| (by.as_str(), *left))) else {
            return false;
        };
        let left = left.min(self.config.ejection.rules.longest);
        self.follow_ejection(at, left, Reason::Voted { voters: cast.len() as u32 }, now)
    }

    /// A backend that others have known for longer is as warm as they say.
    fn follow_warmth(&mut self, at: usize, heard: &[(String, Tick, About)], now: Tick) {
        let entry = &mut self.entries[at];
        let age = |(_, said, about): &(String, Tick, About)| {
            Some(Duration::from_millis(about.warming_ms?) + now.since(*said))
        };
        let Some(oldest) = heard.iter().filter_map(age).max() else { return };
        let over = self.config.pool.slow_start;
        let fresh = now.since(entry.born) < oldest;
        match entry.warming {
            Some(since) => entry.ahead = entry.ahead.max(oldest.saturating_sub(now.since(since))),
            // It was there before us, and has not been at work for long.
            None if fresh && oldest + ROUNDS < over => {
                (entry.warming, entry.ahead) = (Some(now), oldest);
            }
            None => {}
        }
    }

    /// Takes the latest report of somebody who scrapes this backend, where this balancer does not.
    fn follow_report(&mut self, at: usize, heard: &[(String, Tick, About)], now: Tick) {
        let told = &self.entries[at].told;
        let before = told.relayed.clone();
        let same = |by: &String| before.as_ref().is_some_and(|(from, _)| from == by);
        let reports = || heard.iter().filter_map(|(by, _, about)| Some((by, about.report?)));
        // One source as long as it tells: two would each be news to the other.
        let report = reports().find(|(by, _)| same(by)).or_else(|| reports().next());
        let Some((by, report)) = report else { return };
        let next = Some((by.clone(), report.count));
        if before == next {
            return;
        }
        let scraped = told.scraping();
        let told = &mut self.entries[at].told;
        (told.relayed, told.relayed_at) = (next, Some(now));
        if !scraped && self.config.signals.scrape.is_some() {
            self.reported(at, now, report.report(), true);
        }
    }

    /// Scrapes what is this balancer's to scrape, and what nobody else seems to.
    pub(super) fn share_scrapes(&mut self, now: Tick) {
        let Some(interval) = self.config.signals.scrape.as_ref().map(|scrape| scrape.interval) else {
            return;
        };
        if self.sharing.store.is_none() {
            return;
        }
        for at in 0..self.entries.len() {
            match (self.is_to_scrape(at, interval, now), self.entries[at].told.scraping()) {
                (true, false) => self.scrape(at),
                (false, true) => self.entries[at].told.stop(),
                _ => {}
            }
        }
    }

    /// Whether this balancer asks a backend itself how it is, which others do every `interval`.
    pub(in super::super) fn is_to_scrape(&self, at: usize, interval: Duration, now: Tick) -> bool {
        if !self.sharing.settled() || self.sharing.store.is_none() {
            // Before the first round it is not known whose it is.
            return self.sharing.store.is_none();
        }
        let entry = &self.entries[at];
        let (own, work) = (hash64(self.sharing.own.as_bytes()), hash64(who(&entry.backend).as_bytes()));
        let told = entry.told.relayed_at.unwrap_or(entry.born);
        rendezvous::chosen(work, own, self.sharing.hashes(), SCRAPERS)
            || now.since(told) > interval * PATIENCE + ROUNDS
    }

    /// Whether another balancer's checks of this backend pass.
    pub(super) fn others_find_it_up(&self, entry: &Entry) -> bool {
        let who = who(&entry.backend);
        self.sharing
            .others
            .values()
            .any(|heard| heard.message.backends.get(&who).is_some_and(|a| a.up == Some(true)))
    }
}
