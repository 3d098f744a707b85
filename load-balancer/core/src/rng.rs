//! Seeded randomness as an argument: the same seed gives the same picks, on every platform.

/// What the state grows by with each draw: 2⁶⁴ divided by the golden ratio, odd.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
/// Its inverse modulo 2⁶⁴: how many draws lie between two states.
const GAMMA_INVERSE: u64 = 0xf1de_83e1_9937_733d;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014): one word of state, a
/// few multiplications a draw, passes BigCrush. Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator whose whole sequence follows from `seed`.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The seed of a generator that goes on from here.
    #[must_use]
    pub const fn state(&self) -> u64 {
        self.0
    }

    /// How many numbers were drawn since `earlier`, a copy of this generator.
    #[must_use]
    pub const fn draws_since(&self, earlier: &Rng) -> u64 {
        self.0.wrapping_sub(earlier.0).wrapping_mul(GAMMA_INVERSE)
    }

    /// Passes a number over.
    pub const fn skip(&mut self) {
        self.0 = self.0.wrapping_add(GAMMA);
    }

    /// Uniform in `0..n` (Lemire's multiply-shift; the bias is below 2⁻³² for any 32-bit `n`). Zero for `n == 0`.
    pub const fn below(&mut self, n: u32) -> u32 {
        ((self.next_u64() as u128 * n as u128) >> 64) as u32
    }

    /// Uniform in `[0, 1)`, 53 random bits.
    pub const fn unit(&mut self) -> f64 {
        const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * SCALE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replays_from_its_seed() {
        let draw = |seed| {
            let mut rng = Rng::seeded(seed);
            (0..4).map(|_| rng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // The published SplitMix64 test vector for seed 1234567.
        assert_eq!(draw(1_234_567)[..2], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn counts_its_draws() {
        let before = Rng::seeded(u64::MAX - 3);
        let mut rng = before.clone();
        assert_eq!(Rng::seeded(before.state()).next_u64(), before.clone().next_u64());
        for n in 0..100 {
            assert_eq!(rng.draws_since(&before), n);
            rng.next_u64();
        }
    }

    #[test]
    fn below_covers_its_range_evenly() {
        let mut rng = Rng::seeded(1);
        let mut seen = [0u32; 7];
        for _ in 0..70_000 {
            seen[rng.below(7) as usize] += 1;
        }
        assert!(seen.iter().all(|&n| (9_600..10_400).contains(&n)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.unit())));
    }
}
