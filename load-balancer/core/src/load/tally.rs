//! What attempts have come to, counted by all workers: the control side reads differences and runs.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use super::outcome::{Cause, Outcome};

/// Saturated answers in a row before the backend is held: one client over its own limit must not stop a backend for all.
pub(super) const SATURATED_RUN: u32 = 3;

/// What attempts have come to since the backend was first seen (wrapping), and the present run of failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Answers below 500.
    pub good: u32,
    /// Failures of every cause.
    pub bad: u32,
    /// Failures since the last good answer.
    pub run: u32,
    /// Connects that failed since the last answer of any kind.
    pub connects: u32,
    /// What the last failure was.
    pub cause: Option<Cause>,
}

/// The same, counted by all workers.
#[derive(Debug, Default)]
pub(super) struct Tally {
    good: AtomicU32,
    bad: AtomicU32,
    run: AtomicU32,
    connects: AtomicU32,
    /// Position in [`Cause::ALL`], plus one.
    cause: AtomicU32,
    saturated: AtomicU32,
}

impl Tally {
    /// Counts; returns for how long the backend is to be held, where this answer says so.
    pub(super) fn count(&self, outcome: Outcome) -> Option<Duration> {
        match outcome {
            Outcome::Success => {
                self.good.fetch_add(1, Relaxed);
                self.settle();
                None
            }
            Outcome::Failure(cause) => {
                self.bad.fetch_add(1, Relaxed);
                self.run.fetch_add(1, Relaxed);
                self.cause.store(cause as u32 + 1, Relaxed);
                match cause {
                    Cause::Connect => {
                        self.connects.fetch_add(1, Relaxed);
                    }
                    _ => clear(&self.connects),
                }
                None
            }
            Outcome::Saturated(hold) => {
                clear(&self.connects);
                (self.saturated.fetch_add(1, Relaxed) + 1 >= SATURATED_RUN).then_some(hold)
            }
        }
    }

    /// Every run is over.
    pub(super) fn settle(&self) {
        [&self.run, &self.connects, &self.saturated].into_iter().for_each(clear);
    }

    pub(super) fn read(&self) -> Tallies {
        let cause = (self.cause.load(Relaxed) as usize).checked_sub(1);
        Tallies {
            good: self.good.load(Relaxed),
            bad: self.bad.load(Relaxed),
            run: self.run.load(Relaxed),
            connects: self.connects.load(Relaxed),
            cause: cause.and_then(|at| Cause::ALL.get(at).copied()),
        }
    }
}

/// Sets to zero; a word that is zero already is left alone, so that its cache line stays shared.
fn clear(word: &AtomicU32) {
    if word.load(Relaxed) != 0 {
        word.store(0, Relaxed);
    }
}
