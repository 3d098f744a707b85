//! Client-side weighted round robin (gRFC A58, Envoy's `client_side_weighted_round_robin`): once a second the weight of
//! each server becomes qps / (utilisation + errors per second / qps × penalty), from what the servers report; picks go by
//! earliest deadline. A server without a usable weight gets the mean of the others (gRPC's rule).

use lb_core::Tick;

use super::edf::Edf;
use crate::sim::balancer::{Ask, Balancer, Report, Source};
use crate::sim::policies::Known;

/// Seconds of reports before a weight is used.
const BLACKOUT_S: f64 = 10.0;
/// Seconds after which a weight without new reports is not used.
const EXPIRY_S: f64 = 180.0;
/// What errors cost.
const PENALTY: f64 = 1.0;
/// Seconds between two updates of the schedule.
const UPDATE_S: f64 = 1.0;

#[derive(Debug, Clone, Default)]
struct Seen {
    since: Option<f64>,
    at: f64,
    good: u64,
    bad: u64,
    weight: f64,
}

/// Weighted by reports.
pub(crate) struct Cswrr {
    seen: Vec<Seen>,
    weights: Vec<f64>,
    edf: Edf,
    updated: f64,
}

impl Cswrr {
    /// All alike until reports say otherwise.
    pub(crate) fn new(known: &Known, seed: u64) -> Self {
        Cswrr {
            seen: vec![Seen::default(); known.servers],
            weights: vec![1.0; known.servers],
            edf: Edf::new(known.servers, seed),
            updated: 0.0,
        }
    }
}

fn seconds(now: Tick) -> f64 {
    now.since(Tick::ZERO).as_secs_f64()
}

impl Balancer for Cswrr {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let weights = &self.weights;
        self.edf.pick(ask, |server| weights[server as usize])
    }

    fn on_report(&mut self, server: u32, source: Source, report: &Report, now: Tick) {
        if source != Source::Scrape {
            return;
        }
        let (seen, now) = (&mut self.seen[server as usize], seconds(now));
        let window = now - seen.at;
        let (good, bad) = (report.good.saturating_sub(seen.good), report.bad.saturating_sub(seen.bad));
        let qps = (good + bad) as f64 / window;
        let cost = report.util + bad as f64 / window / qps * PENALTY;
        let first = seen.since.is_none();
        (seen.at, seen.good, seen.bad) = (now, report.good, report.bad);
        // No utilisation or no traffic makes no weight; the last one stays until it expires.
        if !first && qps > 0.0 && cost > 0.0 && cost.is_finite() {
            seen.weight = qps / cost;
        }
        seen.since = seen.since.or(Some(now));
    }

    fn on_member(&mut self, server: u32, _up: bool, _now: Tick) {
        self.seen[server as usize] = Seen::default();
    }

    fn tick(&mut self, now: Tick) {
        let now = seconds(now);
        if now - self.updated < UPDATE_S {
            return;
        }
        self.updated = now;
        let usable = |seen: &Seen| {
            let known = seen.since.is_some_and(|since| now - since >= BLACKOUT_S);
            (known && now - seen.at < EXPIRY_S && seen.weight > 0.0).then_some(seen.weight)
        };
        let known: Vec<f64> = self.seen.iter().filter_map(usable).collect();
        let mean = if known.is_empty() { 1.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        for (weight, seen) in self.weights.iter_mut().zip(&self.seen) {
            *weight = usable(seen).unwrap_or(mean) / mean;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Stage, known};
    use super::*;

    #[test]
    fn weight_is_rate_over_utilisation_after_the_blackout() {
        let (mut stage, mut policy) = (Stage::new(2), Cswrr::new(&known(&[1.0; 2]), 1));
        for second in 1..=12u64 {
            for (server, util) in [(0, 0.2), (1, 0.8)] {
                let good = second * 100;
                let report = Report { util, good, ..Report::default() };
                policy.on_report(server, Source::Scrape, &report, Tick::from_millis(second * 1_000));
            }
            policy.tick(Tick::from_millis(second * 1_000));
            if second == 9 {
                assert_eq!(policy.weights, [1.0, 1.0]);
            }
        }
        let shares = stage.shares(&mut policy, 1_000);
        assert!(shares[0].abs_diff(800) <= 2, "{shares:?}");
    }
}
