//! Finding the minimum fairly: over all candidates up to [`FULL_SCAN`] members, over a sample by weight beyond.

use super::Pick;
use crate::view::{Member, View, weighted};

/// Members up to which every one is looked at: about 100 ns, and clearly better tails than two choices.
const FULL_SCAN: usize = 128;
/// Draws in a larger pool.
const SAMPLE: usize = 16;
/// Among idle backends a difference in quality below 30 % is noise, and weight decides.
const IDLE_BAND: f32 = 1.3;

/// The candidate with the smallest `cost`. Exact ties are drawn by weight.
pub(super) fn lightest(view: &View, pick: &mut Pick<'_>, cost: impl Fn(&Member) -> f32) -> Option<u32> {
    let mut candidates = Candidates::of(view, pick);
    candidates.keep_smallest(view, cost);
    candidates.draw(view, pick)
}

/// The candidate with the smallest (n + 1) · quality / weight, where `terms` gives (n, quality). If that one is idle, the
/// choice is among all idle candidates of like quality, by weight: where nothing queues, capacity is shared, not raced for.
pub(super) fn cheapest(
    view: &View,
    pick: &mut Pick<'_>,
    terms: impl Fn(&Member) -> (f32, f32),
) -> Option<u32> {
    let mut candidates = Candidates::of(view, pick);
    let all = candidates;
    candidates.keep_smallest(view, |m| {
        let (n, quality) = terms(m);
        (n + 1.0) * quality / m.weight as f32
    });
    let (n, _) = terms(view.members().get(candidates.first()? as usize)?);
    if n > 0.0 {
        return candidates.draw(view, pick);
    }
    let idle_quality = |m: &Member| match terms(m) {
        (n, quality) if n <= 0.0 => quality,
        _ => f32::INFINITY,
    };
    let best = all.iter().map(|i| idle_quality(&view.members()[i as usize])).fold(f32::INFINITY, f32::min);
    let mut idle = all;
    idle.retain(|i| idle_quality(&view.members()[i as usize]) <= best * IDLE_BAND);
    idle.draw(view, pick)
}

/// A set of members, held inline.
#[derive(Clone, Copy)]
struct Candidates {
    members: [u32; FULL_SCAN],
    len: usize,
    /// The members were drawn by weight, so weight must not count again when a tie is drawn.
    sampled: bool,
}

impl Candidates {
    fn of(view: &View, pick: &mut Pick<'_>) -> Self {
        let mut set =
            Candidates { members: [0; FULL_SCAN], len: 0, sampled: view.eligible().len() > FULL_SCAN };
        if set.sampled {
            (0..SAMPLE).filter_map(|_| view.draw(pick.tried, pick.rng)).for_each(|i| set.push(i));
        } else {
            view.eligible().iter().filter(|&&i| !pick.tried.contains(i)).for_each(|&i| set.push(i));
        }
        set
    }

    fn push(&mut self, i: u32) {
        if let Some(slot) = self.members.get_mut(self.len) {
            *slot = i;
            self.len += 1;
        }
    }

    fn iter(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        self.members[..self.len].iter().copied()
    }

    fn first(&self) -> Option<u32> {
        self.iter().next()
    }

    fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        let mut kept = 0;
        for at in 0..self.len {
            let i = self.members[at];
            if keep(i) {
                self.members[kept] = i;
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// Keeps the members whose cost equals the minimum, in one pass.
    fn keep_smallest(&mut self, view: &View, cost: impl Fn(&Member) -> f32) {
        let (mut best, mut kept) = (f32::INFINITY, 0);
        for at in 0..self.len {
            let i = self.members[at];
            let c = cost(&view.members()[i as usize]);
            if c < best {
                (best, kept) = (c, 0);
            }
            if c <= best {
                self.members[kept] = i;
                kept += 1;
            }
        }
        self.len = kept;
    }

    fn draw(&self, view: &View, pick: &mut Pick<'_>) -> Option<u32> {
        if self.len <= 1 {
            return self.first();
        }
        let weight = |i: u32| if self.sampled { 1 } else { view.members()[i as usize].weight };
        weighted(self.iter(), weight, pick.rng)
    }
}
