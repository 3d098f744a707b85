//! The only file of this crate that reads a clock; the simulator has its own time and needs none of this.
//!
//! Tokio's clock, since tests can pause it; outside a runtime it is the system's monotonic one.
//! How it fails: a wall clock before 1970 reads as 0; the monotonic one cannot fail.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A point on the monotonic clock.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Seconds since 1970, to date a result.
#[expect(clippy::disallowed_methods, reason = "this file is the crate's only reader of the clock")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
