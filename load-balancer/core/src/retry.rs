//! How many retries are affordable: a share of the traffic, so that retries can never become the load.

use std::time::Duration;

use crate::tick::Tick;

/// Seconds of traffic that a burst of retries may draw on: when a backend dies, everything in flight to it fails at once.
const WINDOW: Duration = Duration::from_secs(10);

/// What retries may cost (after Finagle's `RetryBudget`): a share of the requests of the last 5–10 s, and on top a few
/// tokens that time alone refills. One a worker: not shared.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    ratio: f64,
    per_second: f64,
    /// Earned by requests in this half of the window and in the one before.
    earned: [f64; 2],
    /// What was earned there before anything was spent of it.
    granted: [f64; 2],
    turned: Tick,
    /// Refilled by time, up to `most`.
    reserve: f64,
    most: f64,
    refilled: Tick,
}

impl RetryBudget {
    /// Allows `ratio` retries a request and at least `per_second` a second; the reserve starts full.
    #[must_use]
    pub fn new(ratio: f64, per_second: f64) -> Self {
        // A small part of a small allowance (many workers) is still worth one retry.
        let most = if per_second > 0.0 { (per_second * WINDOW.as_secs_f64()).max(1.0) } else { 0.0 };
        RetryBudget {
            ratio,
            per_second,
            earned: [0.0; 2],
            granted: [0.0; 2],
            turned: Tick::ZERO,
            most,
            reserve: most,
            refilled: Tick::ZERO,
        }
    }

    /// Counts a first attempt.
    pub fn deposit(&mut self, now: Tick) {
        self.turn(now);
        self.earned[0] += self.ratio;
        self.granted[0] += self.ratio;
    }

    /// Takes the price of one retry, if it is there: from what requests earned, else from the reserve.
    pub fn withdraw(&mut self, now: Tick) -> bool {
        self.turn(now);
        self.refill(now);
        if self.earned[0] + self.earned[1] >= 1.0 {
            // The older half first: it is the one that expires.
            let old = self.earned[1].min(1.0);
            self.earned[1] -= old;
            self.earned[0] -= 1.0 - old;
            return true;
        }
        let affordable = self.reserve >= 1.0;
        if affordable {
            self.reserve -= 1.0;
        }
        affordable
    }

    /// What is left at `now`, and what would be if nothing had been spent: how many retries either is worth.
    pub fn left(&mut self, now: Tick) -> (f64, f64) {
        self.turn(now);
        self.refill(now);
        (self.earned.iter().sum::<f64>() + self.reserve, self.granted.iter().sum::<f64>() + self.most)
    }

    fn refill(&mut self, now: Tick) {
        let seconds = now.since(self.refilled).as_secs_f64();
        self.reserve = (self.reserve + seconds * self.per_second).min(self.most);
        self.refilled = self.refilled.max(now);
    }

    /// Lets what was earned too long ago expire.
    fn turn(&mut self, now: Tick) {
        let age = now.since(self.turned);
        if age >= WINDOW / 2 {
            let expired = age >= WINDOW;
            self.earned = [0.0, if expired { 0.0 } else { self.earned[0] }];
            self.granted = [0.0, if expired { 0.0 } else { self.granted[0] }];
            self.turned = now;
        }
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
            budget.deposit(Tick::from_millis(i));
            granted += u32::from(budget.withdraw(Tick::from_millis(i)));
        }
        // 30 in reserve, 20 % of 10,000 and 3/s for 10 s.
        assert!((2_040..=2_061).contains(&granted), "{granted}");
    }

    /// A backend of three dies under 1,000 requests a second: its 22 requests in flight and the 333 picks of the second
    /// until it is found out are all affordable; an hour of silence before buys nothing.
    #[test]
    fn a_crash_is_affordable_and_silence_is_not_saved() {
        let mut budget = RetryBudget::new(0.2, 3.0);
        (0..10_000).for_each(|ms| budget.deposit(Tick::from_millis(ms)));
        let now = Tick::from_millis(10_000);
        assert!((0..355).all(|_| budget.withdraw(now)));
        let later = Tick::from_millis(3_600_000);
        assert_eq!((0..355).filter(|_| budget.withdraw(later)).count(), 30);
    }

    #[test]
    fn what_is_left_is_told() {
        let mut budget = RetryBudget::new(0.2, 3.0);
        let now = Tick::from_millis(1_000);
        assert_eq!(budget.left(now), (30.0, 30.0));
        (0..100).for_each(|_| budget.deposit(now));
        let all = |(left, whole): (f64, f64)| (left.round(), whole.round());
        assert_eq!(all(budget.left(now)), (50.0, 50.0));
        assert!((0..25).all(|_| budget.withdraw(now)));
        assert_eq!(all(budget.left(now)), (25.0, 50.0));
        while budget.withdraw(now) {}
        assert!(budget.left(now).0 < 1.0);
        assert_eq!(all(budget.left(Tick::from_millis(60_000))), (30.0, 30.0), "what traffic earned expires");
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
