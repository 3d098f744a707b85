//! What goes wrong in a scenario, and when exactly: faults become a list of changes before the run begins, drawn from a
//! stream of their own, so that all policies meet the same faults at the same nanosecond.

use lb_core::Rng;
use serde::Deserialize;

use super::draw::{Concern, Streams, between, exponential};
use super::scenario::Span;

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;
/// Steps of a second that a swinging load is cut into.
const SWING_STEP_S: f64 = 0.5;
/// How long before it stops a restarting server gets no new requests (s): longer than any usual request.
const DRAIN_S: f64 = 2.0;

/// One fault.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Fault {
    /// Servers run at `factor` of their speed.
    Speed {
        servers: Span,
        factor: f64,
        #[serde(default)]
        from_s: f64,
        to_s: Option<f64>,
    },
    /// Servers fail a `share` of the requests at once.
    Fail {
        servers: Span,
        share: f64,
        /// What it answers: 503 is tried again elsewhere, 500 is not, as in the product.
        #[serde(default = "internal_error")]
        status: u16,
        #[serde(default)]
        from_s: f64,
        to_s: Option<f64>,
    },
    /// Servers lose what they hold and refuse connections; nobody is told.
    Crash { servers: Span, from_s: f64, to_s: Option<f64> },
    /// Neighbours take speed away now and then, `busy` of the time, so that `factor` (from, to) is left for `for_s`.
    Antagonist { servers: Span, factor: [f64; 2], for_s: [f64; 2], busy: f64 },
    /// Servers stop for `for_ms` about every `every_s`, each in its own rhythm.
    Pause { servers: Span, for_ms: [f64; 2], every_s: f64 },
    /// Servers restart one after another, drained first, then gone; each is cold for a while after.
    Restart { servers: Span, from_s: f64, gap_s: f64, down_s: f64, cold_s: f64, cold_factor: f64 },
    /// Servers vanish one after another without a word, a step every `gap_s`; each is cold for a while after.
    Vanish { servers: Span, from_s: f64, gap_s: f64, down_s: f64, cold_s: f64, cold_factor: f64 },
    /// Servers are not there until `at_s`, and cold at first.
    Join { servers: Span, at_s: f64, cold_s: f64, cold_factor: f64 },
    /// The load is multiplied.
    Load { factor: f64, from_s: f64, to_s: Option<f64> },
    /// The load swings by `by` (0 to 1) around its mean with this period.
    Swing { by: f64, period_s: f64 },
}

fn internal_error() -> u16 {
    500
}

impl Fault {
    /// The servers it is about; none where it is about the load.
    pub(crate) fn servers(&self) -> Option<Span> {
        match *self {
            Fault::Speed { servers, .. }
            | Fault::Fail { servers, .. }
            | Fault::Crash { servers, .. }
            | Fault::Antagonist { servers, .. }
            | Fault::Pause { servers, .. }
            | Fault::Restart { servers, .. }
            | Fault::Vanish { servers, .. }
            | Fault::Join { servers, .. } => Some(servers),
            Fault::Load { .. } | Fault::Swing { .. } => None,
        }
    }
}

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum What {
    /// Sets what faults leave of a server's speed.
    Factor(f64),
    /// Sets what a cold cache leaves of it.
    Warmth(f64),
    /// Begins or ends a pause.
    Pause(bool),
    /// Sets the share of requests failed, and by which status.
    Failing(f64, u16),
    /// Begins or ends refusing connections; what was held is lost.
    Down(bool),
    /// Leaves or joins the pool, by announcement.
    Member(bool),
    /// Multiplies the load (of all; the server means nothing).
    Load(f64),
}

/// One change at a time (ns).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    /// When.
    pub(crate) at: u64,
    /// Whose.
    pub(crate) server: u32,
    /// What.
    pub(crate) what: What,
}

/// All changes of a run of `seconds`, in order.
pub(crate) fn timeline(faults: &[Fault], seconds: f64, streams: Streams) -> Vec<Change> {
    let mut changes = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        let mut push = |at_s: f64, server: u32, what: What| {
            changes.push(Change { at: (at_s.max(0.0) * SECOND) as u64, server, what });
        };
        let rng = |server: u32| streams.of(Concern::Faults, ((number as u64) << 32) | u64::from(server));
        one(fault, seconds, rng, &mut push);
    }
    changes.retain(|change| (change.at as f64) < seconds * SECOND);
    changes.sort_by_key(|change| change.at);
    changes
}

fn one(fault: &Fault, seconds: f64, rng: impl Fn(u32) -> Rng, push: &mut impl FnMut(f64, u32, What)) {
    match *fault {
        Fault::Speed { servers, factor, from_s, to_s } => {
            span(servers, |s| pair(push, s, [from_s, to_s.unwrap_or(f64::MAX)], What::Factor, [factor, 1.0]));
        }
        Fault::Fail { servers, share, status, from_s, to_s } => {
            let failing = |share| What::Failing(share, status);
            span(servers, |s| pair(push, s, [from_s, to_s.unwrap_or(f64::MAX)], failing, [share, 0.0]));
        }
        Fault::Crash { servers, from_s, to_s } => {
            span(servers, |s| pair(push, s, [from_s, to_s.unwrap_or(f64::MAX)], What::Down, [true, false]));
        }
        Fault::Antagonist { servers, factor, for_s, busy } => span(servers, |s| {
            let (mut rng, mut at) = (rng(s), 0.0);
            let mean = f64::midpoint(for_s[0], for_s[1]);
            let quiet = mean * (1.0 - busy) / busy;
            at += exponential(&mut rng) * quiet;
            while at < seconds {
                let end = at + between(&mut rng, for_s);
                pair(push, s, [at, end], What::Factor, [between(&mut rng, factor), 1.0]);
                at = end + exponential(&mut rng) * quiet;
            }
        }),
        Fault::Pause { servers, for_ms, every_s } => span(servers, |s| {
            let mut rng = rng(s);
            let mut at = rng.unit() * every_s;
            while at < seconds {
                let end = at + between(&mut rng, for_ms) / 1_000.0;
                pair(push, s, [at, end], What::Pause, [true, false]);
                at = end + every_s * between(&mut rng, [0.75, 1.25]);
            }
        }),
        Fault::Restart { servers, from_s, gap_s, down_s, cold_s, cold_factor } => span(servers, |s| {
            let drained = from_s + f64::from(s - servers.from) * gap_s;
            let up = drained + DRAIN_S + down_s;
            pair(push, s, [drained, up], What::Member, [false, true]);
            pair(push, s, [drained + DRAIN_S, up], What::Down, [true, false]);
            pair(push, s, [up, up + cold_s], What::Warmth, [cold_factor, 1.0]);
        }),
        Fault::Vanish { servers, from_s, gap_s, down_s, cold_s, cold_factor } => span(servers, |s| {
            let count = f64::from(servers.to - servers.from);
            let mut gone = from_s + f64::from(s - servers.from) * gap_s;
            while gone < seconds {
                let up = gone + down_s;
                pair(push, s, [gone, up], What::Down, [true, false]);
                pair(push, s, [up, up + cold_s], What::Warmth, [cold_factor, 1.0]);
                gone += count * gap_s;
            }
        }),
        Fault::Join { servers, at_s, cold_s, cold_factor } => span(servers, |s| {
            pair(push, s, [0.0, at_s], What::Member, [false, true]);
            pair(push, s, [at_s, at_s + cold_s], What::Warmth, [cold_factor, 1.0]);
        }),
        Fault::Load { factor, from_s, to_s } => {
            pair(push, 0, [from_s, to_s.unwrap_or(f64::MAX)], What::Load, [factor, 1.0]);
        }
        Fault::Swing { by, period_s } => {
            let steps = (seconds / SWING_STEP_S) as u32;
            for step in 0..steps {
                let at = f64::from(step) * SWING_STEP_S;
                push(at, 0, What::Load(1.0 + by * (std::f64::consts::TAU * at / period_s).sin()));
            }
        }
    }
}

fn span(servers: Span, each: impl FnMut(u32)) {
    (servers.from..servers.to).for_each(each);
}

/// A change and its end.
fn pair<T: Copy>(
    push: &mut impl FnMut(f64, u32, What),
    server: u32,
    [from, to]: [f64; 2],
    what: impl Fn(T) -> What,
    [during, after]: [T; 2],
) {
    push(from, server, what(during));
    push(to, server, what(after));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_repeat_and_end() {
        let servers = Span { from: 0, to: 3 };
        let faults = [
            Fault::Pause { servers, for_ms: [150.0, 400.0], every_s: 10.0 },
            Fault::Speed { servers, factor: 0.1, from_s: 5.0, to_s: Some(7.0) },
            Fault::Antagonist { servers, factor: [0.25, 0.6], for_s: [2.0, 8.0], busy: 0.35 },
        ];
        let make = |seed| timeline(&faults, 60.0, Streams::new(seed));
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
        let changes = make(1);
        assert!(changes.is_sorted_by_key(|c| c.at));
        assert!(changes.contains(&Change { at: 7_000_000_000, server: 2, what: What::Factor(1.0) }));
        let vanish =
            Fault::Vanish { servers, from_s: 5.0, gap_s: 10.0, down_s: 3.0, cold_s: 9.0, cold_factor: 0.25 };
        let gone = timeline(&[vanish], 60.0, Streams::new(1));
        let gone = gone.iter().filter(|c| c.what == What::Down(true));
        assert!(
            gone.map(|c| (c.at / 1_000_000_000, c.server))
                .eq([5, 15, 25, 35, 45, 55].into_iter().zip([0, 1, 2, 0, 1, 2]))
        );
        let pauses = |on| changes.iter().filter(|c| c.what == What::Pause(on)).count();
        assert!((15..=21).contains(&pauses(true)) && pauses(true).abs_diff(pauses(false)) <= 3);
    }
}
