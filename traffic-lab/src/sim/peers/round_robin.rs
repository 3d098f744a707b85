//! Round robin, and nginx's smooth weighted round robin (`ngx_http_upstream_round_robin.c`: add each server's weight to
//! its counter, pick the highest, take the sum of weights off it) with the servers' true weights.

use crate::sim::balancer::{Ask, Balancer};
use crate::sim::policies::Known;

/// In turn.
pub(crate) struct RoundRobin(usize);

impl RoundRobin {
    /// Starts anywhere.
    pub(crate) fn new(seed: u64) -> Self {
        RoundRobin((seed >> 32) as usize)
    }
}

impl Balancer for RoundRobin {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        (0..ask.up.len()).find_map(|_| {
            self.0 = self.0.wrapping_add(1);
            Some(ask.up[self.0 % ask.up.len()]).filter(|&server| !ask.tried.contains(server))
        })
    }
}

/// Smoothly in proportion to weight.
pub(crate) struct Smooth {
    weights: Vec<f64>,
    current: Vec<f64>,
}

impl Smooth {
    /// By true weights.
    pub(crate) fn new(known: &Known) -> Self {
        Smooth { weights: known.weights.clone(), current: vec![0.0; known.servers] }
    }
}

impl Balancer for Smooth {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let mut total = 0.0;
        for server in ask.usable() {
            let weight = self.weights[server as usize];
            self.current[server as usize] += weight;
            total += weight;
        }
        let current = |&server: &u32| self.current[server as usize];
        let best = ask.usable().max_by(|a, b| current(a).total_cmp(&current(b)))?;
        self.current[best as usize] -= total;
        Some(best)
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Stage, known};
    use super::*;

    #[test]
    fn turns_are_even_and_weights_smooth() {
        let mut stage = Stage::new(3);
        assert_eq!(stage.shares(&mut RoundRobin::new(0), 9), [3, 3, 3]);
        let mut smooth = Smooth::new(&known(&[5.0, 1.0, 1.0]));
        let picks: Vec<u32> = (0..7).map(|_| stage.pick(&mut smooth)).collect();
        assert_eq!(picks.iter().filter(|&&s| s == 0).count(), 5);
        assert!(!picks.windows(4).any(|w| w == [0, 0, 0, 0]), "{picks:?}: not in a row");
    }
}
