//! Smooth weighted round robin: the table of [`crate::wrr`] read in turn.

use super::sight::Sight;
use super::{Pick, round_robin};
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>, sight: &mut impl Sight) -> Option<u32> {
    round_robin::in_turn(view, view.turns(), pick, sight)
}
