//! How long to wait after failures: twice as long after each, up to a limit.
//!
//! Doubling, because a fault that has outlasted one wait will probably outlast the next; a limit, so that a cured fault
//! is noticed. It fails by waiting too long after a short fault: at most `longest`.

use std::time::Duration;

use crate::rng::Rng;

/// Doublings after which every [`Duration`] but zero has reached the largest one (2⁶⁴ s is below 2⁹⁴ ns).
const DOUBLINGS: u32 = 94;

/// `first`·2^`times`, at most `longest`.
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    let mut wait = first;
    for _ in 0..times.min(DOUBLINGS) {
        if wait >= longest {
            break;
        }
        wait = wait.saturating_mul(2);
    }
    wait.min(longest)
}

/// How long to wait before the next try of something that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after `failures` in a row: `first`·2^(`failures` − 1), at most `longest`; none after no failure.
    #[must_use]
    pub fn wait(&self, failures: u32) -> Duration {
        failures.checked_sub(1).map_or(Duration::ZERO, |times| doubled(self.first, times, self.longest))
    }

    /// Uniform in `[0, wait]`, so that those who failed together do not come back together ("full jitter": AWS
    /// Architecture Blog, "Exponential Backoff and Jitter", 2015).
    #[must_use]
    pub fn jittered(&self, failures: u32, rng: &mut Rng) -> Duration {
        let wait = self.wait(failures);
        wait.mul_f64(rng.unit()).min(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(5) };
        let waits: Vec<u128> = (0..7).map(|failures| backoff.wait(failures).as_millis()).collect();
        assert_eq!(waits, [0, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        assert_eq!(backoff.wait(u32::MAX), backoff.longest);
    }

    /// Against plain arithmetic with more bits than are needed, at the edges of the range too.
    #[test]
    fn follows_the_formula() {
        let mut rng = Rng::seeded(3);
        for _ in 0..10_000 {
            let first = Duration::from_nanos(rng.next_u64() >> rng.below(64));
            let longest = Duration::from_nanos(rng.next_u64() >> rng.below(64));
            let failures = 1 + rng.below(60);
            let exact = (first.as_nanos() << (failures - 1)).min(longest.as_nanos());
            assert_eq!(Backoff { first, longest }.wait(failures).as_nanos(), exact);
        }
        let endless = Backoff { first: Duration::from_nanos(1), longest: Duration::MAX };
        assert_eq!(endless.wait(u32::MAX), Duration::MAX);
        let none = Backoff { first: Duration::ZERO, longest: Duration::MAX };
        assert_eq!(none.wait(u32::MAX), Duration::ZERO);
    }

    #[test]
    fn jitter_is_uniform_below_the_wait() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(4) };
        let mut rng = Rng::seeded(4);
        let mut quarters = [0; 4];
        for _ in 0..40_000 {
            let wait = backoff.jittered(9, &mut rng);
            assert!(wait <= backoff.longest);
            quarters[(wait.as_secs() as usize).min(3)] += 1;
        }
        assert!(quarters.iter().all(|n| (9_600..10_400).contains(n)), "{quarters:?}");
        assert_eq!(backoff.jittered(0, &mut rng), Duration::ZERO);
        let endless = Backoff { first: Duration::MAX, longest: Duration::MAX };
        assert!((0..1_000).all(|_| endless.jittered(1, &mut rng) <= Duration::MAX));
    }
}
