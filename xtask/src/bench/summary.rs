//! From samples to the table: medians, their spread, and ratios taken within each round.
//!
//! A ratio is that of two samples of the same round, minutes of noise apart at most; the table shows the median of
//! those, not the ratio of medians, so that a machine that slows down between rounds slows both sides.

use serde::Serialize;

use super::Sample;
use super::peer::Peer;
use super::scenario::Scenario;

/// Half of what an interval may miss by.
const TAIL: f64 = 0.025;

/// Median, least and most of some figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// What holds the true median 95 times in a hundred; `None` of too few.
    pub(crate) interval: Option<[f64; 2]>,
}

impl Spread {
    /// `None` of none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[upper]
        } else {
            f64::midpoint(sorted[upper - 1], sorted[upper])
        };
        Some(Self { median, min, max, interval: interval(&sorted) })
    }
}

/// The order statistics between which the true median lies 95 times in a hundred, whatever the figures' distribution: a
/// sign test, turned around.
fn interval(sorted: &[f64]) -> Option<[f64; 2]> {
    let n = sorted.len();
    // Of n fair coins so many heads or fewer come up 2.5 times in a hundred at most.
    let (mut term, mut sum, mut below) = (0.5_f64.powi(i32::try_from(n).ok()?), 0.0, 0);
    while below < n {
        sum += term;
        if sum > TAIL {
            break;
        }
        below += 1;
        term *= (n - below + 1) as f64 / below as f64;
    }
    let least = below.checked_sub(1)?;
    Some([sorted[least], sorted[n - 1 - least]])
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: Scenario,
    pub(crate) peer: Peer,
    pub(crate) cpu_us: Spread,
    pub(crate) cpu_stat_us: Spread,
    pub(crate) to_haproxy: Option<Spread>,
    pub(crate) to_relay: Option<Spread>,
    /// To ours as it is, for its variants.
    pub(crate) to_plain: Option<Spread>,
    /// Of an open loop, where latencies compare.
    pub(crate) p99_to_haproxy: Option<Spread>,
    pub(crate) requests_per_s: Spread,
    pub(crate) p50_us: Spread,
    pub(crate) p99_us: Spread,
    pub(crate) resident_mib: f64,
    pub(crate) errors: u64,
    /// Requests that may have been cut off at the windows' ends, to those that were done; their CPU is in the figure.
    pub(crate) cut_off: f64,
}

/// A row for each scenario and peer, in the order measured; `fresh` where the processes of each round were new.
pub(crate) fn rows(samples: &[Sample], fresh: bool) -> Vec<Row> {
    let mut keys: Vec<(Scenario, Peer)> = Vec::new();
    for sample in samples {
        if !keys.contains(&(sample.scenario, sample.peer)) {
            keys.push((sample.scenario, sample.peer));
        }
    }
    keys.into_iter().filter_map(|(scenario, peer)| row(samples, fresh, (scenario, peer))).collect()
}

fn row(samples: &[Sample], fresh: bool, (scenario, peer): (Scenario, Peer)) -> Option<Row> {
    let of = |peer| samples.iter().filter(move |sample| sample.scenario == scenario && sample.peer == peer);
    let spread = |figure: fn(&Sample) -> f64| Spread::of(of(peer).map(figure));
    let ratio_of = |anchor, figure: fn(&Sample) -> f64| {
        let pairs = of(peer)
            .filter_map(|sample| Some((sample, of(anchor).find(|other| other.round == sample.round)?)));
        Spread::of(pairs.map(|(sample, other)| figure(sample) / figure(other)))
    };
    let ratio = |anchor| ratio_of(anchor, Sample::cpu_us);
    // Two processes of one program differ for as long as they live: only among new ones are rounds independent.
    let sure = |spread: Spread| Spread { interval: spread.interval.filter(|_| fresh), ..spread };
    Some(Row {
        scenario,
        peer,
        cpu_us: spread(Sample::cpu_us)?,
        cpu_stat_us: spread(|sample| sample.cpu_stat_us_per_request)?,
        to_haproxy: ratio(Peer::Haproxy),
        to_relay: ratio(Peer::Relay),
        to_plain: peer.is_variant().then(|| ratio(Peer::Ours)).flatten().map(sure),
        p99_to_haproxy: (scenario.rate.is_some() && peer != Peer::Haproxy)
            .then(|| ratio_of(Peer::Haproxy, |sample| sample.load.p99_us.max(1) as f64))
            .flatten(),
        requests_per_s: spread(Sample::requests_per_s)?,
        p50_us: spread(|sample| sample.load.p50_us as f64)?,
        p99_us: spread(|sample| sample.load.p99_us as f64)?,
        resident_mib: of(peer).map(|sample| sample.resident_kib).max().unwrap_or(0) as f64 / 1024.0,
        errors: of(peer).map(|sample| sample.load.errors).sum(),
        cut_off: Spread::of(of(peer).map(|sample| scenario.open() as f64 / sample.load.requests as f64))?.max,
    })
}

/// The figure that a share of all does not exceed, of sorted ones (nearest rank); nought of none.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::Load;

    fn sample(peer: Peer, round: u32, cpu: f64) -> Sample {
        let load = Load { requests: 100, duration_us: 1_000_000, p50_us: 1, p90_us: 2, p99_us: 3, errors: 1 };
        Sample {
            scenario: Scenario::PLAIN,
            peer,
            round,
            cpu_sched_us_per_request: Some(cpu),
            cpu_stat_us_per_request: 0.0,
            resident_kib: 2048,
            load,
        }
    }

    #[test]
    fn the_ratio_is_taken_within_rounds() {
        let samples = [
            sample(Peer::Haproxy, 1, 10.0),
            sample(Peer::Ours, 1, 9.0),
            sample(Peer::Haproxy, 2, 20.0),
            sample(Peer::Ours, 2, 18.0),
            sample(Peer::Haproxy, 3, 30.0),
            sample(Peer::Ours, 3, 30.0),
        ];
        let rows = rows(&samples, true);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].to_haproxy, Some(Spread { median: 0.9, min: 0.9, max: 1.0, interval: None }));
        assert_eq!(rows[1].cpu_us, Spread { median: 18.0, min: 9.0, max: 30.0, interval: None });
        assert_eq!(rows[1].p99_to_haproxy, None, "a closed loop's latencies do not compare");
        assert_eq!((rows[1].to_relay, rows[1].errors, rows[1].resident_mib), (None, 3, 2.0));
    }

    /// Against the tables of the sign test.
    #[test]
    fn an_interval_is_that_of_the_sign_test() {
        let of = |n: u32| Spread::of((1..=n).map(f64::from)).unwrap().interval;
        assert_eq!((of(5), of(6), of(9)), (None, Some([1.0, 6.0]), Some([2.0, 8.0])));
        assert_eq!((of(20), of(100)), (Some([6.0, 15.0]), Some([40.0, 61.0])));
        assert!(of(1_000).is_some_and(|[from, to]| from == 469.0 && to == 532.0), "{:?}", of(1_000));
    }

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(
            (percentile(&hundred, 0.5), percentile(&hundred, 0.99), percentile(&[], 0.5)),
            (50, 99, 0)
        );
    }
}
