//! What is sent, decided before the run: when each request is due, how much work it is, and the dice for its failure.
//!
//! One seed gives one list, and every policy is sent that list: what differs between them is then not luck. Times, work
//! and dice have their own streams, so that one of them can change without the others.

use std::time::Duration;

use lb_core::Rng;

/// What is added to a seed for each stream.
const STREAMS: [u64; 3] = [0x5eed_0001, 0x5eed_0002, 0x5eed_0003];

/// The load of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Requests per second.
    pub(crate) rate: f64,
    /// Mean service time, in milliseconds.
    pub(crate) service_ms: f64,
    /// Discarded, at the beginning.
    pub(crate) warm_up: Duration,
    /// Measured, after it.
    pub(crate) measured: Duration,
    /// The repeat's.
    pub(crate) seed: u64,
}

/// One request to be sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Demand {
    /// When, after the start of the warm-up.
    pub(crate) due: Duration,
    /// Its work, in microseconds at full speed.
    pub(crate) work_us: u32,
    /// Uniform in 0..1: it fails where a backend's share of failures is above.
    pub(crate) draw: f64,
    /// Whether it is due after the warm-up.
    pub(crate) measured: bool,
}

/// All requests of a run, in order: Poisson arrivals, exponential work.
pub(crate) fn demands(load: &Load) -> Vec<Demand> {
    let [mut arrivals, mut work, mut draws] =
        STREAMS.map(|stream| Rng::seeded(load.seed.wrapping_mul(0x9e37_79b9).wrapping_add(stream)));
    let end = (load.warm_up + load.measured).as_secs_f64();
    let mut demands = Vec::with_capacity((end * load.rate * 1.05) as usize);
    let mut at = exponential(&mut arrivals) / load.rate;
    while at < end {
        let due = Duration::from_secs_f64(at);
        let work_us = (exponential(&mut work) * load.service_ms * 1e3) as u32;
        demands.push(Demand { due, work_us, draw: draws.unit(), measured: due >= load.warm_up });
        at += exponential(&mut arrivals) / load.rate;
    }
    demands
}

/// Exponential with mean 1.
fn exponential(rng: &mut Rng) -> f64 {
    // `unit` never is 1.
    -(1.0 - rng.unit()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_a_list_with_the_means_asked_for() {
        let second = Duration::from_secs(1);
        let load =
            Load { rate: 1000.0, service_ms: 20.0, warm_up: 10 * second, measured: 40 * second, seed: 1 };
        let list = demands(&load);
        let within = |value: f64, of: f64| (value / of - 1.0).abs() < 0.02;
        assert!(within(list.len() as f64, 50_000.0), "{}", list.len());
        let mean = list.iter().map(|one| f64::from(one.work_us)).sum::<f64>() / list.len() as f64;
        assert!(within(mean, 20_000.0), "{mean}");
        assert!(within(list.iter().filter(|one| one.measured).count() as f64, 40_000.0));
        assert_eq!(list, demands(&load));
        assert_ne!(list, demands(&Load { seed: 2, ..load }));
    }
}
