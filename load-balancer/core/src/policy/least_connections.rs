//! Fewest requests in flight for the weight; ties are drawn by weight, so that an idle pool is shared by weight too.

use super::{Pick, scan};
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>) -> Option<u32> {
    scan::lightest(view, pick, |m| m.load.pressure() / m.weight as f32)
}
