//! Counts what happens in a run and turns it into numbers.
//!
//! Latency runs from arrival, never from sending, and the arrivals do not wait for answers: there is no coordinated
//! omission to correct. Percentiles come from one histogram (three digits) per run; medians over runs are the caller's.

use anyhow::Result;
use hdrhistogram::Histogram;

use super::metric::{Metric, Numbers};
use super::policies::Known;
use super::scenario::Span;
use super::server::Server;

/// Highest latency that is told apart (µs): twice the deadline and more.
const HIGHEST_US: u64 = 20_000_000;
/// What a missed deadline counts as (µs).
pub(crate) const DEADLINE_US: u64 = 5_000_000;
/// Microseconds in a second.
const SECOND_US: u64 = 1_000_000;
/// How near to the old p99 is recovered.
const RECOVERED: f64 = 1.2;
/// For so many seconds in a row.
const RECOVERED_S: usize = 3;
/// Answers in a second below which its p99 says nothing.
const SECOND_MIN: u64 = 20;
/// Percentiles of the curve in charts and JSON.
pub(crate) const CURVE: [f64; 16] =
    [50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.5, 95.0, 97.0, 98.0, 99.0, 99.5, 99.7, 99.9, 99.95];

/// Periods of a run (ns).
#[derive(Debug, Clone)]
pub(crate) struct Periods {
    /// What is counted.
    pub(crate) all: [u64; 2],
    /// Of special interest.
    pub(crate) focus: Option<[u64; 2]>,
    /// When the fault begins.
    pub(crate) fault: Option<u64>,
}

fn within(at: u64, period: [u64; 2]) -> bool {
    (period[0]..period[1]).contains(&at)
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Answered well, in so many µs.
    Good(u64),
    /// Its deadline passed.
    Missed,
    /// It failed.
    Failed,
}

/// Counters of one run.
#[derive(Debug)]
pub(crate) struct Tally {
    periods: Periods,
    latency: Histogram<u32>,
    focus: Histogram<u32>,
    seconds: Vec<Histogram<u16>>,
    requests: u64,
    failed: u64,
    missed: u64,
    within_second: u64,
    focus_requests: u64,
    focus_bad: u64,
    focus_work: f64,
    attempts: u64,
    cross: u64,
    faulty: u64,
    faulty_focus: [u64; 2],
    /// Attempts in the focus period by server.
    focus_attempts: Vec<u64>,
    messages: u64,
    /// The same for those that came later: to the faulty, and all; and their requests.
    newcomers: [u64; 2],
    newcomer: Histogram<u32>,
    /// Looks at how much servers hold, and the sum of what was seen.
    held: (u64, f64),
    done_work: f64,
    wasted_work: f64,
}

impl Tally {
    /// Nothing counted yet.
    pub(crate) fn new(periods: Periods) -> Result<Self> {
        Ok(Tally {
            periods,
            latency: Histogram::new_with_bounds(1, HIGHEST_US, 3)?,
            focus: Histogram::new_with_bounds(1, HIGHEST_US, 3)?,
            seconds: Vec::new(),
            requests: 0,
            failed: 0,
            missed: 0,
            within_second: 0,
            focus_requests: 0,
            focus_bad: 0,
            focus_work: 0.0,
            attempts: 0,
            cross: 0,
            faulty: 0,
            faulty_focus: [0; 2],
            focus_attempts: Vec::new(),
            messages: 0,
            newcomers: [0; 2],
            newcomer: Histogram::new_with_bounds(1, HIGHEST_US, 3)?,
            held: (0, 0.0),
            done_work: 0.0,
            wasted_work: 0.0,
        })
    }

    /// A request that arrived at `arrived` and brought `work` (core-ns) is over; it came to a `newcomer` or not.
    pub(crate) fn request(&mut self, arrived: u64, end: End, work: f64, newcomer: bool) {
        let micros = match end {
            End::Good(micros) => Some(micros.max(1)),
            End::Missed => Some(DEADLINE_US),
            End::Failed => None,
        };
        self.second(arrived, micros);
        if self.periods.focus.is_some_and(|focus| within(arrived, focus)) {
            self.focus_requests += 1;
            match end {
                End::Good(_) => self.focus_work += work,
                _ => self.focus_bad += 1,
            }
            micros.into_iter().for_each(|micros| self.focus.saturating_record(micros));
            micros
                .into_iter()
                .filter(|_| newcomer)
                .for_each(|micros| self.newcomer.saturating_record(micros));
        }
        if !within(arrived, self.periods.all) {
            return;
        }
        self.requests += 1;
        micros.into_iter().for_each(|micros| self.latency.saturating_record(micros));
        match end {
            End::Good(micros) => self.within_second += u64::from(micros <= SECOND_US),
            End::Missed => self.missed += 1,
            End::Failed => self.failed += 1,
        }
    }

    fn second(&mut self, arrived: u64, micros: Option<u64>) {
        if self.periods.fault.is_none() {
            return;
        }
        let second = (arrived / 1_000_000_000) as usize;
        while self.seconds.len() <= second {
            // The bounds are valid: they are the constants above.
            self.seconds.extend(Histogram::new_with_bounds(1, HIGHEST_US, 2));
        }
        self.seconds[second].saturating_record(micros.unwrap_or(DEADLINE_US));
    }

    /// An attempt is sent to `server` at `now`, maybe by a `newcomer`.
    pub(crate) fn attempt(&mut self, now: u64, server: u32, (faulty, cross): (bool, bool), newcomer: bool) {
        if self.periods.focus.is_some_and(|focus| within(now, focus)) {
            self.faulty_focus[0] += u64::from(faulty);
            self.faulty_focus[1] += 1;
            self.newcomers[0] += u64::from(faulty && newcomer);
            self.newcomers[1] += u64::from(newcomer);
            let at = server as usize;
            self.focus_attempts.resize(self.focus_attempts.len().max(at + 1), 0);
            self.focus_attempts[at] += 1;
        }
        if !within(now, self.periods.all) {
            return;
        }
        self.attempts += 1;
        self.cross += u64::from(cross);
        self.faulty += u64::from(faulty);
    }

    /// What each server holds at `now`, by core.
    pub(crate) fn held(&mut self, now: u64, by_core: impl Iterator<Item = f64>) {
        let (n, sum, most) =
            by_core.fold((0.0, 0.0, 0.0), |(n, sum, most), x| (n + 1.0, sum + x, x.max(most)));
        if within(now, self.periods.all) && sum > 0.0 {
            self.held = (self.held.0 + 1, self.held.1 + most * n / sum);
        }
    }

    /// A probe or a token is sent at `now`.
    pub(crate) fn message(&mut self, now: u64) {
        self.messages += u64::from(within(now, self.periods.all));
    }

    /// A server has done a job, for somebody or for nobody.
    pub(crate) fn work(&mut self, now: u64, work: f64, wasted: bool) {
        if within(now, self.periods.all) {
            self.done_work += work;
            self.wasted_work += if wasted { work } else { 0.0 };
        }
    }

    /// The numbers. `busy` is what each server used of its slots (ns) in the counted period; shares of the `faulty` are
    /// held against what is `known` of capacities; `capacity` is all servers' in core-ns per ns.
    pub(crate) fn numbers(
        &self,
        servers: &[Server],
        busy: &[f64],
        (known, faulty): (&Known, Span),
        capacity: f64,
    ) -> Numbers {
        let mut numbers = Numbers::default();
        let mut set = |metric, value: f64| numbers.set(metric, value);
        let ms = |histogram: &Histogram<u32>, p: f64| histogram.value_at_percentile(p) as f64 / 1_000.0;
        let share = |part: u64, whole: u64| part as f64 / whole as f64;
        for (metric, p) in [
            (Metric::P50, 50.0),
            (Metric::P90, 90.0),
            (Metric::P99, 99.0),
            (Metric::P999, 99.9),
            (Metric::Max, 100.0),
        ] {
            set(metric, ms(&self.latency, p));
        }
        set(Metric::Mean, self.latency.mean() / 1_000.0);
        let mut mapped = self.latency.clone();
        mapped.saturating_record_n(DEADLINE_US, self.failed as u32);
        set(Metric::P99Mapped, ms(&mapped, 99.0));
        set(Metric::ErrorShare, share(self.failed, self.requests));
        set(Metric::MissedShare, share(self.missed, self.requests));
        set(Metric::WithinSecond, share(self.within_second, self.requests));
        set(Metric::CrossShare, share(self.cross, self.attempts));
        set(Metric::WastedShare, self.wasted_work / self.done_work);
        set(Metric::MessagesPerRequest, share(self.messages, self.requests));
        set(Metric::FaultyShare, share(self.faulty, self.attempts));
        let period = (self.periods.all[1] - self.periods.all[0]) as f64;
        let utils: Vec<f64> = servers.iter().zip(busy).map(|(s, busy)| busy / s.cores / period).collect();
        let (sum, squares) = utils.iter().fold((0.0, 0.0), |(s, q), u| (s + u, q + u * u));
        let highest = utils.iter().copied().fold(0.0, f64::max);
        set(Metric::UtilMaxOverMean, highest / sum * utils.len() as f64);
        set(Metric::UtilJain, sum * sum / squares / utils.len() as f64);
        set(Metric::ZoneUtilMax, zone_util(servers, busy, period));
        set(Metric::HeldMaxOverMean, self.held.1 / self.held.0 as f64);
        if let Some([from, to]) = self.periods.focus {
            let fair = |from, to| known.share(Span { from, to });
            let all = self.faulty_focus[1];
            set(Metric::FaultyFocus, share(self.faulty_focus[0], all) / fair(faulty.from, faulty.to));
            let attempts = |at: u32| self.focus_attempts.get(at as usize).copied().unwrap_or(0);
            let each = (faulty.from..faulty.to).map(|at| share(attempts(at), all) / fair(at, at + 1));
            // Of one server it would be the same again.
            let several = faulty.to > faulty.from + 1;
            set(Metric::FaultyFocusMax, if several { each.fold(f64::NAN, f64::max) } else { f64::NAN });
            set(Metric::FocusP99, ms(&self.focus, 99.0));
            let newcomers = share(self.newcomers[0], self.newcomers[1]);
            set(Metric::NewcomerFocus, newcomers / fair(faulty.from, faulty.to));
            if !self.newcomer.is_empty() {
                set(Metric::NewcomerRise, ms(&self.newcomer, 99.0) / ms(&self.focus, 99.0));
            }
            set(Metric::FocusBad, share(self.focus_bad, self.focus_requests));
            set(Metric::Goodput, self.focus_work / (capacity * (to - from) as f64));
        }
        if let Some((before, recovered)) = self.recovery() {
            set(Metric::RecoverS, recovered);
            set(Metric::FocusRise, ms(&self.focus, 99.0) / before);
        }
        numbers
    }

    /// p99 (ms) before the fault, and seconds from the fault to the first of [`RECOVERED_S`] seconds near it.
    fn recovery(&self) -> Option<(f64, f64)> {
        let fault = (self.periods.fault? / 1_000_000_000) as usize;
        let settled = (self.periods.all[0] / 1_000_000_000) as usize;
        let mut before: Histogram<u64> = Histogram::new_with_bounds(1, HIGHEST_US, 2).ok()?;
        self.seconds.get(settled..fault)?.iter().for_each(|second| {
            second
                .iter_recorded()
                .for_each(|v| before.saturating_record_n(v.value_iterated_to(), v.count_at_value().into()));
        });
        let old = before.value_at_percentile(99.0) as f64;
        let well: Vec<bool> = self.seconds[fault..]
            .iter()
            .map(|s| s.len() >= SECOND_MIN && s.value_at_percentile(99.0) as f64 <= RECOVERED * old)
            .collect();
        let recovered = well.windows(RECOVERED_S).position(|run| run.iter().all(|&w| w));
        Some((old / 1_000.0, recovered.unwrap_or(well.len()) as f64))
    }

    /// The latencies (ms) at [`CURVE`].
    pub(crate) fn curve(&self) -> Vec<f64> {
        CURVE.iter().map(|&p| self.latency.value_at_percentile(p) as f64 / 1_000.0).collect()
    }
}

/// Utilisation of the busiest zone.
fn zone_util(servers: &[Server], busy: &[f64], period: f64) -> f64 {
    let zones = servers.iter().map(|s| s.zone).max().unwrap_or(0);
    (0..=zones)
        .map(|zone| {
            let of = || servers.iter().zip(busy).filter(|(s, _)| s.zone == zone);
            of().map(|(_, busy)| busy).sum::<f64>() / of().map(|(s, _)| s.cores).sum::<f64>() / period
        })
        .fold(0.0, f64::max)
}
