//! When requests of an open loop are due, counted from its beginning.
//!
//! Times follow from rate and seed alone, never from answers: that is what makes the loop open.

use std::time::Duration;

use clap::ValueEnum;
use lb_core::Rng;

use crate::sim::draw::exponential;

/// Gaps between requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// Exponential gaps: many independent users.
    #[default]
    Poisson,
    /// Equal gaps.
    Constant,
}

impl Arrivals {
    /// Times without end, `rate` of them a second.
    pub(crate) fn times(self, rate: f64, seed: u64) -> impl Iterator<Item = Duration> {
        let mut rng = Rng::seeded(seed);
        let mut gaps = 0.0;
        (0_u64..).map(move |number| {
            gaps = match self {
                Arrivals::Poisson => gaps + exponential(&mut rng),
                Arrivals::Constant => number as f64,
            };
            Duration::try_from_secs_f64(gaps / rate).unwrap_or(Duration::MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_gaps_are_equal() {
        let times: Vec<Duration> = Arrivals::Constant.times(100.0, 1).take(4).collect();
        assert_eq!(times, [0, 10, 20, 30].map(Duration::from_millis));
    }

    #[test]
    fn poisson_gaps_are_exponential_and_follow_from_the_seed() {
        const COUNT: usize = 50_000;
        let times = |seed| Arrivals::Poisson.times(1000.0, seed).take(COUNT).collect::<Vec<_>>();
        let list = times(1);
        assert_eq!(list, times(1));
        assert_ne!(list, times(2));
        let gaps: Vec<f64> = list.windows(2).map(|two| (two[1] - two[0]).as_secs_f64() * 1e3).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        // Six standard errors of an exponential's mean: 1/sqrt(n) is 0.0045.
        assert!((mean - 1.0).abs() < 0.027, "{mean}");
        let above = gaps.iter().filter(|gap| **gap > 1.0).count() as f64 / gaps.len() as f64;
        assert!((above - (-1.0_f64).exp()).abs() < 0.013, "{above}");
    }
}
