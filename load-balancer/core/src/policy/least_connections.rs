//! Fewest requests in flight for the weight; ties are drawn by weight, so that an idle pool is shared by weight too.

use super::Pick;
use super::scan;
use super::sight::{Reading, Sight};
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>, sight: &mut impl Sight) -> Option<u32> {
    if view.pool().indebted() {
        scan::lightest::<true, true>(view, pick, sight, Reading::of_pressure)
    } else {
        scan::lightest::<true, false>(view, pick, sight, Reading::of_count)
    }
}
