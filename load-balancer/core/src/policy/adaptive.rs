//! The default: cost = (in flight + others' + 1) / capacity × latency anomaly × error factor × locality; the cheapest wins.
//!
//! The count is our own and instant, so it cannot go stale and settles in one round trip; what others have there is a
//! guess that fades within a moment. Latency relative to the pool and the success share correct it for backends
//! that are slow or failing, capacity (learned from scrapes, times weight and warmth) for those that can do more. Every
//! factor is dimensionless and near 1, so a missing signal is simply 1 and no signal can make a bad backend free.

use super::Pick;
use super::scan;
use super::sight::{Reading, Sight};
use crate::load::Load;
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>, sight: &mut impl Sight) -> Option<u32> {
    let row = pick.region.and_then(|region| view.locality()?.row(region));
    let alone = |l: &Load| Reading { count: l.in_flight(), extra: 0.0, quality: l.price() };
    if view.pool().others() {
        scan::cheapest::<true>(view, pick, sight, row, |l| Reading { extra: l.others(), ..alone(l) })
    } else {
        scan::cheapest::<false>(view, pick, sight, row, alone)
    }
}
