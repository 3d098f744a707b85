//! Latency estimate × (requests in flight + 1), for the weight. Failures enter as dear samples and as pressure.

use super::Pick;
use super::scan;
use super::sight::{Reading, Sight};
use crate::load::Load;
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>, sight: &mut impl Sight) -> Option<u32> {
    // Never zero: where the whole pool is unknown, the count alone decides.
    let priced = |l: &Load, reading| Reading { quality: l.wait(), ..reading };
    if view.pool().indebted() {
        scan::cheapest::<true>(view, pick, sight, None, |l| priced(l, Reading::of_pressure(l)))
    } else {
        scan::cheapest::<false>(view, pick, sight, None, |l| priced(l, Reading::of_count(l)))
    }
}
