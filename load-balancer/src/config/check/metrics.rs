//! The series budget.

use super::super::{Metrics, raw};
use super::Checker;
use crate::observe::series::BUDGET;

impl Checker {
    pub(super) fn metrics(&mut self, raw: &raw::Metrics) -> Metrics {
        self.unknown("metrics", &raw.unknown, raw::Metrics::KEYS);
        let backends = self.int("metrics.backends", raw.backends.as_ref(), BUDGET as i64, 1, 10_000);
        Metrics { backends: backends as usize }
    }
}
