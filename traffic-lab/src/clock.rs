//! The only file of this crate that reads a clock; the simulator has its own time and needs none of this.
//!
//! Tokio's clock, since tests can pause it; outside a runtime it is the system's monotonic one.
//! How it fails: a wall clock before 1970 reads as 0; the monotonic one cannot fail.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A point on the monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, to date a result.
pub(crate) fn unix_seconds() -> u64 {
    since_1970().as_secs()
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// On the monotonic clock.
    pub(crate) at: Instant,
    unix: f64,
}

impl Origin {
    /// This moment.
    pub(crate) fn now() -> Self {
        Self { at: now(), unix: since_1970().as_secs_f64() }
    }

    /// `at` in seconds since 1970: read once, so that a wall clock that is set meanwhile changes no duration.
    pub(crate) fn unix(&self, at: Instant) -> f64 {
        self.unix + at.saturating_duration_since(self.at).as_secs_f64()
    }
}

#[expect(clippy::disallowed_methods, reason = "this file is the crate's only reader of the clock")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
