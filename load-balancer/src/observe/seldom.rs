//! A complaint that may come with every request is worth a line a minute.

use std::time::Duration;

use lb_core::Tick;

/// Between two lines about the same trouble.
const PAUSE: Duration = Duration::from_secs(60);

/// Remembers when the last line was.
#[derive(Debug, Default)]
pub(super) struct Seldom(Option<Tick>);

impl Seldom {
    /// Whether a line is due at `now`; if so, the next is due a minute later.
    pub(super) fn due(&mut self, now: Tick) -> bool {
        let due = self.0.is_none_or(|last| now.since(last) >= PAUSE);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_minute() {
        let mut seldom = Seldom::default();
        let at = |seconds| Tick::ZERO.after(Duration::from_secs(seconds));
        let due: Vec<u64> = (0..200).filter(|&second| seldom.due(at(second))).collect();
        assert_eq!(due, [0, 60, 120, 180]);
    }
}
