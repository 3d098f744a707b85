//! How much a backend can do, learned from what it reports: good answers a second, over how busy they made it.
//!
//! Utilisation is used for capacity and never as load: it is seconds old, and whoever sends traffic to whatever looked
//! idle a second ago makes a herd (M. Dahlin, "Interpreting stale load information", IEEE TPDS 2000). A capacity changes
//! over minutes, so an old one is nearly as good as a new one; what is instant is the count of requests in flight that it
//! divides. The form q / u is that of gRPC's client-side weighted round robin (gRFC A58).
//!
//! A report may be late, frozen or a lie. So a capacity ages back to 1 (that of the pool's median), only its ratio to the
//! median counts, that ratio is bounded, and what it promises is compared with the latency that requests then see: a
//! backend that claims much and answers slowly is believed less and less.

use std::time::Duration;

use crate::load::{Load, PoolLoad};
use crate::signal::Report;
use crate::tick::Tick;

mod update;

pub use update::Update;

/// Seconds over which a capacity is averaged: in time, not in reports, or frequent reports would be noisy ones. With 5 the
/// simulated tails of an even pool are up to 1 % longer, for the noise.
const TAU: f64 = 15.0;
/// The most that the logarithm of a capacity changes in a second: one absurd report moves it by a quarter.
const SLOPE: f64 = 0.25;
/// Shortest time to measure a rate over: a second, less the jitter of scrapes that come every second.
const WINDOW: Duration = Duration::from_millis(800);
/// Longest time to wait for enough good answers before counting starts afresh.
const WINDOW_END: Duration = Duration::from_secs(10);
/// Good answers that a rate needs: of 20, chance makes ± 22 %, which averaging brings below the dead-band of latency.
const ENOUGH: f64 = 20.0;
/// Less busy than this share, the quotient says more about idling than about capacity.
const LEAST_BUSY: f64 = 0.10;
/// Differences of capacity below this share are noise; what lies beyond counts from there. Without it, tails are 1–3 % longer
/// in pools that are even or driven hard.
const DEAD_BAND: f64 = 0.1;
/// Intervals without a report during which a capacity is held as it is: one scrape may be lost, and the next one late.
const HOLD_INTERVALS: u32 = 3;
/// Seconds in which an old capacity's distance from 1 shrinks to 1/e: machines are resized in minutes, not in seconds.
const TAU_AGED: f64 = 60.0;
/// Share of the pool whose capacity must be known, for ratios to mean anything.
const QUORUM: f64 = 0.5;
/// Reports in a row that repeat every digit while the backend works, before they count as none: a frozen exporter's.
const FROZEN: u32 = 10;
/// How far a backend's latency must contradict its capacity: the dead-band of the latency ratio.
const DOUBT: f64 = 1.3;
/// Trust lost in a second of contradiction: a lie is forgotten in five seconds.
const TRUST_DOWN: f64 = 0.2;
/// Trust won back in a second without: a minute, so that a liar is not believed every ten seconds.
const TRUST_UP: f64 = 1.0 / 60.0;
/// Half-width of the dead-band of latency ratios while capacities are known: they have explained most differences.
const SLACK: f32 = 0.3;
/// Seconds that one judgement stands for at most: after a silence, one look must not decide for all of it.
const JUDGED_MOST: f64 = 2.0;
/// Share of memory from which a backend gets less, and at which it gets [`GATE_LEAST`]: caches fill most machines to 80 %,
/// and the kernel kills at 100 %.
const MEMORY: (f64, f64) = (0.85, 0.97);
/// The same for connections, which nothing but clients fills.
const CONNECTIONS: (f64, f64) = (0.90, 0.99);
/// What is left to a backend at the end of its memory or connections: enough to notice that it recovers.
const GATE_LEAST: f64 = 0.1;
/// How much memory or connections must fall before a gate opens again.
const GATE_SLACK: f64 = 0.05;
/// Misses in a row that, without any good answer meanwhile, make a backend suspect.
const SUSPECT_MISSES: u32 = 3;
/// What is left to a suspect: half, as for one that says it is full.
const SUSPECT: f64 = 0.5;

/// The most good answers a second that others are believed to have measured: above what any backend gives, and far below
/// where a mean of them would count as infinite, which no later measurement could mend.
const RATE_MOST: f64 = 1e9;

/// What the user decides about signals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Between two reports, as they are asked for.
    pub interval: Duration,
    /// Silence after which nothing is known any more.
    pub expiry: Duration,
    /// The largest ratio to the median that is believed, and its inverse the smallest; 1 or more.
    pub most: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { interval: Duration::from_secs(2), expiry: Duration::from_secs(180), most: 4.0 }
    }
}

/// What a backend's capacity rests on: the rungs of the ladder, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Reports come as they should.
    Fresh,
    /// None of late: the capacity is kept as it is.
    Held,
    /// None for longer: the capacity fades towards the median.
    Aged,
    /// Nothing is known, or of too few backends: latency and errors alone speak.
    LatencyOnly,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 4] = [Mode::Fresh, Mode::Held, Mode::Aged, Mode::LatencyOnly];

    /// Its name in metrics and facts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Mode::Fresh => "fresh",
            Mode::Held => "held",
            Mode::Aged => "aged",
            Mode::LatencyOnly => "latency_only",
        }
    }
}

/// What a backend can do, and why that is believed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// Capacity relative to the pool's median: bounded, aged, trusted, gated. What a cost is divided by; above 0.
    pub capacity: f64,
    /// The same before trust and gates.
    pub measured: f64,
    /// Good answers a second at full use, where it was ever measured.
    pub rate: Option<f64>,
    /// The smaller of what memory and connections leave, 0.1..=1; forgotten with age, as the capacity is.
    pub gate: f64,
    /// It is silent in every way: no reports, and no good answer since they ended.
    pub suspect: bool,
    /// How far its claim is believed, 0..=1.
    pub trust: f64,
    /// What all that rests on.
    pub mode: Mode,
    /// Age of the last report that counted.
    pub age: Option<Duration>,
}

impl Default for Standing {
    fn default() -> Self {
        let mode = Mode::LatencyOnly;
        Standing {
            capacity: 1.0,
            measured: 1.0,
            rate: None,
            gate: 1.0,
            suspect: false,
            trust: 1.0,
            mode,
            age: None,
        }
    }
}

/// What is known of one backend's capacity. Fed by one thread, read by [`stand`].
#[derive(Debug, Clone)]
pub struct Meter {
    rate: Option<f64>,
    measured_at: Tick,
    window: Option<Window>,
    heard: Option<Tick>,
    last: Report,
    repeats: u32,
    misses: u32,
    good_at_last_report: u32,
    /// Reports in response heads that have been taken in.
    heads: u32,
    /// When a scrape last brought something.
    scraped: Option<Tick>,
    memory: Gate,
    connections: Gate,
    trust: f64,
    judged: Option<Tick>,
    /// Measurements that the rate is made of.
    samples: u32,
    /// They counted what the backend answered to all balancers, not to this one alone.
    absolute: bool,
}

/// Good answers and utilisation since a moment.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: Tick,
    own: u32,
    theirs: Option<f64>,
    busy: f64,
    reports: u32,
}

impl Default for Meter {
    fn default() -> Self {
        Meter {
            rate: None,
            measured_at: Tick::ZERO,
            window: None,
            heard: None,
            last: Report::default(),
            repeats: 0,
            misses: 0,
            good_at_last_report: 0,
            heads: 0,
            scraped: None,
            memory: Gate::default(),
            connections: Gate::default(),
            trust: 1.0,
            judged: None,
            samples: 0,
            absolute: false,
        }
    }
}

impl Meter {
    /// Takes a report that came at `now`; `good` counts this balancer's own good answers from the backend (wrapping).
    /// Whether it tells anything new: one that repeats itself while the backend works is an old one, and a count of
    /// requests in flight that does not move would count for ever.
    pub fn reported(&mut self, now: Tick, report: &Report, good: u32) -> bool {
        let report = report.credible();
        let worked = good.wrapping_sub(self.good_at_last_report) > 0;
        self.repeats = if report == self.last && worked { self.repeats.saturating_add(1) } else { 0 };
        self.good_at_last_report = good;
        self.last = report;
        if report.is_empty() || self.repeats >= FROZEN {
            return false;
        }
        self.misses = 0;
        self.heard = Some(now);
        // Its own counter proves it old at once: we have had answers that it lacks. (An exporter may be slower than we ask,
        // so it is only silent once it has repeated itself for longer.)
        if self.repeats > 0 && report.good.is_some() {
            return false;
        }
        self.memory.take(report.memory);
        self.connections.take(report.connections);
        if let Some(busy) = report.busy() {
            self.measure(now, busy, report.good, good);
        }
        true
    }

    /// Takes a scrape's report, as [`Meter::reported`] does. While scrapes come, response heads add nothing to a capacity: a
    /// rate that is counted now by the one and now by the other would be no rate. Only what is new is worth telling the
    /// backend's [`Load`].
    #[must_use]
    pub fn scraped(&mut self, now: Tick, report: &Report, good: u32) -> bool {
        self.scraped = Some(now);
        self.reported(now, report, good)
    }

    /// Takes the latest of what response heads have said since the last time.
    fn hear(&mut self, now: Tick, rules: &Rules, load: &Load) {
        let (heads, report) = load.heads();
        let scraped = self.scraped.is_some_and(|at| now.since(at) <= rules.interval * HOLD_INTERVALS);
        if heads != self.heads && !scraped {
            self.reported(now, &report, load.tallies().good);
        }
        self.heads = heads;
    }

    /// A report that was due did not come.
    pub fn missed(&mut self) {
        self.misses = self.misses.saturating_add(1);
    }

    /// The server behind the backend is a new one: nothing that was learned of it holds.
    pub fn forget(&mut self) {
        let Meter { good_at_last_report, heads, .. } = *self;
        *self = Meter { good_at_last_report, heads, ..Meter::default() };
    }

    /// The last report, whatever it was worth.
    #[must_use]
    pub fn last(&self) -> &Report {
        &self.last
    }

    /// What other balancers may begin with: the rate, and how many measurements it is made of. Only what was counted by the
    /// backend itself means the same to all.
    #[must_use]
    pub fn estimate(&self) -> Option<(f64, u32)> {
        self.rate.filter(|_| self.absolute && self.samples > 0).map(|rate| (rate, self.samples))
    }

    /// Begins with what others have measured, each a rate and its measurements, where nothing is known: their mean, by
    /// measurements. It is told to nobody as one's own.
    pub fn seed(&mut self, now: Tick, others: impl IntoIterator<Item = (f64, u32)>) {
        if self.rate.is_some() {
            return;
        }
        let sensible =
            |(rate, samples): &(f64, u32)| (f64::MIN_POSITIVE..=RATE_MOST).contains(rate) && *samples > 0;
        let add =
            |(sum, n), (rate, samples): (f64, u32)| (sum + rate * f64::from(samples), n + f64::from(samples));
        let (sum, n) = others.into_iter().filter(sensible).fold((0.0, 0.0), add);
        if n > 0.0 {
            (self.rate, self.measured_at) = (Some(sum / n), now);
        }
    }

    fn measure(&mut self, now: Tick, busy: f64, theirs: Option<f64>, own: u32) {
        let begin = Window { since: now, own, theirs, busy: 0.0, reports: 0 };
        let Some(window) = &mut self.window else {
            self.window = Some(begin);
            return;
        };
        window.busy += busy;
        window.reports += 1;
        let took = now.since(window.since);
        if took < WINDOW {
            return;
        }
        let absolute = matches!((window.theirs, theirs), (Some(before), Some(after)) if after >= before);
        let good = match (window.theirs, theirs) {
            // A counter that has fallen belongs to another process.
            (Some(before), Some(after)) if after >= before => after - before,
            _ => f64::from(own.wrapping_sub(window.own)),
        };
        let busy = window.busy / f64::from(window.reports);
        if good >= ENOUGH && busy >= LEAST_BUSY {
            self.average(now, good / took.as_secs_f64() / busy);
            (self.samples, self.absolute) = (self.samples.saturating_add(1), absolute);
            self.window = Some(begin);
        } else if took >= WINDOW_END || busy < LEAST_BUSY {
            self.window = Some(begin);
        }
    }

    fn average(&mut self, now: Tick, rate: f64) {
        let rate = match self.rate {
            None => rate,
            Some(old) => {
                let seconds = now.since(self.measured_at).as_secs_f64();
                let next = old + (1.0 - (-seconds / TAU).exp()) * (rate - old);
                let most = (SLOPE * seconds).exp();
                next.clamp(old / most, old * most)
            }
        };
        self.rate = Some(rate);
        self.measured_at = now;
    }

    /// What the capacity rests on at `now`, and the age of the last report.
    fn mode(&self, now: Tick, rules: &Rules) -> (Mode, Option<Duration>) {
        let age = self.heard.map(|heard| now.since(heard));
        let mode = match age {
            Some(age) if self.rate.is_some() && age <= rules.expiry => {
                // A report that is on its way is not late yet.
                if age <= rules.interval * 3 / 2 {
                    Mode::Fresh
                } else if age <= rules.interval * HOLD_INTERVALS {
                    Mode::Held
                } else {
                    Mode::Aged
                }
            }
            _ => Mode::LatencyOnly,
        };
        (mode, age)
    }

    /// Moves trust by how `ratio`, the latency relative to the pool's, fits a capacity of `claimed`.
    fn judge(&mut self, now: Tick, claimed: f64, ratio: f64) {
        let seconds = self.judged.map_or(0.0, |before| now.since(before).as_secs_f64().min(JUDGED_MOST));
        self.judged = Some(now);
        let contradicted = (claimed > 1.0 && ratio > DOUBT) || (claimed < 1.0 && ratio < 1.0 / DOUBT);
        let step = if contradicted { -TRUST_DOWN } else { TRUST_UP };
        self.trust = (self.trust + step * seconds).clamp(0.0, 1.0);
    }
}

/// Holds less the fuller something is: at once when it fills, with slack when it empties.
#[derive(Debug, Clone, Copy, Default)]
struct Gate {
    peak: f64,
}

impl Gate {
    fn take(&mut self, share: Option<f64>) {
        // What is not said has not changed: missing is not zero.
        if let Some(share) = share {
            self.peak = self.peak.clamp(share, share + GATE_SLACK);
        }
    }

    fn left(self, (from, to): (f64, f64)) -> f64 {
        let full = ((self.peak - from) / (to - from)).clamp(0.0, 1.0);
        1.0 - full * (1.0 - GATE_LEAST)
    }
}

/// One backend, as [`stand`] looks at it.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// What it has reported.
    pub meter: &'a mut Meter,
    /// Its latency relative to the pool's; 1 where nothing is known.
    pub latency: f64,
    /// This balancer's own good answers from it so far (wrapping).
    pub good: u32,
    /// Whether it counts for the median.
    pub ready: bool,
}

/// One backend, as [`weigh`] looks at it.
#[derive(Debug)]
pub struct Weighed<'a> {
    /// Its live numbers.
    pub load: &'a Load,
    /// What it has reported.
    pub meter: &'a mut Meter,
    /// What the way there costs beyond the way to the nearest region (µs).
    pub distance: f64,
    /// Whether it is there to be picked, but for ejection: who is not says nothing about the pool's median.
    pub ready: bool,
}

/// Brings the capacities of a pool's backends up to date at `now`: takes in what response heads have said, judges, and
/// writes the results where picks read them. Called about once a second, by one thread.
pub fn weigh(now: Tick, rules: &Rules, pool: &PoolLoad, backends: &mut [Weighed<'_>]) -> Vec<Standing> {
    let mut candidates: Vec<Candidate<'_>> = Vec::with_capacity(backends.len());
    for Weighed { load, meter, ready, .. } in backends.iter_mut() {
        meter.hear(now, rules, load);
        let (latency, good) = (f64::from(load.ratio(pool)), load.tallies().good);
        candidates.push(Candidate { latency, good, ready: *ready, meter });
    }
    let standings = stand(now, rules, &mut candidates);
    let known = standings.iter().any(|standing| standing.mode != Mode::LatencyOnly);
    pool.set_slack(if known { SLACK } else { 0.0 });
    for (backend, standing) in backends.iter().zip(&standings) {
        backend.load.rate(standing.capacity as f32, backend.distance as f32);
    }
    standings
}

/// What each backend of a pool can do at `now`.
#[must_use]
pub fn stand(now: Tick, rules: &Rules, pool: &mut [Candidate<'_>]) -> Vec<Standing> {
    let modes: Vec<_> = pool.iter().map(|c| c.meter.mode(now, rules)).collect();
    let known = |(c, (mode, _)): (&Candidate<'_>, &(Mode, _))| match mode {
        Mode::LatencyOnly => None,
        _ => c.meter.rate.filter(|_| c.ready),
    };
    let mut rates: Vec<f64> = pool.iter().zip(&modes).filter_map(known).collect();
    rates.sort_by(f64::total_cmp);
    let ready = pool.iter().filter(|c| c.ready).count();
    let quorum = rates.len() as f64 >= QUORUM * ready as f64;
    let median = rates.get(rates.len().saturating_sub(1) / 2).copied().filter(|_| quorum);
    let of = |(candidate, (mode, age)): (&mut Candidate<'_>, (Mode, Option<Duration>))| {
        let Candidate { meter, latency, good, .. } = candidate;
        let over = age.unwrap_or_default().saturating_sub(rules.interval * HOLD_INTERVALS);
        let kept = if age.is_some_and(|age| age <= rules.expiry) {
            (-over.as_secs_f64() / TAU_AGED).exp()
        } else {
            0.0
        };
        let closed = 1.0 - meter.memory.left(MEMORY).min(meter.connections.left(CONNECTIONS));
        let gate = 1.0 - closed * kept;
        let suspect = age.is_some() && meter.misses >= SUSPECT_MISSES && *good == meter.good_at_last_report;
        let left = if suspect { gate * SUSPECT } else { gate };
        let standing =
            Standing { rate: meter.rate, gate, suspect, age, capacity: left, ..Standing::default() };
        let (Some(median), Some(rate), true) = (median, meter.rate, mode != Mode::LatencyOnly) else {
            return standing;
        };
        let bounded = beyond_noise(rate / median).clamp(1.0 / rules.most, rules.most);
        let measured = 1.0 + (bounded - 1.0) * kept;
        meter.judge(now, measured, *latency);
        let capacity = measured.powf(meter.trust) * left;
        Standing { capacity, measured, trust: meter.trust, mode, ..standing }
    };
    pool.iter_mut().zip(modes).map(of).collect()
}

/// A ratio, taken from the edge of the dead-band.
fn beyond_noise(ratio: f64) -> f64 {
    let edge = 1.0 + DEAD_BAND;
    if ratio > 1.0 { (ratio / edge).max(1.0) } else { (ratio * edge).min(1.0) }
}

#[cfg(test)]
mod tests;
