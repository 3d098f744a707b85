//! When a balancer believes others that a backend is to be ejected: when two of them say so.
//!
//! One balancer may see what nobody else does, because the fault lies on its own way to the backends: its vote spreads
//! nowhere. Two rarely share such a fault. Only conclusions from a balancer's own traffic are votes; what was adopted is
//! never told on, or two votes would keep each other alive.
//!
//! It fails by patience: with two balancers neither hears two others, so each learns by itself.

use std::cmp::Reverse;
use std::time::Duration;

/// Voters that must agree.
pub const QUORUM: usize = 2;

/// How much longer a backend is to be left out, given the voters, each with what is left of its own ejection: as long as
/// at least [`QUORUM`] of them agree. The longest of one voter counts, and voters with nothing left do not.
pub fn adopted<'a>(votes: impl IntoIterator<Item = (&'a str, Duration)>) -> Option<Duration> {
    let mut voters: Vec<(&str, Duration)> = votes.into_iter().filter(|(_, left)| !left.is_zero()).collect();
    // By voter, the longest first, so that the first of each is kept.
    voters.sort_unstable_by(|a, b| a.0.cmp(b.0).then(b.1.cmp(&a.1)));
    voters.dedup_by(|later, first| later.0 == first.0);
    voters.sort_unstable_by_key(|(_, left)| Reverse(*left));
    voters.get(QUORUM - 1).map(|(_, left)| *left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    fn seconds(votes: &[(&'static str, u64)]) -> Option<u64> {
        adopted(votes.iter().map(|(name, s)| (*name, Duration::from_secs(*s)))).map(|d| d.as_secs())
    }

    #[test]
    fn one_voter_convinces_nobody_however_often_it_votes() {
        assert_eq!(seconds(&[]), None);
        assert_eq!(seconds(&[("a", 60)]), None);
        assert_eq!(seconds(&[("a", 60), ("a", 5), ("a", 7)]), None);
        assert_eq!(seconds(&[("a", 60), ("b", 0)]), None, "what is over is no vote");
    }

    #[test]
    fn two_agree_for_the_shorter_of_their_times() {
        assert_eq!(seconds(&[("a", 60), ("b", 5)]), Some(5));
        assert_eq!(seconds(&[("b", 5), ("a", 60), ("a", 1), ("c", 9)]), Some(9));
    }

    /// Second by second: out as long as two different ones say so.
    #[test]
    fn follows_the_model() {
        let mut rng = Rng::seeded(71);
        for _ in 0..5_000 {
            let votes: Vec<(&str, u64)> =
                (0..rng.below(8)).map(|_| (NAMES[rng.below(4) as usize], u64::from(rng.below(12)))).collect();
            let agree = |second: u64| {
                NAMES.iter().filter(|name| votes.iter().any(|(n, left)| n == *name && *left > second)).count()
                    >= 2
            };
            let model = (0..12).take_while(|&second| agree(second)).count() as u64;
            assert_eq!(seconds(&votes).unwrap_or(0), model, "{votes:?}");
        }
    }
}
