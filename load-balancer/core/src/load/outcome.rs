//! How an attempt ended, and the ticket that says when it began.

use std::time::Duration;

use crate::tick::Tick;

/// How an attempt ended, as far as a policy cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response below 500.
    Success,
    /// Anything that speaks against the backend.
    Failure(Cause),
    /// 429 or 503 with `Retry-After`: the backend is full, not broken. It asks not to be sent anything for so long. Priced
    /// like a failure, but never a reason to eject.
    Saturated(Duration),
}

/// What an attempt failed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No connection came about: refused, unreachable or too slow.
    Connect,
    /// The connection broke, or what came over it was not HTTP.
    Reset,
    /// No answer in time.
    Timeout,
    /// A response of 500 or more.
    Status,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 4] = [Cause::Connect, Cause::Reset, Cause::Timeout, Cause::Status];

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Connect => "connect",
            Cause::Reset => "reset",
            Cause::Timeout => "timeout",
            Cause::Status => "status",
        }
    }
}

/// What [`Load::begin`](super::Load::begin) hands out and [`Load::end`](super::Load::end) takes back: one request in
/// flight.
#[derive(Debug, Clone, Copy)]
#[must_use = "an attempt that begins must end, or the backend looks busy for ever"]
pub struct Ticket {
    pub(super) at: Tick,
    pub(super) sent: Tick,
    pub(super) expected: u32,
}

impl Ticket {
    /// When the attempt began.
    #[must_use]
    pub fn at(&self) -> Tick {
        self.at
    }

    /// When its request went out.
    #[must_use]
    pub fn sent(&self) -> Tick {
        self.sent
    }

    /// The request goes out at `now`, after a connection had to be made: making it says nothing about the backend's
    /// latency, so samples count from here.
    pub fn send(&mut self, now: Tick) {
        self.sent = now;
    }
}
