//! Decision records.

use super::super::{Decisions, raw};
use super::Checker;

impl Checker {
    pub(super) fn decisions(&mut self, raw: &raw::Decisions) -> Decisions {
        self.unknown("decisions", &raw.unknown, raw::Decisions::KEYS);
        let sample = self.float("decisions.sample", raw.sample.as_ref(), 0.01, 0.0, 1.0);
        let share = match self.one_of("decisions.record", raw.record.as_ref(), &["sampled", "all", "off"]) {
            0 => sample,
            1 => 1.0,
            _ => 0.0,
        };
        Decisions { share, keep: self.int("decisions.keep", raw.keep.as_ref(), 1_000, 1, 100_000) as usize }
    }
}
