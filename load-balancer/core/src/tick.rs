//! A point in time as a number, so that core never asks what time it is.

use std::time::Duration;

/// Nanoseconds since an origin that the caller chose (process start, simulation start). Monotonic by contract: callers
/// pass non-decreasing ticks; where two threads disagree by a little, differences saturate at zero instead of wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The origin.
    pub const ZERO: Tick = Tick(0);

    /// A tick `nanos` nanoseconds after the origin.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Tick(nanos)
    }

    /// A tick `millis` milliseconds after the origin.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Tick(millis * 1_000_000)
    }

    /// Nanoseconds since the origin.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whole microseconds since the origin.
    #[must_use]
    pub const fn micros(self) -> u64 {
        self.0 / 1_000
    }

    /// Milliseconds since the origin, wrapped to 32 bits: it repeats every 49.7 days, so only differences mean
    /// anything ([`u32::wrapping_sub`]).
    #[must_use]
    pub const fn millis_u32(self) -> u32 {
        (self.0 / 1_000_000) as u32
    }

    /// Time from `earlier` to `self`; zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This tick moved by `delta` into the future, saturating at the end of time.
    #[must_use]
    pub const fn after(self, delta: Duration) -> Tick {
        let nanos = delta.as_nanos();
        Tick(self.0.saturating_add(if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_saturate() {
        let (a, b) = (Tick::from_millis(5), Tick::from_millis(9));
        assert_eq!(b.since(a), Duration::from_millis(4));
        assert_eq!(a.since(b), Duration::ZERO);
        assert_eq!(a.after(Duration::MAX), Tick::from_nanos(u64::MAX));
    }
}
