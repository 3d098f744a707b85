//! Randomness by concern. Each concern has a stream of its own, and what belongs to one request is drawn from a generator
//! seeded by that request: whatever a policy does, arrivals, sizes and network delays stay the same, so that policies are
//! compared on identical traffic and not on luck.

use lb_core::Rng;
use serde::Deserialize;

/// What a stream of random numbers is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Concern {
    /// When requests arrive, and at which balancer.
    Arrivals = 1,
    /// How much work a request is.
    Sizes = 2,
    /// How long an attempt's packets travel, and whether a failing server fails it; how long retries wait.
    Network = 3,
    /// What policies draw.
    Policy = 4,
    /// When faults happen.
    Faults = 5,
    /// Noise in what servers report.
    Telemetry = 6,
}

/// Spreads concerns and items over the seeds; any large odd number that is not SplitMix64's own step.
const SPREAD: u64 = 0xd6e8_feb8_6659_fd93;

/// All streams of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streams(u64);

impl Streams {
    /// Streams that follow from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Streams(seed)
    }

    /// The generator of item `item` of `concern`.
    pub(crate) fn of(self, concern: Concern, item: u64) -> Rng {
        let base = Rng::seeded(self.0 ^ (concern as u64).wrapping_mul(SPREAD)).next_u64();
        Rng::seeded(Rng::seeded(base ^ item.wrapping_mul(SPREAD)).next_u64())
    }
}

/// How service demands are distributed; all in milliseconds of one core at speed 1.
#[derive(Debug, Clone, Deserialize, PartialEq)]
#[serde(tag = "law", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Law {
    /// All alike.
    Fixed { mean_ms: f64 },
    /// Memoryless.
    Exponential { mean_ms: f64 },
    /// A normal law, never below a tenth of its mean.
    Normal { mean_ms: f64, sigma_ms: f64 },
    /// Skewed; `cv` is its standard deviation over its mean.
    Lognormal { mean_ms: f64, cv: f64 },
    /// A `share` of the requests is `times` as much work as the rest.
    Bimodal { mean_ms: f64, share: f64, times: f64 },
    /// Heavy-tailed with exponent `alpha` (above 1), cut off at `most` means.
    Pareto { mean_ms: f64, alpha: f64, most: f64 },
}

impl Law {
    /// The mean demand (ms).
    pub(crate) fn mean_ms(&self) -> f64 {
        match *self {
            Law::Fixed { mean_ms }
            | Law::Exponential { mean_ms }
            | Law::Normal { mean_ms, .. }
            | Law::Lognormal { mean_ms, .. }
            | Law::Bimodal { mean_ms, .. }
            | Law::Pareto { mean_ms, .. } => mean_ms,
        }
    }

    /// One demand (ms).
    pub(crate) fn draw(&self, rng: &mut Rng) -> f64 {
        match *self {
            Law::Fixed { mean_ms } => mean_ms,
            Law::Exponential { mean_ms } => mean_ms * exponential(rng),
            Law::Normal { mean_ms, sigma_ms } => (mean_ms + sigma_ms * normal(rng)).max(mean_ms / 10.0),
            Law::Lognormal { mean_ms, cv } => {
                let variance = (1.0 + cv * cv).ln();
                mean_ms * (normal(rng) * variance.sqrt() - variance / 2.0).exp()
            }
            Law::Bimodal { mean_ms, share, times } => {
                let small = mean_ms / (1.0 - share + share * times);
                if rng.unit() < share { small * times } else { small }
            }
            Law::Pareto { mean_ms, alpha, most } => {
                // The cut-off takes a little off the mean; scaled back, so that the load is what was asked for.
                let cut = most * alpha / (alpha - 1.0);
                let mean = (alpha - cut.powf(1.0 - alpha)) / (alpha - 1.0);
                let value = (1.0 - rng.unit()).powf(-1.0 / alpha).min(cut);
                mean_ms * value / mean
            }
        }
    }
}

/// An exponential draw of mean 1.
pub(crate) fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.unit()).ln()
}

/// A standard normal draw (Box and Muller's; its second half is not kept, so that every draw stands alone).
pub(crate) fn normal(rng: &mut Rng) -> f64 {
    let radius = (2.0 * exponential(rng)).sqrt();
    radius * (std::f64::consts::TAU * rng.unit()).cos()
}

/// Uniform between two bounds.
pub(crate) fn between(rng: &mut Rng, [low, high]: [f64; 2]) -> f64 {
    low + (high - low) * rng.unit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_have_the_mean_they_promise() {
        let laws = [
            Law::Exponential { mean_ms: 20.0 },
            Law::Normal { mean_ms: 20.0, sigma_ms: 3.0 },
            Law::Lognormal { mean_ms: 20.0, cv: 1.5 },
            Law::Bimodal { mean_ms: 20.0, share: 0.05, times: 10.0 },
            Law::Pareto { mean_ms: 20.0, alpha: 2.5, most: 100.0 },
            Law::Fixed { mean_ms: 20.0 },
        ];
        for law in laws {
            let mut rng = Rng::seeded(3);
            let mean = (0..200_000).map(|_| law.draw(&mut rng)).sum::<f64>() / 200_000.0;
            assert!((mean / law.mean_ms() - 1.0).abs() < 0.02, "{law:?}: {mean}");
        }
    }

    #[test]
    fn concerns_and_items_differ_and_repeat() {
        let first = |seed, concern, item| Streams::new(seed).of(concern, item).next_u64();
        assert_eq!(first(1, Concern::Sizes, 7), first(1, Concern::Sizes, 7));
        assert_ne!(first(1, Concern::Sizes, 7), first(1, Concern::Sizes, 8));
        assert_ne!(first(1, Concern::Sizes, 7), first(1, Concern::Network, 7));
        assert_ne!(first(1, Concern::Sizes, 7), first(2, Concern::Sizes, 7));
    }
}
