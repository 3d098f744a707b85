//! Latency averages under two choices.
//!
//! Finagle's and tower's peak EWMA (`PeakEwma.scala`, `tower/src/load/peak_ewma.rs`): a sample above the average replaces
//! it, others are averaged in over τ = 10 s. Looking at a cost decays it towards zero and stores it so: every draw of either
//! of the two counts, and a sample weighs by the time since the last look. Cost = average × (in flight + 1), and an unknown
//! server with something in flight is dear. Envoy's `peak_ewma` (`contrib/peak_ewma`): despite its name a plain
//! average, of samples that are taken in every 100 ms.

use lb_core::{Outcome, Tick};

use crate::sim::balancer::{Ask, Balancer, Counts, Flight};
use crate::sim::policies::Known;

/// Seconds over which samples are averaged.
const TAU: f64 = 10.0;
/// Cost of an unknown server that has something in flight (s): Finagle's penalty, only has to be large.
const PENALTY: f64 = 1e6;
/// Seconds between two times that Envoy takes samples in.
const AGGREGATION: f64 = 0.1;

#[derive(Debug, Clone, Copy, Default)]
struct Average {
    seconds: f64,
    at: f64,
}

/// With peaks.
pub(crate) struct PeakEwma {
    counts: Counts,
    averages: Vec<Average>,
}

impl PeakEwma {
    /// Nothing known.
    pub(crate) fn new(known: &Known) -> Self {
        PeakEwma { counts: Counts::new(known.servers), averages: vec![Average::default(); known.servers] }
    }

    /// The cost of a server, decayed to `now` and stored: Finagle's `Node.load`.
    fn get(&mut self, server: u32, now: f64) -> f64 {
        let held = f64::from(self.counts.of(server));
        let seconds = self.averages[server as usize].observe(0.0, now);
        if seconds <= 0.0 && held > 0.0 { PENALTY + held } else { seconds * (held + 1.0) }
    }
}

impl Average {
    /// Takes a sample in, at once where it is a peak; nothing (0) only decays.
    fn observe(&mut self, sample: f64, now: f64) -> f64 {
        let keep = (-(now - self.at) / TAU).exp();
        let mixed = self.seconds * keep + sample * (1.0 - keep);
        *self = Average { seconds: if sample > self.seconds { sample } else { mixed }, at: now };
        self.seconds
    }
}

fn seconds(now: Tick) -> f64 {
    now.since(Tick::ZERO).as_secs_f64()
}

impl Balancer for PeakEwma {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let (first, second) = ask.draw_two()?;
        let now = seconds(ask.now);
        let (one, other) = (self.get(first, now), self.get(second, now));
        Some(if other < one { second } else { first })
    }

    fn on_start(&mut self, flight: &Flight) {
        self.counts.start(flight);
    }

    fn on_end(&mut self, flight: &Flight, _outcome: Outcome, now: Tick) {
        self.counts.end(flight);
        let sample = now.since(flight.sent).as_secs_f64();
        self.averages[flight.server as usize].observe(sample, seconds(now));
    }

    fn on_member(&mut self, server: u32, _up: bool, _now: Tick) {
        self.averages[server as usize] = Average::default();
    }
}

/// Without.
pub(crate) struct PlainEwma {
    counts: Counts,
    averages: Vec<Average>,
    samples: Vec<(u32, f64, f64)>,
    taken: f64,
}

impl PlainEwma {
    /// Nothing known.
    pub(crate) fn new(known: &Known) -> Self {
        let averages = vec![Average::default(); known.servers];
        PlainEwma { counts: Counts::new(known.servers), averages, samples: Vec::new(), taken: 0.0 }
    }

    fn cost(&self, server: u32) -> f64 {
        let Average { seconds, .. } = self.averages[server as usize];
        let held = f64::from(self.counts.of(server));
        if seconds <= 0.0 && held > 0.0 { PENALTY + held } else { seconds * (held + 1.0) }
    }
}

impl Balancer for PlainEwma {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let (first, second) = ask.draw_two()?;
        Some(if self.cost(second) < self.cost(first) { second } else { first })
    }

    fn on_start(&mut self, flight: &Flight) {
        self.counts.start(flight);
    }

    fn on_end(&mut self, flight: &Flight, _outcome: Outcome, now: Tick) {
        self.counts.end(flight);
        self.samples.push((flight.server, now.since(flight.sent).as_secs_f64(), seconds(now)));
    }

    fn on_member(&mut self, server: u32, _up: bool, _now: Tick) {
        self.averages[server as usize] = Average::default();
    }

    fn tick(&mut self, now: Tick) {
        if seconds(now) - self.taken < AGGREGATION {
            return;
        }
        self.taken = seconds(now);
        for (server, sample, at) in self.samples.drain(..) {
            let average = &mut self.averages[server as usize];
            let keep = if average.seconds > 0.0 { (-(at - average.at) / TAU).exp() } else { 0.0 };
            *average = Average { seconds: average.seconds * keep + sample * (1.0 - keep), at };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Stage, known};
    use super::*;

    #[test]
    fn a_peak_replaces_the_average_and_silence_decays_it() {
        let (mut stage, mut policy) = (Stage::new(2), PeakEwma::new(&known(&[1.0; 2])));
        stage.answer(&mut policy, 0, 10);
        stage.answer(&mut policy, 0, 500);
        assert_eq!(policy.averages[0].seconds, 0.5);
        stage.answer(&mut policy, 0, 10);
        assert!((0.49..0.5).contains(&policy.averages[0].seconds));
        let now = seconds(stage.now);
        assert!(policy.get(0, now + 40.0) < 0.01);
        assert!(policy.averages[0].seconds < 0.01, "a look stores what it decayed");
        stage.start(&mut policy, 1);
        assert!(policy.get(1, now) > PENALTY);
    }

    #[test]
    fn without_peaks_a_sample_waits_for_its_aggregation() {
        let (mut stage, mut policy) = (Stage::new(2), PlainEwma::new(&known(&[1.0; 2])));
        stage.answer(&mut policy, 0, 10);
        assert_eq!(policy.averages[0].seconds, 0.0);
        policy.tick(Tick::from_millis(100));
        stage.answer(&mut policy, 0, 500);
        policy.tick(Tick::from_millis(520));
        assert!((0.02..0.05).contains(&policy.averages[0].seconds), "{:?}", policy.averages[0]);
    }
}
