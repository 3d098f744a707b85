//! How many retries are affordable: a share of the traffic, so that retries can never become the load.

use crate::tick::Tick;

/// Seconds of saved-up allowance: a burst after a backend dies is served, a lasting failure is not amplified.
const RESERVE_SECONDS: f64 = 10.0;

/// A token bucket filled by requests and, a little, by time (after Finagle's `RetryBudget`). One a worker: not shared.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    ratio: f64,
    per_second: f64,
    tokens: f64,
    cap: f64,
    last: Tick,
}

impl RetryBudget {
    /// Allows `ratio` retries a request and at least `per_second` a second; starts full.
    #[must_use]
    pub fn new(ratio: f64, per_second: f64) -> Self {
        let cap = (per_second * RESERVE_SECONDS).max(if ratio > 0.0 { RESERVE_SECONDS } else { 0.0 });
        RetryBudget { ratio, per_second, tokens: cap, cap, last: Tick::ZERO }
    }

    /// Counts a first attempt.
    pub fn deposit(&mut self) {
        self.tokens = (self.tokens + self.ratio).min(self.cap);
    }

    /// Takes the price of one retry, if it is there.
    pub fn withdraw(&mut self, now: Tick) -> bool {
        self.tokens = (self.tokens + now.since(self.last).as_secs_f64() * self.per_second).min(self.cap);
        self.last = self.last.max(now);
        let affordable = self.tokens >= 1.0;
        if affordable {
            self.tokens -= 1.0;
        }
        affordable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stay_a_share_of_the_traffic() {
        let mut budget = RetryBudget::new(0.2, 3.0);
        let mut granted = 0;
        for i in 0..10_000u64 {
            budget.deposit();
            granted += u32::from(budget.withdraw(Tick::from_millis(i)));
        }
        // 30 in reserve, 20 % of 10,000 and 3/s for 10 s.
        assert!((2_040..=2_061).contains(&granted), "{granted}");
    }

    #[test]
    fn time_alone_pays_for_a_few() {
        let mut budget = RetryBudget::new(0.0, 3.0);
        let spent = (0..100).filter(|_| budget.withdraw(Tick::ZERO)).count();
        assert_eq!(spent, 30);
        assert!(!budget.withdraw(Tick::from_millis(100)));
        assert!(budget.withdraw(Tick::from_millis(500)));
        assert!(!RetryBudget::new(0.0, 0.0).withdraw(Tick::from_millis(9_000)));
    }
}
