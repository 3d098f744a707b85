//! Traefik's `leastTime` strategy: mean time to first byte of the last 100 answers × (1 + in flight), all servers looked
//! at; equal ones by earliest deadline first. An unmeasured server costs nothing, and old answers never age: both are the
//! product's.

use std::collections::VecDeque;

use lb_core::{Cause, Outcome, Tick};

use super::edf::Edf;
use crate::sim::balancer::{Ask, Balancer, Counts, Flight};
use crate::sim::policies::Known;

/// Answers remembered.
const SAMPLES: usize = 100;

/// Least time.
pub(crate) struct LeastTime {
    counts: Counts,
    samples: Vec<(VecDeque<f64>, f64)>,
    edf: Edf,
}

impl LeastTime {
    /// Nothing measured.
    pub(crate) fn new(known: &Known, seed: u64) -> Self {
        let samples = vec![(VecDeque::with_capacity(SAMPLES), 0.0); known.servers];
        LeastTime { counts: Counts::new(known.servers), samples, edf: Edf::new(known.servers, seed) }
    }

    fn score(&self, server: u32) -> f64 {
        let (samples, sum) = &self.samples[server as usize];
        let mean = if samples.is_empty() { 0.0 } else { sum / samples.len() as f64 };
        mean * f64::from(1 + self.counts.of(server))
    }
}

impl Balancer for LeastTime {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let least = ask.usable().map(|server| self.score(server)).fold(f64::INFINITY, f64::min);
        let tied: Vec<u32> = ask.usable().filter(|&server| self.score(server) <= least).collect();
        match tied[..] {
            [only] => Some(only),
            _ => self.edf.pick(&Ask { up: &tied, rng: ask.rng, probes: ask.probes, ..*ask }, |_| 1.0),
        }
    }

    fn on_start(&mut self, flight: &Flight) {
        self.counts.start(flight);
    }

    fn on_end(&mut self, flight: &Flight, outcome: Outcome, now: Tick) {
        self.counts.end(flight);
        // Without an answer there is no first byte.
        if !matches!(outcome, Outcome::Success | Outcome::Failure(Cause::Status)) {
            return;
        }
        let (samples, sum) = &mut self.samples[flight.server as usize];
        if samples.len() == SAMPLES {
            *sum -= samples.pop_front().unwrap_or(0.0);
        }
        let taken = now.since(flight.sent).as_secs_f64();
        samples.push_back(taken);
        *sum += taken;
    }

    fn on_member(&mut self, server: u32, _up: bool, _now: Tick) {
        self.samples[server as usize] = (VecDeque::new(), 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Stage, known};
    use super::*;

    #[test]
    fn mean_times_one_more_than_in_flight() {
        let (mut stage, mut policy) = (Stage::new(2), LeastTime::new(&known(&[1.0; 2]), 1));
        stage.answer(&mut policy, 0, 10);
        assert_eq!(stage.pick(&mut policy), 1, "unmeasured costs nothing");
        stage.answer(&mut policy, 1, 25);
        stage.start(&mut policy, 0);
        assert_eq!(stage.pick(&mut policy), 0, "20 is below 25");
        stage.start(&mut policy, 0);
        assert_eq!(stage.pick(&mut policy), 1, "25 is below 30");
    }
}
