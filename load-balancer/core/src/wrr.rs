//! Weighted round robin as a table: smooth, exact over a period, and one array read a pick.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Longest period a table holds. 65,536 entries (256 KiB) give every weight mix up to 256 backends of weight 256 its
/// exact share; beyond that weights are scaled down, each to at least one turn.
pub const MAX_PERIOD: u64 = 65_536;

/// The order in which backends take turns: `weights[i]` turns of `i` a period, spread as evenly as they go.
///
/// Earliest deadline first: the k-th turn of a backend with weight w is due at (k + ½)/w, and turns are taken in order
/// of their due time. It spreads like nginx's smooth weighted round robin, but is computed once per membership instead
/// of in O(N) per pick, and needs no state beside one shared cursor. Equal weights give the plain pool order.
#[must_use]
pub fn turns(weights: &[u32]) -> Box<[u32]> {
    let scaled = scale(weights);
    let period: u64 = scaled.iter().map(|&w| u64::from(w)).sum();
    // Due times as fractions (2k+1)/(2w), compared exactly by cross-multiplication inside `Due`.
    let mut heap: BinaryHeap<Reverse<Due>> = scaled
        .iter()
        .enumerate()
        .filter(|&(_, &w)| w > 0)
        .map(|(i, &w)| Reverse(Due { odd: 1, w, i: i as u32 }))
        .collect();
    let mut order = Vec::with_capacity(period as usize);
    while let Some(mut top) = heap.peek_mut() {
        order.push(top.0.i);
        top.0.odd += 2;
        if u64::from(top.0.odd) > 2 * u64::from(top.0.w) {
            std::collections::binary_heap::PeekMut::pop(top);
        }
    }
    order.into()
}

#[derive(PartialEq, Eq)]
struct Due {
    odd: u32,
    w: u32,
    i: u32,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (a, b) = (u64::from(self.odd) * u64::from(other.w), u64::from(other.odd) * u64::from(self.w));
        // At the same due time the heavier goes first, then pool order: a total order, so the table is deterministic.
        a.cmp(&b).then(other.w.cmp(&self.w)).then(self.i.cmp(&other.i))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Divides by the common divisor, then scales down to [`MAX_PERIOD`] where the sum is still longer.
fn scale(weights: &[u32]) -> Vec<u32> {
    let divisor = weights.iter().fold(0, |a, &b| gcd(a, b)).max(1);
    let sum: u64 = weights.iter().map(|&w| u64::from(w / divisor)).sum();
    let limit = MAX_PERIOD.max(weights.len() as u64);
    let shrink = |w: u32| if w == 0 { 0 } else { ((u64::from(w) * limit / sum) as u32).max(1) };
    weights.iter().map(|&w| w / divisor).map(|w| if sum > limit { shrink(w) } else { w }).collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_and_smooth() {
        assert_eq!(*turns(&[5, 5, 5]), [0, 1, 2]);
        assert_eq!(*turns(&[5, 1, 1]), [0, 0, 0, 1, 2, 0, 0]);
        let order = turns(&[2, 3, 1, 3, 4, 2]);
        let count = |i| order.iter().filter(|&&x| x == i).count();
        assert_eq!((0..6).map(count).collect::<Vec<_>>(), [2, 3, 1, 3, 4, 2]);
        assert!(turns(&[]).is_empty() && turns(&[0, 0]).is_empty());
    }

    /// In any prefix a backend is within one turn of its fair share.
    #[test]
    fn any_prefix_is_fair() {
        let mut rng = crate::Rng::seeded(11);
        for _ in 0..200 {
            let weights: Vec<u32> = (0..1 + rng.below(12)).map(|_| 1 + rng.below(40)).collect();
            let (sum, order) = (f64::from(weights.iter().sum::<u32>()), turns(&weights));
            let mut taken = vec![0f64; weights.len()];
            for (n, &i) in order.iter().enumerate() {
                taken[i as usize] += 1.0;
                let fair = (n + 1) as f64 * f64::from(weights[i as usize]) / sum;
                assert!((taken[i as usize] - fair).abs() <= 1.5, "{weights:?} at {n}");
            }
        }
    }

    #[test]
    fn long_periods_are_scaled() {
        let weights: Vec<u32> = (0..1000).map(|i| 1 + i * 7).collect();
        let order = turns(&weights);
        assert!(order.len() as u64 <= MAX_PERIOD + 1000);
        let heaviest = order.iter().filter(|&&i| i == 999).count() as f64 / order.len() as f64;
        let share = f64::from(weights[999]) / weights.iter().map(|&w| f64::from(w)).sum::<f64>();
        assert!((heaviest / share - 1.0).abs() < 0.02);
    }
}
