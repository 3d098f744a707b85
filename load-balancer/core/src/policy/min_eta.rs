//! Smallest expected time to finish what is already there: the sum, over a backend's requests in flight, of the mean
//! duration known when each was assigned. Durations come from a sliding window of 5–10 s.

use super::Pick;
use super::scan;
use super::sight::{Reading, Sight};
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>, sight: &mut impl Sight) -> Option<u32> {
    let of = |eta| Reading { count: 0, extra: eta, quality: 1.0 };
    if view.pool().indebted() {
        scan::lightest::<false, true>(view, pick, sight, |l| of(l.eta()))
    } else {
        scan::lightest::<false, true>(view, pick, sight, |l| of(l.expected_in_flight()))
    }
}
