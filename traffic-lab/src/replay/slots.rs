//! What a backend's own times tell of it: how many requests it works on at once, and how long each of them takes when
//! its wait for others is left out.
//!
//! The model is the simulator's: so many slots, given in the order of arrival. A request begins when it arrives or when a
//! slot is left by one before it. What it takes from there does not depend on how many it found there; with too many slots
//! it seems to grow with them, since waits are counted in, and with too few it seems to shrink. The number between is taken.
//! How it fails: a backend that never had a queue shows no limit, and the most it ever had at once is taken, which is a
//! lower bound.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Requests below which nothing is told.
const TOLD_MIN: usize = 100;
/// Whole times that go with the number found there by less than this show no queue: a busy machine does as much.
const QUEUE_LEAST: f64 = 0.1;
/// The same in its own standard errors, where requests are few.
const QUEUE_ERRORS: f64 = 3.0;

/// A request at a backend: when it came and when it left, in seconds.
pub(super) type Visit = (f64, f64);

/// How a number of slots was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// By requests that waited.
    Queue,
    /// No queue was seen: it is the most at once.
    Most,
    /// Somebody said so.
    Given,
}

/// Slots of a backend with these visits, which are in the order of arrival.
pub(super) fn slots(visits: &[Visit]) -> (u32, Found) {
    let found = found(visits);
    let most = found.iter().max().map_or(1, |most| most + 1);
    let (there, n) = (ranks(&found.iter().map(|&n| n as f64).collect::<Vec<_>>()), visits.len() as f64);
    let goes = |slots| correlation(&there, &ranks(&stays(visits, slots)));
    let least = (QUEUE_ERRORS / n.sqrt()).max(QUEUE_LEAST);
    if visits.len() < TOLD_MIN || goes(most) < least {
        return (most as u32, Found::Most);
    }
    // It grows with the slots: the two around zero, and of them the nearer.
    let all: Vec<usize> = (1..most).collect();
    let above = 1 + all.partition_point(|&slots| goes(slots) < 0.0);
    let nearer = if above > 1 && -goes(above - 1) < goes(above) { above - 1 } else { above };
    (nearer as u32, Found::Queue)
}

/// How long each visit took without its wait for a slot, 0 and more.
pub(super) fn own(visits: &[Visit], slots: u32) -> Vec<f64> {
    stays(visits, slots as usize).into_iter().map(|took| took.max(0.0)).collect()
}

/// How many each of them found there.
fn found(visits: &[Visit]) -> Vec<usize> {
    let mut there = BinaryHeap::new();
    let find = |&(came, left): &Visit| {
        while there.peek().is_some_and(|&Reverse(Seconds(left))| left <= came) {
            there.pop();
        }
        there.push(Reverse(Seconds(left)));
        there.len() - 1
    };
    visits.iter().map(find).collect()
}

/// Each visit from the moment it had a slot: when it came, or when all but `slots - 1` of those before it had left, which
/// is the `slots`-last of their departures. Below 0 where there were more slots.
fn stays(visits: &[Visit], slots: usize) -> Vec<f64> {
    let mut last = BinaryHeap::with_capacity(slots + 1);
    let stay = |&(came, left): &Visit| {
        let free = match last.peek() {
            Some(&Reverse(Seconds(free))) if last.len() == slots => free,
            _ => f64::NEG_INFINITY,
        };
        last.push(Reverse(Seconds(left)));
        if last.len() > slots {
            last.pop();
        }
        left - free.max(came)
    };
    visits.iter().map(stay).collect()
}

/// The rank of each value, from 0; those that are equal share theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (equal.len() - 1) as f64 / 2.0;
        equal.iter().for_each(|&at| ranks[at] = rank);
        first += equal.len();
    }
    ranks
}

/// How far one goes with the other, -1 to 1; 0 where either does not change (Spearman's, of ranks).
fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let middle = (a.len() as f64 - 1.0) / 2.0;
    let (mut both, mut first, mut second) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().map(|a| a - middle).zip(b.iter().map(|b| b - middle)) {
        (both, first, second) = (both + a * b, first + a * a, second + b * b);
    }
    if first * second > 0.0 { both / (first * second).sqrt() } else { 0.0 }
}

/// Times with an order.
#[derive(Debug, Clone, Copy)]
struct Seconds(f64);

impl PartialEq for Seconds {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Seconds {}

impl PartialOrd for Seconds {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Seconds {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use lb_core::Rng;

    use super::*;

    /// Visits to a backend of so many slots at this load, with their own times.
    fn served(slots: usize, load: f64, draw: impl Fn(&mut Rng) -> f64) -> (Vec<Visit>, Vec<f64>) {
        let mut rng = Rng::seeded(slots as u64);
        let (mut now, mut free) = (0.0, vec![0.0f64; slots]);
        let visit = |_| {
            now -= (1.0 - rng.unit()).ln() * 0.010 / (slots as f64 * load);
            let took = draw(&mut rng);
            let slot = (0..slots).min_by(|&a, &b| free[a].total_cmp(&free[b])).unwrap();
            free[slot] = free[slot].max(now) + took;
            ((now, free[slot]), took)
        };
        (0..4_000).map(visit).unzip()
    }

    #[test]
    fn slots_are_found_where_requests_queued() {
        let exponential = |rng: &mut Rng| -(1.0 - rng.unit()).ln() * 0.010;
        let fixed = |_: &mut Rng| 0.010;
        for slots in [1, 2, 4, 8] {
            let (visits, took) = served(slots, 0.9, exponential);
            assert_eq!(super::slots(&visits), (slots as u32, Found::Queue));
            let own = own(&visits, slots as u32);
            assert!(own.iter().zip(&took).all(|(a, b)| (a - b).abs() < 1e-9));
            assert_eq!(super::slots(&served(slots, 0.9, fixed).0), (slots as u32, Found::Queue));
        }
    }

    #[test]
    fn without_a_queue_the_most_at_once_is_a_lower_bound() {
        let (visits, _) = served(64, 0.1, |_| 0.010);
        let (slots, found) = slots(&visits);
        assert!(found == Found::Most && (8..32).contains(&slots), "{slots} {found:?}");
        assert_eq!(own(&visits, slots).len(), visits.len());
        assert_eq!(super::slots(&[]), (1, Found::Most));
    }
}
