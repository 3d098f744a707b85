//! Fewest requests in flight for the weight; ties are drawn by weight, so that an idle pool is shared by weight too.

use super::Pick;
use super::scan::{self, Terms};
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>) -> Option<u32> {
    scan::lightest(view, pick, |l| Terms { count: l.in_flight(), extra: l.failure_debt(), quality: 1.0 })
}
