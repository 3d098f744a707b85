//! What the candidates of one pick hold, and who of them wins.
//!
//! Gathering copies and computes nothing: reads are scattered and so scalar, while arithmetic on whole rows is vector code.
//! Rows begin at a cache line; vectors that lie across two cost a tenth of a pick.

use super::draw::{Places, Shares, across};
use super::row::Row;
use super::{EVEN, MOST_CHUNKS};
use crate::policy::sight::Reading;
use crate::rng::Rng;
use crate::view::{Chunk, SCAN_CHUNK, Weights};

/// Among idle backends a difference in quality below 30 % is noise, and weight alone decides.
const IDLE_BAND: f32 = 1.3;
/// An idle backend this many times worse than the best idle one gets nothing; between the two its share falls smoothly.
const IDLE_END: f32 = 2.6;
/// Draws among the idle before all shares are computed.
const IDLE_DRAWS: usize = 8;
/// Where at most one candidate in so many is idle, they are told from the others before it is drawn.
const FEW: usize = 3;

/// Kept from pick to pick by each thread; a pick reads nothing that it did not write. What a scan is made of: `SHARE`,
/// whether qualities and the idle share count; `COUNT` and `EXTRA`, what candidates hold;
/// `LOCAL`, whether regions count.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Table {
    found: Found,
    /// Factors of the candidates' regions.
    factor: [Chunk; MOST_CHUNKS],
    cost: [Chunk; MOST_CHUNKS],
    shares: Shares,
    idle: Places,
}

/// What was read of the candidates.
#[derive(Debug)]
struct Found {
    /// Requests in flight, integers.
    count: [Row; MOST_CHUNKS],
    /// What is held beyond them.
    extra: [Row; MOST_CHUNKS],
    quality: [Row; MOST_CHUNKS],
}

impl Found {
    /// How much the candidate holds.
    #[inline]
    fn held<const COUNT: bool, const EXTRA: bool>(&self, chunk: usize, at: usize) -> f32 {
        // Signed, because that conversion is one instruction.
        let count = if COUNT { self.count[chunk].int(at) as i32 as f32 } else { 0.0 };
        if EXTRA { count + self.extra[chunk].float(at) } else { count }
    }
}

impl Table {
    pub(super) const EMPTY: Self = Table {
        found: Found {
            count: [Row::of(0); MOST_CHUNKS],
            extra: [Row::of(0); MOST_CHUNKS],
            quality: [Row::of(0); MOST_CHUNKS],
        },
        factor: [EVEN; MOST_CHUNKS],
        cost: [EVEN; MOST_CHUNKS],
        shares: Shares::NONE,
        idle: Places::NONE,
    };

    /// A chunk without candidates.
    #[inline]
    pub(super) fn clear<const SHARE: bool, const COUNT: bool, const EXTRA: bool>(&mut self, chunk: usize) {
        const NOTHING: Reading = Reading::NOTHING;
        if COUNT {
            self.found.count[chunk] = const { Row::of(NOTHING.count) };
        }
        if EXTRA {
            self.found.extra[chunk] = const { Row::of(NOTHING.extra.to_bits()) };
        }
        if SHARE {
            self.found.quality[chunk] = const { Row::of(NOTHING.quality.to_bits()) };
        }
        self.factor[chunk] = EVEN;
    }

    /// Fills a chunk with what `look` finds at each of its places.
    #[inline]
    pub(super) fn gather<const SHARE: bool, const COUNT: bool, const EXTRA: bool, const LOCAL: bool>(
        &mut self,
        chunk: usize,
        mut look: impl FnMut(usize) -> (Reading, f32),
    ) {
        for pair in 0..SCAN_CHUNK / 2 {
            let at = pair * 2;
            let ((first, near), (second, far)) = (look(at), look(at + 1));
            if COUNT {
                self.found.count[chunk].set_pair(pair, first.count, second.count);
            }
            if SHARE {
                self.found.quality[chunk].set_pair(pair, first.quality.to_bits(), second.quality.to_bits());
            }
            if EXTRA {
                self.found.extra[chunk].set(at, first.extra.to_bits());
                self.found.extra[chunk].set(at + 1, second.extra.to_bits());
            }
            if LOCAL {
                (self.factor[chunk][at], self.factor[chunk][at + 1]) = (near, far);
            }
        }
    }

    /// Writes what was found of the candidate at `at` alone.
    #[inline]
    pub(super) fn put<const SHARE: bool, const COUNT: bool, const EXTRA: bool>(
        &mut self,
        chunk: usize,
        at: usize,
        (reading, factor): (Reading, f32),
    ) {
        if COUNT {
            self.found.count[chunk].set(at, reading.count);
        }
        if EXTRA {
            self.found.extra[chunk].set(at, reading.extra.to_bits());
        }
        if SHARE {
            self.found.quality[chunk].set(at, reading.quality.to_bits());
        }
        self.factor[chunk][at] = factor;
    }

    /// The candidate at `at` is none, should it be in `chunk`. Said right after that was gathered: a vector cannot be loaded
    /// while one of its numbers is still on its way to the cache.
    #[inline]
    pub(super) fn leave_out<const SHARE: bool, const COUNT: bool, const EXTRA: bool>(
        &mut self,
        chunk: usize,
        at: usize,
    ) {
        if at / SCAN_CHUNK == chunk {
            self.put::<SHARE, COUNT, EXTRA>(chunk, at % SCAN_CHUNK, (Reading::NOTHING, 1.0));
        }
    }

    /// Position of the winner, or `None` where there is no candidate. No weight is above `heaviest`; `any` draws a candidate by
    /// weight.
    pub(super) fn winner<const SHARE: bool, const COUNT: bool, const EXTRA: bool, const LOCAL: bool>(
        &mut self,
        (weights, heaviest): (&[Weights], f32),
        any: impl Fn(&mut Rng) -> Option<usize>,
        rng: &mut Rng,
    ) -> Option<usize> {
        let weights = &weights[..weights.len().min(MOST_CHUNKS)];
        let (least, idle) = self.price::<SHARE, COUNT, EXTRA, LOCAL>(weights);
        if least == f32::INFINITY {
            return None;
        }
        if SHARE && idle > 0 {
            let (best, idle_costs) = self.idle::<COUNT, EXTRA>(weights.len());
            if idle_costs <= least {
                return self.shared::<COUNT, EXTRA>(best, idle, (weights, heaviest), any, rng);
            }
        }
        let Table { cost, shares, .. } = self;
        shares.draw(weights, |chunk, at| if cost[chunk][at] <= least { 1.0 } else { 0.0 }, rng)
    }

    /// Computes what each candidate costs; returns the least of it, and where `SHARE` how many are idle. Never inlined, so that
    /// what is compiled around it cannot take its registers: its sums on the stack cost a sixth of a pick.
    #[inline(never)]
    fn price<const SHARE: bool, const COUNT: bool, const EXTRA: bool, const LOCAL: bool>(
        &mut self,
        weights: &[Weights],
    ) -> (f32, u32) {
        let mut least = [f32::INFINITY; SCAN_CHUNK];
        let mut idle = [0u32; SCAN_CHUNK];
        for (chunk, weights) in weights.iter().enumerate() {
            for at in 0..SCAN_CHUNK {
                let held = self.found.held::<COUNT, EXTRA>(chunk, at);
                let more = if SHARE { 1.0 } else { 0.0 };
                let quality = if SHARE { self.found.quality[chunk].float(at) } else { 1.0 };
                let mut cost = (held + more) * quality * weights.inverse[at];
                if LOCAL {
                    let factor = self.factor[chunk][at];
                    cost *= factor;
                    // Among the idle, one in another region stands back until those at home are as bad as its factor.
                    let apart = if factor > 1.0 { factor * IDLE_END } else { factor };
                    self.found.quality[chunk].set(at, (quality * apart).to_bits());
                }
                self.cost[chunk][at] = cost;
                least[at] = smaller(least[at], cost);
                if SHARE {
                    idle[at] += u32::from(held <= 0.0);
                }
            }
        }
        (across(least, smaller), idle.iter().sum())
    }

    /// The best quality and the least cost of the idle candidates.
    fn idle<const COUNT: bool, const EXTRA: bool>(&self, chunks: usize) -> (f32, f32) {
        let [mut best, mut least] = [[f32::INFINITY; SCAN_CHUNK]; 2];
        for chunk in 0..chunks {
            for at in 0..SCAN_CHUNK {
                let busy =
                    if self.found.held::<COUNT, EXTRA>(chunk, at) <= 0.0 { 0.0 } else { f32::INFINITY };
                best[at] = smaller(best[at], self.found.quality[chunk].float(at) + busy);
                least[at] = smaller(least[at], self.cost[chunk][at] + busy);
            }
        }
        (across(best, smaller), across(least, smaller))
    }

    /// One of the `count` idle candidates, by weight and by how near its quality is to the `best` of them.
    #[inline]
    fn shared<const COUNT: bool, const EXTRA: bool>(
        &mut self,
        best: f32,
        count: u32,
        (weights, heaviest): (&[Weights], f32),
        any: impl Fn(&mut Rng) -> Option<usize>,
        rng: &mut Rng,
    ) -> Option<usize> {
        let (end, scale) = (best * IDLE_END, 1.0 / (best * (IDLE_END - IDLE_BAND)));
        let share = |quality: f32| fall((end - quality) * scale);
        let Table { found, shares, idle, .. } = self;
        let is_idle = |chunk: usize, at: usize| found.held::<COUNT, EXTRA>(chunk, at) <= 0.0;
        // Accepting a draw as often as its share says gives the same odds as the full draw below, and spares it nearly always:
        // among all where many are idle, among the idle where few are, or most draws would fall on others.
        if count as usize * FEW <= weights.len() * SCAN_CHUNK {
            idle.find(weights.len(), is_idle);
            for _ in 0..IDLE_DRAWS {
                let (chunk, place) = idle.nth(weights.len(), rng.below(count))?;
                let share = weights[chunk].weight[place] * share(found.quality[chunk].float(place));
                if rng.unit() as f32 * heaviest < share {
                    return Some(chunk * SCAN_CHUNK + place);
                }
            }
        } else {
            for _ in 0..IDLE_DRAWS {
                let at = any(rng)?;
                let (chunk, place) = (at / SCAN_CHUNK, at % SCAN_CHUNK);
                let quality = found.quality[chunk].float(place);
                if quality >= end || !is_idle(chunk, place) {
                    // Whatever the number, it is not below a share of nothing.
                    rng.skip();
                } else if (rng.unit() as f32) < share(quality) {
                    return Some(at);
                }
            }
        }
        let share = |chunk: usize, at: usize| {
            if is_idle(chunk, at) { share(found.quality[chunk].float(at)) } else { 0.0 }
        };
        shares.draw(weights, share, rng)
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

#[cfg(test)]
mod tests {
    use super::*;

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
                table.clear::<true, true, true>(0);
                (0..4).for_each(|at| table.put::<true, true, true>(0, at, found(candidates[at])));
                seen[table.winner::<true, true, true, false>((&weights, 1.0), any, &mut rng).unwrap()] += 1;
            }
            seen
        };
        let seen = tally([(0.0, 1.0), (0.0, 1.2), (0.0, 9.0), (1.0, 1.0)]);
        assert!(seen[0] > 1_300 && seen[1] > 1_300 && seen[0] + seen[1] == 3_000, "{seen:?}");
        assert_eq!(tally([(0.0, 5.0), (0.0, 5.0), (1.0, 1.0), (2.0, 1.0)])[2], 3_000);
    }

    /// Where few are idle, they are drawn by weight × share all the same, whether a draw among them is accepted or not.
    #[test]
    fn few_idle_candidates_share() {
        const CHUNKS: usize = 3;
        const IDLE: [(usize, f32, f32, f32); 4] =
            [(1, 1.0, 1.0, 1.0), (20, 4.0, 1.2, 1.0), (39, 2.0, 1.95, 0.25), (47, 9.0, 2.7, 0.0)];
        let mut rng = Rng::seeded(6);
        // Of the second weights a draw is accepted once in 300 times, so that all shares are computed.
        for heaviest in [4.0, 1_000.0] {
            let mut weights = [Weights { weight: EVEN, inverse: EVEN }; CHUNKS];
            let mut table = Table::EMPTY;
            for (chunk, weights) in weights.iter_mut().enumerate() {
                let busy = Reading { count: 1, extra: 0.0, quality: 9.0 };
                table.gather::<true, true, false, false>(chunk, |_| (busy, 1.0));
                for (at, weight, quality, _) in IDLE.into_iter().filter(|idle| idle.0 / SCAN_CHUNK == chunk) {
                    weights.weight[at % SCAN_CHUNK] = weight;
                    let idle = (Reading { count: 0, extra: 0.0, quality }, 1.0);
                    table.put::<true, true, false>(chunk, at % SCAN_CHUNK, idle);
                }
            }
            let mut seen = [0u32; CHUNKS * SCAN_CHUNK];
            for _ in 0..22_000 {
                let any = |rng: &mut Rng| Some(rng.below((CHUNKS * SCAN_CHUNK) as u32) as usize);
                let by = (&weights[..], heaviest);
                seen[table.winner::<true, true, false, false>(by, any, &mut rng).unwrap()] += 1;
            }
            for (at, weight, _, share) in IDLE {
                // Four standard deviations of the largest are 260.
                assert!(seen[at].abs_diff((weight * share * 4_000.0) as u32) < 300, "{at}: {seen:?}");
            }
            assert_eq!(IDLE.iter().map(|idle| seen[idle.0]).sum::<u32>(), 22_000, "{seen:?}");
        }
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
            table.gather::<true, true, true, true>(0, |_| cheap);
            assert!(table.winner::<true, true, true, true>((&all, 1.0), |_| Some(9), &mut rng).is_some());
            table.clear::<true, true, true>(0);
            (0..2).for_each(|at| table.put::<true, true, true>(0, at, dear));
            assert!(
                table
                    .winner::<true, true, true, true>((&two, 1.0), |_| Some(0), &mut rng)
                    .is_some_and(|at| at < 2)
            );
            table.clear::<true, true, true>(0);
            assert_eq!(table.winner::<true, true, true, true>((&two, 1.0), |_| Some(0), &mut rng), None);
        }
    }
}
