//! Words about what may happen a thousand times a second: told at once, as long as they are few, and then as a number every few
//! seconds.

use std::cell::Cell;
use std::time::Duration;

use lb_core::Tick;

/// The time that lines about the same are counted in.
const WITHIN: Duration = Duration::from_secs(10);

/// What has been told lately, and how often it has happened since.
#[derive(Debug)]
pub(crate) struct Sparse {
    most: u32,
    lines: Cell<u32>,
    until: Cell<Tick>,
    untold: Cell<u64>,
}

impl Default for Sparse {
    /// One line each time.
    fn default() -> Self {
        Sparse::lines(1)
    }
}

impl Sparse {
    /// As many lines each time.
    pub(crate) fn lines(most: u32) -> Self {
        Sparse { most, lines: Cell::default(), until: Cell::default(), untold: Cell::default() }
    }

    /// It has happened again at `now`: how often it did without being told, where it is to be told now.
    pub(crate) fn due(&self, now: Tick) -> Option<u64> {
        if now >= self.until.get() {
            self.until.set(now.after(WITHIN));
            self.lines.set(0);
        }
        if self.lines.get() == self.most {
            self.untold.set(self.untold.get() + 1);
            return None;
        }
        self.lines.set(self.lines.get() + 1);
        Some(self.untold.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_two_lines() {
        let sparse = Sparse::default();
        let told: Vec<u64> = (0..15_000).filter_map(|ms| sparse.due(Tick::from_millis(ms))).collect();
        assert_eq!(told, [0, 9_999]);
    }

    #[test]
    fn a_flood_is_some_lines_and_a_number() {
        let told = Sparse::lines(10);
        let lines: Vec<(u64, u64)> =
            (0..25_000).filter_map(|ms| told.due(Tick::from_millis(ms)).map(|untold| (ms, untold))).collect();
        let expected: Vec<(u64, u64)> = [(0, 0), (10_000, 9_990), (20_000, 9_990)]
            .into_iter()
            .flat_map(|(from, untold)| (0..10).map(move |i| (from + i, if i == 0 { untold } else { 0 })))
            .collect();
        assert_eq!(lines, expected);
    }
}
