//! HAProxy's `leastconn` (`lb_fwlc.c`): the smallest key wins, where the key is 0 for an idle server whatever its weight,
//! and (in flight + 1) / weight for others; equal ones take turns, since a picked server goes to the end of its list.

use lb_core::{Outcome, Tick};

use crate::sim::balancer::{Ask, Balancer, Counts, Flight};
use crate::sim::policies::Known;

/// Fewest connections, all servers looked at.
pub(crate) struct LeastConn {
    counts: Counts,
    weights: Vec<f64>,
    last: u32,
}

impl LeastConn {
    /// With the weights that most configurations have: equal ones.
    pub(crate) fn even(known: &Known, seed: u64) -> Self {
        let weights = vec![1.0; known.servers];
        LeastConn { counts: Counts::new(known.servers), weights, last: (seed >> 40) as u32 }
    }

    /// With true weights, told by hand.
    pub(crate) fn told(known: &Known, seed: u64) -> Self {
        LeastConn { weights: known.weights.clone(), ..Self::even(known, seed) }
    }

    fn key(&self, server: u32) -> f64 {
        match self.counts.of(server) {
            0 => 0.0,
            held => f64::from(held + 1) / self.weights[server as usize],
        }
    }
}

impl Balancer for LeastConn {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let after = |&server: &u32| (server <= self.last, server);
        let best = ask
            .usable()
            .min_by(|a, b| self.key(*a).total_cmp(&self.key(*b)).then_with(|| after(a).cmp(&after(b))))?;
        self.last = best;
        Some(best)
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
    fn idle_first_whatever_the_weight_and_ties_in_turn() {
        let (mut stage, mut policy) = (Stage::new(3), LeastConn::told(&known(&[9.0, 1.0, 1.0]), 0));
        stage.start(&mut policy, 0);
        assert_eq!(stage.shares(&mut policy, 10), [0, 5, 5]);
        stage.start(&mut policy, 1);
        stage.start(&mut policy, 2);
        assert_eq!(stage.pick(&mut policy), 0, "2/9 is below 2/1");
    }
}
