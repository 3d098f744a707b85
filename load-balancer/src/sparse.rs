//! Words about what may happen a thousand times a second: told at once, and then as a number every few seconds.

use std::cell::Cell;
use std::time::Duration;

use lb_core::Tick;

/// Between two lines about the same.
const PAUSE: Duration = Duration::from_secs(10);

/// When something was told last, and how often it has happened since.
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    next: Cell<Tick>,
    untold: Cell<u64>,
}

impl Sparse {
    /// It has happened again at `now`: how often it did without being told, where it is to be told now.
    pub(crate) fn due(&self, now: Tick) -> Option<u64> {
        if now < self.next.get() {
            self.untold.set(self.untold.get() + 1);
            return None;
        }
        self.next.set(now.after(PAUSE));
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
}
