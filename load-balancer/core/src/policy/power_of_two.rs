//! Two *distinct* draws in proportion to weight; the one with less pressure for its weight wins (M. Mitzenmacher, "The
//! power of two choices in randomized load balancing", IEEE TPDS 2001). Drawing with replacement would hand the busiest
//! backend a share of picks for ever: a quarter of them with two backends.

use super::Pick;
use super::sight::{Reading, Sight};
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>, sight: &mut impl Sight) -> Option<u32> {
    let first = view.draw(pick.tried, pick.rng)?;
    let mut seen = *pick.tried;
    seen.insert(first);
    let Some(second) = view.draw(&seen, pick.rng).filter(|&s| s != first) else {
        return Some(first);
    };
    let mut cost = |i: u32| {
        let member = &view.members()[i as usize];
        let reading = sight.reading(i, &member.load, Reading::of_pressure);
        reading.held() / member.weight as f32
    };
    // On a tie the first draw stands: it was made by weight, so an idle pool is shared by weight.
    let (of_first, of_second) = (cost(first), cost(second));
    Some(if of_second < of_first { second } else { first })
}
