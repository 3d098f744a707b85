//! Who used a shared limit, round by round, as the other balancers are told.
//!
//! A balancer's message replaces the one before it, and others may hear each twice or miss one. So rounds are numbered, and the
//! last few are told each time: whoever listens takes each once.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use lb_core::Tick;
use serde::{Deserialize, Serialize};

/// Keys told of in one round: those that used most. The others are told of in the next.
pub(crate) const MOST: usize = 1_024;
/// Keys noted at most between two rounds; what others beyond them use stays unknown elsewhere.
const NOTED: usize = 4_096;
/// Rounds told each time.
const TOLD: usize = 6;
/// Longest time that a round can be about: as long as the store remembers anybody.
pub(crate) const LONGEST: Duration = crate::store::TTL;

/// What was used between two tellings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Grows by one with each.
    pub(crate) number: u64,
    /// Keys' hashes, and the requests they made.
    pub(crate) used: Vec<(u64, u32)>,
}

/// What has been used, told and not.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    untold: HashMap<u64, u32>,
    told: VecDeque<Round>,
    next: u64,
    last: Option<Tick>,
}

impl Usage {
    /// A request of `key` was allowed.
    pub(crate) fn note(&mut self, key: u64) {
        if self.untold.len() < NOTED || self.untold.contains_key(&key) {
            *self.untold.entry(key).or_default() += 1;
        }
    }

    /// What the others are to know: a new round, unless the last one is younger than half of `interval` (an urgent telling
    /// must not push out what nobody has heard yet), and those before it.
    pub(crate) fn told(&mut self, now: Tick, interval: Duration) -> Vec<Round> {
        if !self.untold.is_empty() && self.last.is_none_or(|last| now.since(last) >= interval / 2) {
            let mut used: Vec<(u64, u32)> = self.untold.drain().collect();
            used.sort_unstable_by_key(|&(key, requests)| (std::cmp::Reverse(requests), key));
            self.untold.extend(used.drain(used.len().min(MOST)..));
            self.last = Some(now);
            self.next += 1;
            self.told.push_back(Round { number: self.next, used });
            while self.told.len() > TOLD {
                self.told.pop_front();
            }
        }
        self.told.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_round_is_told_a_few_times_and_nothing_is_told_in_two() {
        let mut usage = Usage::default();
        assert!(usage.told(Tick::ZERO, SECOND).is_empty(), "a round about nothing");
        let mut heard = HashMap::new();
        for second in 1..=20 {
            (0..second).for_each(|_| usage.note(7));
            let told = usage.told(Tick::from_millis(second * 1_000), SECOND);
            assert!(told.len() <= TOLD);
            // Soon after, of something urgent: the same again.
            usage.note(7);
            assert_eq!(usage.told(Tick::from_millis(second * 1_000 + 100), SECOND), told);
            for round in told {
                heard.insert(round.number, round.used);
            }
        }
        let total: u64 = heard.values().flatten().map(|&(_, requests)| u64::from(requests)).sum();
        // All of it, but for the last one that was noted.
        assert_eq!(total, (1..=20).sum::<u64>() + 19);
    }

    #[test]
    fn whoever_used_most_is_told_first_and_the_rest_next() {
        let mut usage = Usage::default();
        (0..2_000).for_each(|key| usage.note(key));
        (0..5).for_each(|_| usage.note(1_999));
        let first = usage.told(Tick::from_millis(1_000), SECOND).pop().unwrap();
        assert_eq!((first.used.len(), first.used[0]), (MOST, (1_999, 6)));
        let second = usage.told(Tick::from_millis(2_000), SECOND).pop().unwrap();
        assert_eq!(second.used.len(), 2_000 - MOST);
        (0..10_000).for_each(|key| usage.note(key));
        assert_eq!(usage.untold.len(), NOTED, "a flood of keys costs no more memory");
    }
}
