//! A draw in proportion to weight: the yardstick that every other policy should beat.

use super::Pick;
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>) -> Option<u32> {
    view.draw(pick.tried, pick.rng)
}
