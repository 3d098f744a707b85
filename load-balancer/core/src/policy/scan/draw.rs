//! Drawing one of sixteen times some candidates in proportion to their shares.

use super::EVEN;
use super::MOST_CHUNKS;
use crate::rng::Rng;
use crate::view::{Chunk, SCAN_CHUNK, Weights};

/// Combines the lanes pairwise: four steps instead of fifteen that wait for each other.
pub(super) fn across(mut lanes: Chunk, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = SCAN_CHUNK / 2;
    while width > 0 {
        for at in 0..width {
            lanes[at] = combine(lanes[at], lanes[at + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// What candidates get of a draw, in whole cache lines.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Shares([Chunk; MOST_CHUNKS]);

impl Shares {
    pub(super) const NONE: Self = Shares([EVEN; MOST_CHUNKS]);

    /// A position drawn in proportion to weight × `share` of the chunk and the place in it: first the chunk, then the place.
    #[inline]
    pub(super) fn draw(
        &mut self,
        weights: &[Weights],
        share: impl Fn(usize, usize) -> f32,
        rng: &mut Rng,
    ) -> Option<usize> {
        let mut total = 0.0;
        let mut sums = [0.0; MOST_CHUNKS];
        for (chunk, (weights, (sum, row))) in weights.iter().zip(sums.iter_mut().zip(&mut self.0)).enumerate()
        {
            for (at, (x, weight)) in row.iter_mut().zip(&weights.weight).enumerate() {
                *x = weight * share(chunk, at);
            }
            *sum = across(*row, |a, b| a + b);
            total += *sum;
        }
        let (chunk, left) = walk(&sums[..weights.len().min(MOST_CHUNKS)], total * rng.unit() as f32)?;
        walk(&self.0[chunk], left).map(|(place, _)| chunk * SCAN_CHUNK + place)
    }
}

/// A set of positions: sixteen bytes a chunk, 1 for each place that is in it.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Places([[u8; SCAN_CHUNK]; MOST_CHUNKS]);

impl Places {
    pub(super) const NONE: Self = Places([[0; SCAN_CHUNK]; MOST_CHUNKS]);

    /// Makes it those of the first `chunks` that are `among` it.
    #[inline]
    pub(super) fn find(&mut self, chunks: usize, among: impl Fn(usize, usize) -> bool) {
        for (chunk, row) in self.0.iter_mut().enumerate().take(chunks) {
            for (at, place) in row.iter_mut().enumerate() {
                *place = u8::from(among(chunk, at));
            }
        }
    }

    /// Chunk and place of its `n`-th, counted from 0.
    #[inline]
    pub(super) fn nth(&self, chunks: usize, mut n: u32) -> Option<(usize, usize)> {
        for (chunk, row) in self.0.iter().enumerate().take(chunks) {
            let mut row = u128::from_le_bytes(*row);
            // No byte of the sum is over 16: the topmost is the sum of all.
            let here = (((row as u64) + (row >> 64) as u64).wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32;
            if n < here {
                (0..n).for_each(|_| row &= row - 1);
                return Some((chunk, row.trailing_zeros() as usize / 8));
            }
            n -= here;
        }
        None
    }
}

/// Where `left` is used up, and what remains of it there. Rounding may leave a little too much: then the last one that
/// has any share.
fn walk(shares: &[f32], mut left: f32) -> Option<(usize, f32)> {
    for (at, &share) in shares.iter().enumerate() {
        if left < share {
            return Some((at, left));
        }
        left -= share;
    }
    shares.iter().rposition(|&share| share > 0.0).map(|at| (at, 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_shares() {
        let mut rng = Rng::seeded(9);
        let mut row = [[0.0; SCAN_CHUNK]; 2];
        let mut weights = [Weights { weight: [2.0; SCAN_CHUNK], inverse: [0.5; SCAN_CHUNK] }; 2];
        (row[0][3], row[1][0], row[1][7], weights[1].weight[7]) = (1.0, 1.0, 1.0, 4.0);
        let (mut seen, mut shares) = ([0u32; 2 * SCAN_CHUNK], Shares::NONE);
        for _ in 0..8_000 {
            let at = shares.draw(&weights, |chunk, at| row[chunk][at], &mut rng);
            seen[at.unwrap()] += 1;
        }
        let expected = [(3, 2_000), (SCAN_CHUNK, 2_000), (SCAN_CHUNK + 7, 4_000)];
        assert!(expected.iter().all(|&(at, n): &(usize, u32)| seen[at].abs_diff(n) < 200), "{seen:?}");
        assert_eq!(seen.iter().sum::<u32>(), expected.iter().map(|&(at, _)| seen[at]).sum());
    }

    /// Each is found once, in order; what an earlier search found is gone.
    #[test]
    fn every_place_is_found() {
        let (mut rng, mut places) = (Rng::seeded(10), Places::NONE);
        for round in 0..200 {
            let chunks = 1 + round % MOST_CHUNKS;
            let of = [(); MOST_CHUNKS].map(|()| [(); SCAN_CHUNK].map(|()| rng.below(4) == 0));
            places.find(chunks, |chunk, at| of[chunk][at]);
            let all = (0..chunks).flat_map(|chunk| (0..SCAN_CHUNK).map(move |at| (chunk, at)));
            let expected: Vec<_> = all.filter(|&(chunk, at)| of[chunk][at]).collect();
            let found: Vec<_> = (0..).map_while(|n| places.nth(chunks, n)).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn rounding_never_loses_the_draw() {
        assert_eq!(walk(&[0.0, 1.0, 2.0, 0.0], 2.5), Some((2, 1.5)));
        assert_eq!(walk(&[0.0, 1.0, 2.0, 0.0], 0.0), Some((1, 0.0)));
        assert_eq!(walk(&[0.0, 1.0, 2.0, 0.0], 3.5), Some((2, 0.0)));
        assert_eq!(walk(&[0.0, 0.0], 0.0), None);
    }
}
