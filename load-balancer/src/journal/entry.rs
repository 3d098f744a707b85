//! One request, with every choice that was made for it.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use lb_core::{Algorithm, Record};

use crate::registry::Snapshot;

/// A request that has ended.
#[derive(Debug)]
pub struct Entry {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Its id, as in `X-Request-Id`.
    pub id: HeaderValue,
    /// The pool as it was when its way was chosen.
    pub snapshot: Arc<Snapshot>,
    /// What chose.
    pub algorithm: Algorithm,
    /// The status that its client got; 499 where the client had gone.
    pub code: u16,
    /// From its head to its last byte.
    pub took: Duration,
    /// One for each attempt, and one for a pick that found nobody.
    pub choices: Vec<Choice>,
}

impl Entry {
    /// Candidates that its picks looked at.
    #[must_use]
    pub fn candidates(&self) -> usize {
        self.choices.iter().filter_map(|choice| choice.record.as_ref()).map(|record| record.seen.len()).sum()
    }
}

/// One choice of a backend, and what came of it.
#[derive(Debug)]
pub struct Choice {
    /// The pick; `None` where the backend's trial was due and came first.
    pub record: Option<Record>,
    /// Position of the chosen backend.
    pub member: Option<u32>,
    /// What the pick took, noting included.
    pub pick: Duration,
    /// A status code, or why there was none; `None` while the attempt had not ended when the request did.
    pub outcome: Option<String>,
    /// From the attempt's beginning to its response head or failure.
    pub took: Option<Duration>,
}

impl Choice {
    /// Makes the pick again from its record; true where the same comes out, or where there was no pick.
    #[must_use]
    pub fn holds(&self, snapshot: &Snapshot) -> bool {
        let again = |record: &Record| record.recompute(&snapshot.view) == record.picked;
        self.record.as_ref().is_none_or(again)
    }

    /// The chosen backend's name.
    #[must_use]
    pub fn backend<'a>(&self, snapshot: &'a Snapshot) -> Option<&'a str> {
        self.member.map(|at| snapshot.backends[at as usize].name.as_str())
    }
}

#[cfg(test)]
impl Entry {
    /// A request for which nothing was chosen.
    pub(super) fn sample(id: HeaderValue, snapshot: Arc<Snapshot>) -> Self {
        let algorithm = Algorithm::Adaptive;
        Entry { at: 0, id, snapshot, algorithm, code: 200, took: Duration::ZERO, choices: Vec::new() }
    }
}
