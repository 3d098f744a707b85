//! Once a second: what each backend can do, from what it reports, and how much dearer each region is than the client's own.
//!
//! The results are numbers in the backends' [`lb_core::Load`]s and in the pool's [`Locality`], read by picks as they are:
//! no snapshot is made for them. What produced them is in the metrics, and a change worth knowing is told.

use std::sync::Arc;
use std::time::Duration;

use lb_core::Tick;
use lb_core::capacity::{self, Meter, Mode, Rules, Standing, Update, Weighed};
use lb_core::fact::Fact;
use lb_core::health::Health;
use lb_core::locality::{self, Locality, Resident};

use super::Control;
use super::entry::Entry;
use crate::clock;
use crate::geo::Regions;
use crate::observe::live::set_or_forget;

/// Change of a capacity that is told, as a factor: less is the noise of measuring.
const WORTH_TELLING: f64 = 1.25;
/// A claim that is believed less than this is told: by then it has been contradicted for more than two seconds.
const DOUBTED: f64 = 0.5;
/// And it is no longer doubted above this: half a minute without a contradiction.
const BELIEVED: f64 = 0.9;
/// A report counts for this many intervals at least, however long they are.
const EXPIRY_INTERVALS: u32 = 4;

/// What one backend's reports have come to, and what was told of it.
pub(super) struct Weight {
    /// What it has reported.
    pub(super) meter: Meter,
    /// Its standing as of the last second.
    standing: Standing,
    told: Told,
}

/// What was last told.
struct Told {
    capacity: f64,
    mode: Mode,
    doubted: bool,
    gated: bool,
}

impl Default for Weight {
    fn default() -> Self {
        let told = Told { capacity: 1.0, mode: Mode::LatencyOnly, doubted: false, gated: false };
        Weight { meter: Meter::default(), standing: Standing::default(), told }
    }
}

impl Weight {
    /// What is worth telling of the latest standing.
    fn news(&mut self, backend: &str, ratio: f64) -> Vec<Fact> {
        let (new, told) = (&self.standing, &mut self.told);
        let name = || backend.to_owned();
        let mut news = Vec::new();
        // Between fresh and held one late report goes back and forth: the metric shows that, it is no news.
        let rung = |mode| if mode == Mode::Held { Mode::Fresh } else { mode };
        if rung(new.mode) != rung(told.mode) {
            let age = new.age.map_or(0.0, |age| age.as_secs_f64());
            news.push(Fact::Signals { backend: name(), from: told.mode.name(), to: new.mode.name(), age });
            told.mode = new.mode;
        }
        let change = new.measured / told.capacity;
        if !(1.0 / WORTH_TELLING..=WORTH_TELLING).contains(&change) {
            let (from, to) = (told.capacity, new.measured);
            let busy = self.meter.last().busy().unwrap_or_default();
            let rate = new.rate.unwrap_or_default();
            news.push(Fact::Capacity { backend: name(), from, to, rate, busy });
            told.capacity = new.measured;
        }
        let doubted = new.trust < if told.doubted { BELIEVED } else { DOUBTED };
        if doubted && !told.doubted {
            news.push(Fact::Doubted { backend: name(), claimed: new.measured, latency: ratio });
        }
        told.doubted = doubted;
        let gated = new.gate < 1.0;
        if gated != told.gated {
            let last = self.meter.last();
            let (memory, connections) =
                (last.memory.unwrap_or_default(), last.connections.unwrap_or_default());
            news.push(Fact::Gated { backend: name(), left: new.gate, memory, connections });
            told.gated = gated;
        }
        news
    }
}

impl Control {
    /// Brings capacities and regions up to date.
    pub(super) fn weigh(&mut self, now: Tick) {
        let rules = rules(self.config.signals.scrape.as_ref().map(|scrape| scrape.interval));
        let checked = self.checked_actively();
        let distances = self.distances();
        let distance = |region: u8| distances.get(usize::from(region)).copied().unwrap_or_default();
        let mut backends: Vec<Weighed<'_>> = self
            .entries
            .iter_mut()
            .map(|entry| Weighed {
                load: &entry.backend.load,
                meter: &mut entry.weight.meter,
                distance: distance(entry.region),
                ready: entry.leaving.is_none() && (!checked || entry.checks.health() == Health::Up),
            })
            .collect();
        let standings = capacity::weigh(now, &rules, &self.pool, &mut backends);
        let mut news = Vec::new();
        for (entry, standing) in self.entries.iter_mut().zip(standings) {
            entry.weight.standing = standing;
            let ratio = f64::from(entry.backend.load.ratio(&self.pool));
            news.extend(entry.weight.news(&entry.backend.name, ratio));
        }
        news.into_iter().for_each(|fact| self.tell(fact));
        self.count_updates(&rules);
        self.settle_regions(&distances);
        self.describe_weights();
    }

    /// Counts what the round has come to.
    fn count_updates(&self, rules: &Rules) {
        let (m, pool) = (&self.metrics, self.metrics.pool.as_str());
        let mut youngest: Option<Duration> = None;
        for standing in self.entries.iter().map(|e| &e.weight.standing) {
            let Some(update) = Update::of(standing, rules) else { continue };
            m.weight_updates.with_label_values(&[pool, update.name()]).inc();
            if update != Update::Stale {
                youngest = [youngest, standing.age].into_iter().flatten().min();
            }
        }
        // When the latest report came that a weight goes by, not when it was last looked at.
        if let Some(age) = youngest {
            let at = clock::unix_millis() as f64 / 1e3 - age.as_secs_f64();
            m.weight_updated.with_label_values(&[pool]).set(at);
        }
    }

    /// What the way to each region costs beyond the way to the nearest (µs); empty where regions do not count.
    fn distances(&self) -> Vec<f64> {
        let Some(locality) = &self.locality else { return Vec::new() };
        let floors = self.entries.iter().filter_map(|e| Some((e.region, e.backend.load.floor()?)));
        locality::distances(locality.regions(), floors)
    }

    fn settle_regions(&self, distances: &[f64]) {
        let (Some(locality), Some(geo)) = (&self.locality, &self.config.geo) else { return };
        let checked = self.checked_actively();
        let eligible = self.entries.iter().filter(|e| e.ready(checked) && e.closed());
        let resident = |e: &Entry| {
            Resident::of(e.region, f64::from(e.backend.weight), &e.weight.standing, &e.weight.meter)
        };
        let regions = locality::regions(distances, &eligible.map(resident).collect::<Vec<_>>());
        let rules = locality::Rules { least: f64::from(geo.cost) };
        locality.settle(&rules, f64::from(self.pool.service()), &regions);
        for (client, name) in geo.regions.names().iter().enumerate() {
            let busy = regions.get(client).and_then(|region| region.busy).unwrap_or(f64::NAN);
            self.metrics.region_busy.with_label_values(&[name]).set(busy);
            for (backend, other) in geo.regions.names().iter().enumerate() {
                let factor = f64::from(locality.factor(client as u8, backend as u8));
                self.metrics.region_factor.with_label_values(&[name, other]).set(factor);
            }
        }
    }

    /// Makes regions count, or not, as the configuration says; factors are carried over while regions stay the same.
    pub(super) fn set_locality(&mut self) {
        let geo = self.config.geo.as_ref().filter(|geo| geo.cost > 1.0);
        let regions = geo.map(|geo| Arc::clone(&geo.regions));
        let names = |regions: &Option<Arc<Regions>>| regions.as_ref().map(|r| r.names().to_vec());
        if names(&regions) != names(&self.regions) {
            self.locality = regions.as_ref().map(|regions| Arc::new(Locality::new(regions.names().len())));
            self.regions = regions;
            self.metrics.region_factor.reset();
            self.metrics.region_busy.reset();
        }
        for entry in &mut self.entries {
            let named = self.config.geo.as_ref().and_then(|geo| geo.regions.number(&entry.backend.region));
            entry.region = named.unwrap_or(u8::MAX);
        }
        self.settle_regions(&self.distances());
    }

    /// Sets the gauges that say what each backend can do and why that is believed.
    pub(super) fn describe_weights(&self) {
        let (m, pool) = (&self.metrics, self.metrics.pool.as_str());
        for entry in &self.entries {
            let Some(backend) = entry.series.own() else { continue };
            let (weight, labels) = (&entry.weight, [pool, backend]);
            let standing = &weight.standing;
            m.capacity.with_label_values(&labels).set(standing.capacity);
            // Who has never reported has nothing to explain: its capacity is 1.
            let age = standing.age.map(|age| age.as_secs_f64());
            let told = |value: f64| age.map(|_| value);
            set_or_forget(&m.capacity_measured, &labels, told(standing.measured));
            set_or_forget(&m.capacity_rate, &labels, told(standing.rate.unwrap_or(f64::NAN)));
            set_or_forget(&m.capacity_gate, &labels, told(standing.gate));
            set_or_forget(&m.capacity_trust, &labels, told(standing.trust));
            set_or_forget(&m.signal_age, &labels, age);
            for mode in Mode::ALL {
                let is = i64::from(mode == standing.mode);
                m.signal_mode.with_label_values(&[pool, backend, mode.name()]).set(is);
            }
        }
    }
}

/// The core's rules for reports that are asked for every `interval`.
fn rules(interval: Option<Duration>) -> Rules {
    let usual = Rules::default();
    let interval = interval.unwrap_or(usual.interval);
    Rules { interval, expiry: usual.expiry.max(interval * EXPIRY_INTERVALS), ..usual }
}
