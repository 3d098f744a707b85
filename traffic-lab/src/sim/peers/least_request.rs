//! Envoy's `LEAST_REQUEST` (`least_request_lb.cc`). Equal weights: `choice_count` = 2 uniform draws with replacement, the
//! later one wins only if it has fewer active. Unequal weights: earliest deadline first with weight / (active + 1).

use lb_core::{Outcome, Tick};

use super::edf::Edf;
use crate::sim::balancer::{Ask, Balancer, Counts, Flight};
use crate::sim::policies::Known;

/// Equal weights.
pub(crate) struct LeastRequest(Counts);

impl LeastRequest {
    /// Nothing in flight.
    pub(crate) fn new(known: &Known) -> Self {
        LeastRequest(Counts::new(known.servers))
    }
}

impl Balancer for LeastRequest {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let (first, _) = ask.draw_two()?;
        let (second, _) = ask.draw_two()?;
        Some(if self.0.of(second) < self.0.of(first) { second } else { first })
    }

    fn on_start(&mut self, flight: &Flight) {
        self.0.start(flight);
    }

    fn on_end(&mut self, flight: &Flight, _outcome: Outcome, _now: Tick) {
        self.0.end(flight);
    }
}

/// Unequal weights, told by hand.
pub(crate) struct WeightedLeastRequest {
    counts: Counts,
    weights: Vec<f64>,
    edf: Edf,
}

impl WeightedLeastRequest {
    /// Nothing in flight.
    pub(crate) fn new(known: &Known, seed: u64) -> Self {
        let (counts, weights) = (Counts::new(known.servers), known.weights.clone());
        WeightedLeastRequest { counts, weights, edf: Edf::new(known.servers, seed) }
    }
}

impl Balancer for WeightedLeastRequest {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let (counts, weights) = (&self.counts, &self.weights);
        self.edf.pick(ask, |server| weights[server as usize] / f64::from(counts.of(server) + 1))
    }

    fn on_start(&mut self, flight: &Flight) {
        self.counts.start(flight);
    }

    fn on_end(&mut self, flight: &Flight, _outcome: Outcome, _now: Tick) {
        self.counts.end(flight);
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Stage, known};
    use super::*;

    #[test]
    fn a_busy_server_is_met_by_both_draws_only() {
        let (mut stage, mut policy) = (Stage::new(4), LeastRequest::new(&known(&[1.0; 4])));
        stage.start(&mut policy, 2);
        let shares = stage.shares(&mut policy, 16_000);
        assert!((800..1_200).contains(&shares[2]), "{shares:?}");
    }

    #[test]
    fn weights_are_shared_out() {
        let (mut stage, known) = (Stage::new(2), known(&[3.0, 1.0]));
        let shares = stage.shares(&mut WeightedLeastRequest::new(&known, 1), 400);
        assert!(shares[0].abs_diff(300) <= 2, "{shares:?}");
    }
}
