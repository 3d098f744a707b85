//! Which backends succeed much less often than the others: what consecutive failures do not show, because a success
//! now and then ends every run.
//!
//! A backend is compared with the others and not with itself as well. With n backends no value lies more than √(n − 1)
//! standard deviations from a mean that it is part of (Samuelson, "How deviant can you be?", JASA 63, 1968), so "mean
//! minus 1.9 deviations" could never be undershot with fewer than five; Envoy has this hole and closes it by not
//! looking below five hosts (`success_rate_minimum_hosts`). Leaving the backend out works from two on.
//!
//! It fails by leaving in those that fail alike: each hides the other by widening the deviation of the rest. Where all
//! fail alike that is the point, since ejecting would not help.

use crate::breaker::{Reason, Rules};
use crate::tick::Tick;

/// Buckets in a window, one second each: long enough for a rate to mean something, short enough for a healed backend
/// to be seen as healed soon.
const BUCKETS: usize = 10;
/// Nanoseconds in a bucket.
const BUCKET_NANOS: u64 = 1_000_000_000;
/// Success rate by which an outlier lies below the others at least: where these agree to the per mille, any difference
/// would be many deviations.
const MIN_GAP: f64 = 0.1;

/// Share of failures from which a backend counts as failing, when it is asked whether most are: a sound service stays well
/// below, and with one failure in twenty five in a row come by chance only once in days.
const FAILING: f64 = 0.05;
/// Of the backends, more than this share must be failing for failure to be the rule: with two, both.
const MOST: f64 = 0.5;

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    second: u64,
    good: u32,
    bad: u32,
}

/// How one backend's requests of the last 9–10 s ended: ten buckets of one second, the oldest overwritten.
#[derive(Debug, Clone, Default)]
pub struct Window([Bucket; BUCKETS]);

impl Window {
    /// With nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts `good` successes and `bad` failures that ended at `now`. What is older than the window is not counted.
    pub fn add(&mut self, now: Tick, good: u32, bad: u32) {
        let second = now.nanos() / BUCKET_NANOS;
        let bucket = &mut self.0[(second % BUCKETS as u64) as usize];
        if second > bucket.second {
            *bucket = Bucket { second, ..Bucket::default() };
        }
        if second == bucket.second {
            bucket.good = bucket.good.saturating_add(good);
            bucket.bad = bucket.bad.saturating_add(bad);
        }
    }

    /// Successes and failures in the second of `now` and the nine before it.
    #[must_use]
    pub fn sum(&self, now: Tick) -> (u32, u32) {
        let second = now.nanos() / BUCKET_NANOS;
        let recent = |bucket: &&Bucket| bucket.second.saturating_add(BUCKETS as u64) > second;
        self.0.iter().filter(recent).fold((0, 0), |(good, bad): (u32, u32), bucket| {
            (good.saturating_add(bucket.good), bad.saturating_add(bucket.bad))
        })
    }
}

/// The outliers among backends, given the (good, bad) of each one's window, or `None` for those that take no part (out
/// already, draining). Returned by position, with the numbers that convict them.
///
/// Measured are the backends with at least `rules.requests`. An outlier is a measured backend whose success rate is
/// below `rules.success` and below the mean of the other measured ones by more than `rules.deviations` of their
/// (population) standard deviations and by more than 0.1. With no other backend measured there is none.
#[must_use]
pub fn outlier(rates: &[Option<(u32, u32)>], rules: &Rules) -> Vec<(usize, Reason)> {
    let measured: Vec<(usize, f64, u32)> = rates
        .iter()
        .enumerate()
        .filter_map(|(at, rate)| {
            let (good, bad) = (*rate)?;
            let requests = good.saturating_add(bad);
            (requests >= rules.requests.max(1))
                .then(|| (at, f64::from(good) / (f64::from(good) + f64::from(bad)), requests))
        })
        .collect();
    if measured.len() < 2 {
        return Vec::new();
    }
    let others = (measured.len() - 1) as f64;
    let (sum, squares) = measured.iter().fold((0.0, 0.0), |(s, q), (_, rate, _)| (s + rate, q + rate * rate));
    let convict = |&(at, rate, requests): &(usize, f64, u32)| {
        let mean = (sum - rate) / others;
        // Rounding may leave less than nothing.
        let deviation = ((squares - rate * rate) / others - mean * mean).max(0.0).sqrt();
        let gap = (rules.deviations * deviation).max(MIN_GAP);
        (rate < rules.success && rate < mean - gap)
            .then_some((at, Reason::SuccessRate { rate, others: mean, deviation, requests }))
    };
    measured.iter().filter_map(convict).collect()
}

/// Whether failing is the rule: more than half of the measured backends fail one request in twenty or more. Then it is the
/// load or the requests, not a backend, and ejecting would take capacity from a pool that has too little. `rates` as in
/// [`outlier`].
#[must_use]
pub fn widespread(rates: &[Option<(u32, u32)>], rules: &Rules) -> bool {
    let measured =
        rates.iter().flatten().filter(|(good, bad)| good.saturating_add(*bad) >= rules.requests.max(1));
    let (all, failing) = measured.fold((0u32, 0u32), |(all, failing), &(good, bad)| {
        let fails = f64::from(bad) >= FAILING * (f64::from(good) + f64::from(bad));
        (all + 1, failing + u32::from(fails))
    });
    all >= 2 && f64::from(failing) > MOST * f64::from(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn failing_is_the_rule_where_most_of_the_measured_fail() {
        let rules = Rules::default();
        let (fine, failing, few) = (Some((990, 10)), Some((900, 100)), Some((0, 3)));
        assert!(!widespread(&[fine, fine, failing], &rules));
        assert!(!widespread(&[fine, failing, None, few], &rules), "one of two that are measured");
        assert!(widespread(&[failing, fine, failing, few], &rules), "two of three");
        assert!(!widespread(&[failing, few, None], &rules), "nobody to compare with");
        assert!(!widespread(&[], &rules));
    }

    /// The window against the list of everything that was ever added.
    #[test]
    fn a_window_follows_the_model() {
        let mut rng = Rng::seeded(31);
        for _ in 0..100 {
            let (mut window, mut all, mut now) = (Window::new(), Vec::new(), u64::from(rng.below(100_000)));
            for _ in 0..400 {
                now += u64::from(if rng.below(30) == 0 { rng.below(30_000) } else { rng.below(900) });
                let (good, bad) = (rng.below(50), rng.below(50));
                window.add(Tick::from_millis(now), good, bad);
                all.push((now / 1_000, good, bad));
                let later = now + u64::from(rng.below(12_000));
                let recent = all.iter().filter(|(second, _, _)| second + 10 > later / 1_000);
                let model = recent.fold((0, 0), |sum, (_, good, bad)| (sum.0 + good, sum.1 + bad));
                assert_eq!(window.sum(Tick::from_millis(later)), model);
            }
        }
    }

    #[test]
    fn a_window_neither_overflows_nor_takes_what_is_too_old() {
        let mut window = Window::new();
        window.add(Tick::from_millis(20_000), u32::MAX, 1);
        window.add(Tick::from_millis(20_000), 1, u32::MAX);
        window.add(Tick::from_millis(10_000), 0, 5);
        window.add(Tick::from_millis(21_000), 9, 9);
        assert_eq!(window.sum(Tick::from_millis(21_000)), (u32::MAX, u32::MAX));
        assert_eq!(window.sum(Tick::from_nanos(u64::MAX)), (0, 0));
    }

    /// Against the rule as said, each mean and deviation summed afresh over the others.
    #[test]
    fn follows_the_model() {
        let (mut rng, rules, mut found) = (Rng::seeded(32), Rules::default(), 0);
        for _ in 0..20_000 {
            let mut one = || match rng.below(4) {
                0 => None,
                1 => Some((rng.below(100), rng.below(100))),
                _ => Some((90 + rng.below(10), rng.below(10))),
            };
            let rates: Vec<Option<(u32, u32)>> = (0..8).map(|_| one()).collect();
            let rate = |at: usize| {
                let (good, bad) = rates[at]?;
                (good + bad >= 20).then(|| f64::from(good) / f64::from(good + bad))
            };
            let expected: Vec<usize> = (0..rates.len())
                .filter(|&at| {
                    let others: Vec<f64> = (0..rates.len()).filter(|&o| o != at).filter_map(rate).collect();
                    let Some(mine) = rate(at) else { return false };
                    let n = others.len() as f64;
                    let mean = others.iter().sum::<f64>() / n;
                    let deviation = (others.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n).sqrt();
                    n > 0.0 && mine < 0.85 && mine < mean - 0.1 && mine < mean - 1.9 * deviation
                })
                .collect();
            let outliers: Vec<usize> = outlier(&rates, &rules).into_iter().map(|(at, _)| at).collect();
            assert_eq!(outliers, expected, "{rates:?}");
            found += outliers.len();
        }
        assert!(found > 1_000, "{found}");
    }

    #[test]
    fn small_pools() {
        let rules = Rules::default();
        let found = |rates: &[(u32, u32)]| {
            let rates: Vec<_> = rates.iter().copied().map(Some).collect();
            outlier(&rates, &rules).into_iter().map(|(at, _)| at).collect::<Vec<_>>()
        };
        assert_eq!(found(&[(50, 50)]), [0; 0], "nobody to compare with");
        assert_eq!(found(&[(100, 0), (50, 50)]), [1]);
        assert_eq!(found(&[(99, 1), (50, 50), (100, 0)]), [1], "could not fire with itself in the mean");
        assert_eq!(found(&[(99, 1), (9, 10), (100, 0)]), [0; 0], "too few requests");
        assert_eq!(found(&[(100, 0), (91, 9), (100, 0)]), [0; 0], "not bad enough");
        let numbers = outlier(&[Some((100, 0)), Some((50, 50))], &rules);
        let expected = Reason::SuccessRate { rate: 0.5, others: 1.0, deviation: 0.0, requests: 100 };
        assert_eq!(numbers, [(1, expected)]);
    }

    #[test]
    fn who_fail_alike_are_no_outliers() {
        for n in 0..50 {
            for good in 0..=100 {
                assert!(outlier(&vec![Some((good, 100 - good)); n], &Rules::default()).is_empty());
            }
        }
    }
}
