//! Latency estimate × (requests in flight + 1), for the weight. Failures enter as dear samples and as pressure.

use super::Pick;
use super::scan;
use super::sight::{Reading, Sight};
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>, sight: &mut impl Sight) -> Option<u32> {
    scan::cheapest(view, pick, sight, None, |l| {
        // A microsecond more, because it is zero while the whole pool is unknown: then the count alone decides.
        let quality = l.latency() + 1.0;
        Reading { count: l.in_flight(), extra: l.failure_debt(), quality }
    })
}
