//! What a backend's own words add to our counts: requests that others have there, and how busy it says it is.
//!
//! A count of requests in flight is old the moment it is read, and every balancer reads the same: whoever believed it for
//! longer than a request takes would send a herd. So it speaks for a moment, and then only its average does.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::estimate::seconds_between;
use crate::signal::Report;
use crate::word::{AtomicF32, AtomicPair};

/// Seconds for which a reported count speaks for itself: with 0.1 the simulated p99 of twenty balancers is 2 % longer, with
/// 0.3 it is 7 %.
const TAU_COUNT: f32 = 0.03;
/// Seconds over which counts are averaged: with 1, one unlucky moment in each scrape weighs more than our own count, and
/// tails are 2–3 % longer.
const TAU_MEAN: f32 = 10.0;
/// The same of counts that other balancers told on, which all average alike and err together: with 10, the simulated p99
/// of twenty balancers is 12 % longer; were they to speak for themselves, or to begin the average anew, it would be 55 %.
const TAU_RELAYED: f32 = 30.0;
/// Standard deviations (of a count that chance alone moves: the root of its mean) beyond which a count is no chance.
const SURPRISE: f32 = 3.0;
/// Seconds without a report until the average begins to fade: three intervals of the default scrape.
const HOLD: f32 = 6.0;
/// Seconds in which it then fades to 1/e.
const TAU_SILENCE: f32 = 10.0;
/// Seconds without a report after which nothing is left of it.
const FORGOTTEN: f32 = HOLD + 15.0 * TAU_SILENCE;
/// Fewer than this is forgotten, so that idle backends tie exactly.
const FLOOR: f32 = 0.05;

/// The latest words of one backend.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// Requests of others (`f32` bits) when last reported, and when (ms stamp).
    others: AtomicPair,
    /// Their average.
    mean: AtomicF32,
    /// How busy it last said it was (`f32` bits), and when.
    busy: AtomicPair,
    /// The same of its memory; not a number where it never said.
    memory: AtomicF32,
    /// Reports that told how busy it is.
    count: AtomicU32,
}

impl Reported {
    /// Takes a report; `own` is what we had in flight there ourselves.
    pub(super) fn take(&self, stamp: u32, report: &Report, own: u32) {
        if let Some(all) = report.in_flight {
            let others = (all as f32 - own as f32).max(0.0);
            let mut gap = 0.0;
            self.others.update(|(_, before)| {
                gap = if before == 0 { f32::INFINITY } else { seconds_between(before, stamp) };
                // Zero means never.
                (others.to_bits(), stamp.max(1))
            });
            let mean = self.mean.get();
            let usual = 1.0 - (-gap / TAU_MEAN).exp();
            let surprising = (others - mean).abs() > SURPRISE * (mean.sqrt() + 1.0);
            // Then the average begins anew: an overload that has ended must not linger for half a minute.
            let weight = if surprising { 1.0 } else { usual };
            self.mean.set(mean + weight * (others - mean));
        }
    }

    /// Takes how busy a response header says the backend is.
    pub(super) fn head(&self, stamp: u32, report: &Report) {
        if let Some(busy) = report.busy() {
            self.busy.update(|_| ((busy as f32).to_bits(), stamp));
            self.memory.set(report.memory.map_or(f32::NAN, |m| m as f32));
            self.count.fetch_add(1, Relaxed);
        }
    }

    /// The last of those, and how many there have been.
    pub(super) fn latest(&self) -> (u32, Report) {
        let (busy, _) = self.busy.get();
        let memory = self.memory.get();
        let report = Report {
            utilization: Some(f64::from(f32::from_bits(busy))),
            memory: (memory >= 0.0).then_some(f64::from(memory)),
            ..Report::default()
        };
        (self.count.load(Relaxed), report)
    }

    /// Takes a report that another balancer asked for and told on: seconds old, and told to all. For all of them to believe
    /// its count for a moment, each in its own, would be a herd that lasts until the next; so only the average moves.
    pub(super) fn relay(&self, stamp: u32, report: &Report, own: u32) {
        if let Some(all) = report.in_flight {
            let others = (all as f32 - own as f32).max(0.0);
            let mean = self.mean.get();
            let (_, before) = self.others.get();
            let gap = if before == 0 { f32::INFINITY } else { seconds_between(before, stamp) };
            let mean = mean + (1.0 - (-gap / TAU_RELAYED).exp()) * (others - mean);
            self.mean.set(mean);
            self.others.update(|_| (mean.to_bits(), stamp.max(1)));
        }
    }

    /// Requests of others that are likely to be there at `stamp`.
    pub(super) fn others(&self, stamp: u32) -> f32 {
        let (last, at) = self.others.get();
        if at == 0 {
            return 0.0;
        }
        let age = seconds_between(at, stamp);
        let fresh = (-age / TAU_COUNT).exp();
        let faded = (-(age - HOLD).max(0.0) / TAU_SILENCE).exp();
        let others = f32::from_bits(last) * fresh + self.mean.get() * (1.0 - fresh) * faded;
        if others < FLOOR { 0.0 } else { others }
    }

    /// The same, once a tick: what has faded is forgotten for good, since a stamp of milliseconds looks young again after weeks.
    pub(super) fn settle(&self, stamp: u32) -> f32 {
        let others = self.others(stamp);
        if self.age(stamp).is_some_and(|age| age > FORGOTTEN) {
            self.forget();
        }
        others
    }

    /// Seconds since others were last reported; `None` where they never were.
    pub(super) fn age(&self, stamp: u32) -> Option<f32> {
        let (_, at) = self.others.get();
        (at != 0).then(|| seconds_between(at, stamp))
    }

    pub(super) fn forget(&self) {
        self.others.update(|_| (0, 0));
        self.mean.set(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_tell_on_moves_the_average_and_never_speaks_for_itself() {
        let told = |all: f64| Report { in_flight: Some(all), ..Report::default() };
        let (own, relayed) = (Reported::default(), Reported::default());
        for second in 1..=60 {
            own.take(second * 1_000, &told(5.0), 1);
            relayed.relay(second * 1_000, &told(5.0), 1);
        }
        assert!((relayed.others(60_000) - 4.0).abs() < 0.01, "they agree in the long run");
        own.take(61_000, &told(40.0), 1);
        relayed.relay(61_000, &told(40.0), 1);
        assert!(own.others(61_000) > 38.0);
        assert!((4.5..6.0).contains(&relayed.others(61_000)), "{}", relayed.others(61_000));
    }
}
