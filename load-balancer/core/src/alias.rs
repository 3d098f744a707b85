//! Weighted random draws in constant time.

use crate::rng::Rng;

/// Walker's alias table in Vose's form (M. Vose, "A linear algorithm for generating random numbers with a given
/// distribution", IEEE TSE 1991): O(N) to build, one random word and one comparison to draw.
#[derive(Debug, Clone, Default)]
pub struct Alias {
    /// Per column: the share of the column that is its own (scaled to 2³²), and who owns the rest.
    columns: Box<[(u32, u32)]>,
}

impl Alias {
    /// A table that draws position `i` with probability `weights[i] / Σ weights`. An empty slice, or one whose sum is
    /// zero, gives a table that never draws.
    #[must_use]
    pub fn new(weights: &[u32]) -> Self {
        let total: u64 = weights.iter().map(|&w| u64::from(w)).sum();
        if total == 0 {
            return Alias::default();
        }
        let n = weights.len() as u64;
        // Scaled so that the mean column is `total`: integers keep the table exact.
        let mut mass: Vec<u64> = weights.iter().map(|&w| u64::from(w) * n).collect();
        let mut columns: Vec<(u32, u32)> = (0..weights.len()).map(|i| (u32::MAX, i as u32)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|&i| mass[i] < total);
        while let (Some(s), Some(&l)) = (small.pop(), large.last()) {
            columns[s] = (((u128::from(mass[s]) << 32) / u128::from(total)) as u32, l as u32);
            mass[l] -= total - mass[s];
            if mass[l] < total {
                large.pop();
                small.push(l);
            }
        }
        Alias { columns: columns.into() }
    }

    /// One draw, or `None` from an empty table.
    pub fn draw(&self, rng: &mut Rng) -> Option<u32> {
        let word = u128::from(rng.next_u64()) * self.columns.len() as u128;
        let column = (word >> 64) as usize;
        let &(own, other) = self.columns.get(column)?;
        // The product's low half is the fraction within the column: one word serves both choices.
        Some(if ((word >> 32) as u32) < own { column as u32 } else { other })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_in_proportion() {
        let weights = [2u32, 3, 1, 3, 4, 0, 7];
        let table = Alias::new(&weights);
        let mut rng = Rng::seeded(3);
        let mut seen = [0u32; 7];
        for _ in 0..200_000 {
            seen[table.draw(&mut rng).unwrap() as usize] += 1;
        }
        for (n, w) in seen.iter().zip(weights) {
            let expected = 10_000 * w;
            assert!(n.abs_diff(expected) <= expected / 25, "{seen:?}");
        }
    }

    #[test]
    fn nothing_to_draw() {
        let mut rng = Rng::seeded(0);
        assert_eq!(Alias::new(&[]).draw(&mut rng), None);
        assert_eq!(Alias::new(&[0, 0]).draw(&mut rng), None);
        assert_eq!(Alias::new(&[5]).draw(&mut rng), Some(0));
    }
}
