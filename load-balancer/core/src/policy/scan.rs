//! Finding the minimum fairly: over all candidates up to [`FULL_SCAN`] members, over a sample of 16 by weight beyond.
//!
//! One pass gathers the numbers of every candidate's load into a table that each thread keeps; the passes after that are plain
//! loops over chunks of floats, which compile to vector code. Ties are drawn, never taken in pool order: an idle pool
//! would otherwise send everything to whoever is listed first.

use std::cell::RefCell;

use super::sight::{Reading, Sight};
use super::{MAX_TRIED, Pick};
use crate::load::Load;
use crate::locality::Row;
use crate::rng::Rng;
use crate::view::{Chunk, SCAN_CHUNK, View, Weights};

/// Members up to which every one is looked at: about 100 ns, and clearly better tails than two choices.
const FULL_SCAN: usize = 128;
/// Among idle backends a difference in quality below 30 % is noise, and weight alone decides.
const IDLE_BAND: f32 = 1.3;
/// An idle backend this many times worse than the best idle one gets nothing; between the two its share falls smoothly.
const IDLE_END: f32 = 2.6;
/// Draws among the idle before all shares are computed.
const IDLE_DRAWS: usize = 8;
/// Weights where weight must not count (again): the members of a sample were drawn by it.
const EVEN: Chunk = [1.0; SCAN_CHUNK];

/// The candidate that holds least for its weight. Exact ties are drawn by weight.
pub(super) fn lightest(
    view: &View,
    pick: &mut Pick<'_>,
    sight: &mut impl Sight,
    read: impl Fn(&Load) -> Reading,
) -> Option<u32> {
    scan::<false, false>(view, pick, sight, None, read)
}

/// The candidate with the smallest (held + 1) · quality · factor / weight, the factor being that of its region in `row`.
/// If that one is idle, the choice is among all idle candidates, by weight and quality: where nothing queues, capacity is
/// shared, not raced for.
pub(super) fn cheapest(
    view: &View,
    pick: &mut Pick<'_>,
    sight: &mut impl Sight,
    row: Option<Row<'_>>,
    read: impl Fn(&Load) -> Reading,
) -> Option<u32> {
    match row {
        None => scan::<true, false>(view, pick, sight, None, read),
        row => scan::<true, true>(view, pick, sight, row, read),
    }
}

/// Chunks in a full scan of the largest pool that is scanned in full.
const MOST_CHUNKS: usize = FULL_SCAN / SCAN_CHUNK;

thread_local! {
    /// Kept from pick to pick, because clearing it takes a tenth of one. A pick reads nothing that it did not write.
    static TABLE: RefCell<Table> = const { RefCell::new(Table::EMPTY) };
}

/// Who is looked at: everyone, or in a large pool a sample. `SHARE` is whether the idle share, `LOCAL` whether regions
/// count.
fn scan<const SHARE: bool, const LOCAL: bool>(
    view: &View,
    pick: &mut Pick<'_>,
    sight: &mut impl Sight,
    row: Option<Row<'_>>,
    read: impl Fn(&Load) -> Reading,
) -> Option<u32> {
    TABLE.with_borrow_mut(|table| {
        if view.eligible().len() <= FULL_SCAN {
            everyone::<SHARE, LOCAL>(table, view, pick, sight, row, read)
        } else {
            sample::<SHARE, LOCAL>(table, view, pick, sight, row, read)
        }
    })
}

/// What is read of the eligible candidate at `at`, and the factor of its region.
#[inline]
fn look(
    view: &View,
    sight: &mut impl Sight,
    row: Option<&Row<'_>>,
    at: usize,
    load: &Load,
    read: impl Fn(&Load) -> Reading,
) -> (Reading, f32) {
    // Only a noting sight wants the member: no bounds check, which would cost a live one.
    let member = view.eligible().get(at).copied().unwrap_or_default();
    let reading = sight.reading(member, load, read);
    (reading, row.map_or(1.0, |row| sight.factor(member, row, view.region_at(at))))
}

fn everyone<const SHARE: bool, const LOCAL: bool>(
    table: &mut Table,
    view: &View,
    pick: &mut Pick<'_>,
    sight: &mut impl Sight,
    row: Option<Row<'_>>,
    read: impl Fn(&Load) -> Reading,
) -> Option<u32> {
    let mut look = |at: usize, load: &Load| look(view, sight, row.as_ref(), at, load, &read);
    let (whole, rest) = view.eligible_loads().as_chunks::<SCAN_CHUNK>();
    let mut tried = [usize::MAX; MAX_TRIED];
    for (at, member) in tried.iter_mut().zip(pick.tried.members()) {
        // The eligible are in ascending order.
        *at = view.eligible().binary_search(member).unwrap_or(usize::MAX);
    }
    let tried = &tried[..pick.tried.len()];
    for (chunk, loads) in whole.iter().enumerate().take(MOST_CHUNKS) {
        let loads = loads.iter().enumerate();
        table.gather::<SHARE, LOCAL>(chunk, loads.map(|(at, load)| look(chunk * SCAN_CHUNK + at, load)));
        tried.iter().for_each(|&at| table.leave_out(chunk, at));
    }
    if !rest.is_empty() && whole.len() < MOST_CHUNKS {
        let (chunk, loads) = (whole.len(), rest.iter().enumerate());
        table.clear(chunk);
        table.gather::<SHARE, LOCAL>(chunk, loads.map(|(at, load)| look(chunk * SCAN_CHUNK + at, load)));
        tried.iter().for_each(|&at| table.leave_out(chunk, at));
    }
    let any = |rng: &mut Rng| view.draw_at(pick.tried, rng).map(|at| at as usize);
    let at = table.winner::<SHARE, LOCAL>(view.scan_weights(), any, pick.rng)?;
    view.eligible().get(at).copied()
}

fn sample<const SHARE: bool, const LOCAL: bool>(
    table: &mut Table,
    view: &View,
    pick: &mut Pick<'_>,
    sight: &mut impl Sight,
    row: Option<Row<'_>>,
    read: impl Fn(&Load) -> Reading,
) -> Option<u32> {
    let mut drawn = [0; SCAN_CHUNK];
    for slot in &mut drawn {
        *slot = view.draw_at(pick.tried, pick.rng)? as usize;
    }
    table.gather::<SHARE, LOCAL>(
        0,
        drawn.iter().map(|&at| look(view, sight, row.as_ref(), at, &view.eligible_loads()[at], &read)),
    );
    let inverse = drawn.map(|at| view.scan_weights()[at / SCAN_CHUNK].inverse[at % SCAN_CHUNK]);
    let any = |rng: &mut Rng| Some(rng.below(SCAN_CHUNK as u32) as usize);
    let at = table.winner::<SHARE, LOCAL>(&[Weights { weight: EVEN, inverse }], any, pick.rng)?;
    view.eligible().get(drawn[at]).copied()
}

/// What the candidates of one pick hold. Gathering copies and computes nothing: reads are scattered and so scalar, while
/// arithmetic on whole rows is vector code.
struct Table {
    /// Infinite where there is no candidate.
    held: [Chunk; MOST_CHUNKS],
    quality: [Chunk; MOST_CHUNKS],
    /// Factors of the candidates' regions, where regions count.
    factor: [Chunk; MOST_CHUNKS],
    cost: [Chunk; MOST_CHUNKS],
}

impl Table {
    const EMPTY: Self = Table {
        held: [EVEN; MOST_CHUNKS],
        quality: [EVEN; MOST_CHUNKS],
        factor: [EVEN; MOST_CHUNKS],
        cost: [EVEN; MOST_CHUNKS],
    };

    /// A chunk without candidates.
    fn clear(&mut self, chunk: usize) {
        self.held[chunk] = [f32::INFINITY; SCAN_CHUNK];
        self.quality[chunk] = EVEN;
        self.factor[chunk] = EVEN;
    }

    /// `PRICED` is whether qualities differ from 1.
    #[inline]
    fn gather<const PRICED: bool, const LOCAL: bool>(
        &mut self,
        chunk: usize,
        found: impl Iterator<Item = (Reading, f32)>,
    ) {
        for (at, (reading, factor)) in found.enumerate().take(SCAN_CHUNK) {
            self.held[chunk][at] = reading.held();
            if PRICED {
                self.quality[chunk][at] = reading.quality;
            }
            if LOCAL {
                self.factor[chunk][at] = factor;
            }
        }
    }

    /// The candidate at `at` is none, should it be in `chunk`. Said right after that was gathered: a vector cannot be loaded
    /// while one of its numbers is still on its way to the cache.
    fn leave_out(&mut self, chunk: usize, at: usize) {
        if at / SCAN_CHUNK == chunk {
            self.held[chunk][at % SCAN_CHUNK] = f32::INFINITY;
        }
    }

    /// Position of the winner, or `None` where there is no candidate. `any` draws a candidate by weight.
    fn winner<const SHARE: bool, const LOCAL: bool>(
        &mut self,
        weights: &[Weights],
        any: impl Fn(&mut Rng) -> Option<usize>,
        rng: &mut Rng,
    ) -> Option<usize> {
        let chunks = weights.len().min(MOST_CHUNKS);
        let [mut least, mut fewest] = [[f32::INFINITY; SCAN_CHUNK]; 2];
        for (chunk, weights) in weights.iter().enumerate().take(chunks) {
            let (held, quality) = (&self.held[chunk], &mut self.quality[chunk]);
            for at in 0..SCAN_CHUNK {
                let more = if SHARE { 1.0 } else { 0.0 };
                let price = if SHARE { quality[at] } else { 1.0 };
                let mut cost = (held[at] + more) * price * weights.inverse[at];
                if LOCAL {
                    let factor = self.factor[chunk][at];
                    cost *= factor;
                    // Among the idle, one in another region stands back until those at home are as bad as its factor.
                    quality[at] *= if factor > 1.0 { factor * IDLE_END } else { factor };
                }
                self.cost[chunk][at] = cost;
                least[at] = smaller(least[at], cost);
                fewest[at] = smaller(fewest[at], held[at]);
            }
        }
        let least = across(least, smaller);
        if least == f32::INFINITY {
            return None;
        }
        if SHARE && across(fewest, smaller) <= 0.0 {
            let (best, idle_costs) = self.idle(chunks);
            if idle_costs <= least {
                let (end, scale) = (best * IDLE_END, 1.0 / (best * (IDLE_END - IDLE_BAND)));
                let share = |quality: f32| fall((end - quality) * scale);
                // Accepting a draw as often as its share says gives the same odds as the full draw below, and in an
                // idle pool of like backends it spares it.
                for _ in 0..IDLE_DRAWS {
                    let at = any(rng)?;
                    if (rng.unit() as f32) < share(self.quality.as_flattened()[at]) {
                        return Some(at);
                    }
                }
                return draw(&mut self.quality[..chunks], weights, share, rng);
            }
        }
        draw(&mut self.cost[..chunks], weights, |cost| if cost <= least { 1.0 } else { 0.0 }, rng)
    }

    /// The best quality and the least cost of the idle candidates. The others' quality becomes infinite.
    fn idle(&mut self, chunks: usize) -> (f32, f32) {
        let [mut best, mut least] = [[f32::INFINITY; SCAN_CHUNK]; 2];
        for chunk in 0..chunks {
            let (held, quality, cost) = (&self.held[chunk], &mut self.quality[chunk], &self.cost[chunk]);
            for at in 0..SCAN_CHUNK {
                let busy = if held[at] <= 0.0 { 0.0 } else { f32::INFINITY };
                quality[at] += busy;
                best[at] = smaller(best[at], quality[at]);
                least[at] = smaller(least[at], cost[at] + busy);
            }
        }
        (across(best, smaller), across(least, smaller))
    }
}

/// The share an idle candidate keeps of its weight: all of it within the band, then falling to nothing without a step. A
/// cut-off at the band would lock a backend out for seconds over one unlucky sample.
fn fall(x: f32) -> f32 {
    let x = if x < 1.0 { x } else { 1.0 };
    let x = if x > 0.0 { x } else { 0.0 };
    x * x
}

fn smaller(a: f32, b: f32) -> f32 {
    if b < a { b } else { a }
}

/// Combines the lanes pairwise: four steps instead of fifteen that wait for each other.
fn across(mut lanes: Chunk, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = SCAN_CHUNK / 2;
    while width > 0 {
        for at in 0..width {
            lanes[at] = combine(lanes[at], lanes[at + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// A position drawn in proportion to weight × `share` of its number: first the chunk, then the place in it.
fn draw(row: &mut [Chunk], weights: &[Weights], share: impl Fn(f32) -> f32, rng: &mut Rng) -> Option<usize> {
    let mut total = 0.0;
    let mut sums = [0.0; FULL_SCAN / SCAN_CHUNK];
    for (sum, (row, weights)) in sums.iter_mut().zip(row.iter_mut().zip(weights)) {
        for (x, weight) in row.iter_mut().zip(&weights.weight) {
            *x = weight * share(*x);
        }
        *sum = across(*row, |a, b| a + b);
        total += *sum;
    }
    let (chunk, left) = walk(sums.get(..row.len())?, total * rng.unit() as f32)?;
    walk(&row[chunk], left).map(|(place, _)| chunk * SCAN_CHUNK + place)
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
        let mut seen = [0u32; 2 * SCAN_CHUNK];
        for _ in 0..8_000 {
            seen[draw(&mut row.clone(), &weights, |share| share, &mut rng).unwrap()] += 1;
        }
        let expected = [(3, 2_000), (SCAN_CHUNK, 2_000), (SCAN_CHUNK + 7, 4_000)];
        assert!(expected.iter().all(|&(at, n): &(usize, u32)| seen[at].abs_diff(n) < 200), "{seen:?}");
        assert_eq!(seen.iter().sum::<u32>(), expected.iter().map(|&(at, _)| seen[at]).sum());
    }

    #[test]
    fn rounding_never_loses_the_draw() {
        assert_eq!(walk(&[0.0, 1.0, 2.0, 0.0], 2.5), Some((2, 1.5)));
        assert_eq!(walk(&[0.0, 1.0, 2.0, 0.0], 0.0), Some((1, 0.0)));
        assert_eq!(walk(&[0.0, 1.0, 2.0, 0.0], 3.5), Some((2, 0.0)));
        assert_eq!(walk(&[0.0, 0.0], 0.0), None);
    }

    /// Idle ones of like quality share, a bad one gets nothing, and a busy one wins only where it is cheaper.
    #[test]
    fn idle_candidates_share() {
        let mut rng = Rng::seeded(4);
        let weights = [Weights { weight: EVEN, inverse: EVEN }];
        let mut table = Table::EMPTY;
        let mut tally = |candidates: [(f32, f32); 4]| {
            let found = |(extra, quality)| (Reading { count: 0, extra, quality }, 1.0);
            let any = |rng: &mut Rng| Some(rng.below(4) as usize);
            let mut seen = [0; SCAN_CHUNK];
            for _ in 0..3_000 {
                table.clear(0);
                table.gather::<true, false>(0, candidates.into_iter().map(found));
                seen[table.winner::<true, false>(&weights, any, &mut rng).unwrap()] += 1;
            }
            seen
        };
        let seen = tally([(0.0, 1.0), (0.0, 1.2), (0.0, 9.0), (1.0, 1.0)]);
        assert!(seen[0] > 1_300 && seen[1] > 1_300 && seen[0] + seen[1] == 3_000, "{seen:?}");
        assert_eq!(tally([(0.0, 5.0), (0.0, 5.0), (1.0, 1.0), (2.0, 1.0)])[2], 3_000);
    }

    /// What an earlier pick left behind is no candidate of a later one, in a chunk that is not full.
    #[test]
    fn nothing_is_left_of_the_last_pick() {
        let mut rng = Rng::seeded(5);
        let mut weight = EVEN;
        weight[2..].fill(0.0);
        let (all, two) = ([Weights { weight: EVEN, inverse: EVEN }], [Weights { weight, inverse: EVEN }]);
        let mut table = Table::EMPTY;
        for _ in 0..100 {
            let cheap = (Reading { count: 0, extra: 0.0, quality: 0.001 }, 1.0);
            let dear = (Reading { count: 7, extra: 0.0, quality: 9.0 }, 4.0);
            table.gather::<true, true>(0, [cheap; SCAN_CHUNK].into_iter());
            assert!(table.winner::<true, true>(&all, |_| Some(9), &mut rng).is_some());
            table.clear(0);
            table.gather::<true, true>(0, [dear; 2].into_iter());
            assert!(table.winner::<true, true>(&two, |_| Some(0), &mut rng).is_some_and(|at| at < 2));
            table.clear(0);
            assert_eq!(table.winner::<true, true>(&two, |_| Some(0), &mut rng), None);
        }
    }
}
