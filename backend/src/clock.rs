//! The only file of this crate that reads a clock.
//!
//! Why: the workspace bans `now()` elsewhere, so that whoever looks for time finds it here. Two clocks, never mixed:
//! the monotonic one measures durations, the wall clock stamps answers that other machines compare.
//! How it fails: a wall clock before 1970 reads as 0.0; the monotonic one cannot fail.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A point on the monotonic clock, for durations.
#[expect(clippy::disallowed_methods, reason = "this file is the crate's only reader of the clock")]
#[must_use]
pub fn tick() -> Instant {
    Instant::now()
}

/// Wall clock, seconds since 1970 as a float (microseconds survive until the year 2255).
#[expect(clippy::disallowed_methods, reason = "this file is the crate's only reader of the clock")]
#[must_use]
pub fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let first = tick();
        assert!(tick() >= first);
    }

    #[test]
    fn the_wall_clock_is_after_2020() {
        assert!(unix_seconds() > 1_577_836_800.0);
    }
}
