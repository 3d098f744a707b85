//! The only reader of the clock and the only source of entropy: everything else is handed a [`Tick`] or a seed.
//!
//! Built on tokio's clock, so that a test which pauses time pauses the whole balancer.

use std::time::Duration;

use lb_core::{Rng, Tick};
use tokio::time::Instant;

/// Measures ticks from its own creation. Copies share the origin.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { origin: Instant::now() }
    }
}

impl Clock {
    /// The present, about 25 ns.
    #[must_use]
    pub fn now(&self) -> Tick {
        Tick::from_nanos(self.origin.elapsed().as_nanos() as u64)
    }

    /// The instant of a tick, for timers.
    #[must_use]
    pub fn instant(&self, tick: Tick) -> Instant {
        self.origin + Duration::from_nanos(tick.nanos())
    }
}

/// The wall-clock time for a `Date` header (RFC 9110, 6.6.1).
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the module that reads clocks")]
pub fn http_date() -> String {
    httpdate::fmt_http_date(std::time::SystemTime::now())
}

/// Milliseconds since the Unix epoch, for records that people read. Never used to measure.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the module that reads clocks")]
pub fn unix_millis() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// A generator seeded by the operating system.
#[must_use]
pub fn entropy() -> Rng {
    // A failing source of entropy is not worth dying for: picks need spread, not secrecy.
    Rng::seeded(getrandom::u64().unwrap_or(0x9e37_79b9_7f4a_7c15))
}
