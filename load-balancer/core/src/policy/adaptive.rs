//! The default: cost = (in flight + 1) / capacity × latency anomaly × error factor; the cheapest wins.
//!
//! The count is our own and instant, so it cannot go stale and settles in one round trip; latency relative to the pool
//! and the success share correct it for backends that are slow or failing. Every factor is dimensionless and near 1, so
//! a missing signal is simply 1 and no signal can make a bad backend free. Capacity is the configured weight.

use super::Pick;
use super::scan::{self, Terms};
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>) -> Option<u32> {
    scan::cheapest(view, pick, |l| Terms { count: l.in_flight(), extra: 0.0, quality: l.anomaly() })
}
