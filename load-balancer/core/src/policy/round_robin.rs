//! Backends in turn. One cursor for all workers, so the order holds over the whole process.
//!
//! Weights do not count here, slow start does: a backend that is warming up passes on some of its turns.

use super::Pick;
use super::sight::Sight;
use crate::view::View;

/// Turns a request may burn on members it has tried before it takes any other.
const MAX_SKIPS: usize = super::MAX_TRIED;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>, sight: &mut impl Sight) -> Option<u32> {
    let first = in_turn(view, view.eligible(), pick, sight)?;
    let warmth = view.members()[first as usize].warmth;
    if !view.warming() || pick.rng.unit() < f64::from(warmth) {
        return Some(first);
    }
    in_turn(view, view.eligible(), pick, sight)
}

/// The next of `order` that was not tried. A tried member's turn is spent, not saved up.
pub(super) fn in_turn(
    view: &View,
    order: &[u32],
    pick: &mut Pick<'_>,
    sight: &mut impl Sight,
) -> Option<u32> {
    let len = order.len() as u64;
    if len == 0 {
        return None;
    }
    for _ in 0..=MAX_SKIPS {
        let i = order[(sight.turn(view.pool()) % len) as usize];
        if !pick.tried.contains(i) {
            return Some(i);
        }
    }
    order.iter().copied().find(|&i| !pick.tried.contains(i))
}
