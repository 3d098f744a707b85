//! Random; HAProxy's `balance random(2)` (`lb_chash.c`: each draw walks from a random point of the ring, so both may hit
//! the same server; the later one wins if it serves less); nginx's `random two` (two different ones, fewer connections).

use lb_core::{Outcome, Tick};

use crate::sim::balancer::{Ask, Balancer, Counts, Flight};
use crate::sim::policies::Known;

/// Anywhere.
pub(crate) struct Random;

impl Balancer for Random {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        ask.draw_two().map(|(first, _)| first)
    }
}

/// The less busy of two.
pub(crate) struct RandomTwo {
    counts: Counts,
    distinct: bool,
}

impl RandomTwo {
    /// HAProxy's draws.
    pub(crate) fn with_replacement(known: &Known) -> Self {
        RandomTwo { counts: Counts::new(known.servers), distinct: false }
    }

    /// nginx's draws.
    pub(crate) fn distinct(known: &Known) -> Self {
        RandomTwo { counts: Counts::new(known.servers), distinct: true }
    }
}

impl Balancer for RandomTwo {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let (first, mut second) = ask.draw_two()?;
        if !self.distinct {
            second = ask.draw_two()?.0;
        }
        Some(if self.counts.of(second) < self.counts.of(first) { second } else { first })
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

    /// Of two servers one is busy: distinct draws never meet it, draws with replacement a quarter of the time.
    #[test]
    fn replacement_is_what_tells_them_apart() {
        let mut stage = Stage::new(2);
        for (mut policy, busy) in [
            (RandomTwo::distinct(&known(&[1.0; 2])), 0..1),
            (RandomTwo::with_replacement(&known(&[1.0; 2])), 900..1_100),
        ] {
            stage.start(&mut policy, 0);
            let shares = stage.shares(&mut policy, 4_000);
            assert!(busy.contains(&shares[0]), "{shares:?}");
        }
    }
}
