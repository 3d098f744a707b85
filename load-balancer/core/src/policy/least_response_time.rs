//! Latency estimate × (requests in flight + 1), for the weight. Failures enter as dear samples and as pressure.

use super::{Pick, scan};
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>) -> Option<u32> {
    scan::cheapest(view, pick, |m| (m.load.pressure(), m.load.latency().max(f32::MIN_POSITIVE)))
}
