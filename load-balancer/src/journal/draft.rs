//! The record of a request that is still on its way.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use lb_core::{Algorithm, Decision, NoPick, Pick, Record, Tick};

use super::{Choice, Entry, Journal};
use crate::clock::{self, Clock};
use crate::registry::Snapshot;

/// Longest hash key that is kept with a record, in bytes: longer ones come from hostile clients, and a thousand of them
/// would be megabytes.
const LONGEST_KEY: usize = 1 << 10;

/// What is known of a request's way so far.
#[derive(Debug)]
pub struct Draft {
    snapshot: Arc<Snapshot>,
    algorithm: Algorithm,
    id: HeaderValue,
    choices: Vec<Choice>,
}

impl Draft {
    /// Begins the record of a request with the hash key `key`; `None` where that is too long to keep.
    #[must_use]
    pub fn begin(
        snapshot: &Arc<Snapshot>,
        algorithm: Algorithm,
        id: &HeaderValue,
        key: &[u8],
    ) -> Option<Box<Self>> {
        let draft = || Draft {
            snapshot: Arc::clone(snapshot),
            algorithm,
            id: id.clone(),
            choices: Vec::with_capacity(1),
        };
        (key.len() <= LONGEST_KEY).then(|| Box::new(draft()))
    }

    /// Picks and notes why.
    ///
    /// # Errors
    /// As the pick itself.
    pub fn pick(&mut self, pick: &mut Pick<'_>, clock: &Clock) -> Result<Decision, NoPick> {
        let began = clock.now();
        let record = Record::of(self.algorithm, &self.snapshot.view, pick, began);
        let took = clock.now().since(began);
        let picked = record.picked;
        self.note(Some(record), picked.ok().map(|decision| decision.member), took);
        picked
    }

    /// The last choice was none: whoever it was is full.
    pub fn forgo(&mut self) {
        self.choices.pop();
    }

    /// Notes that the request was given a backend's trial.
    pub fn trial(&mut self, member: u32) {
        self.note(None, Some(member), Duration::ZERO);
    }

    fn note(&mut self, record: Option<Record>, member: Option<u32>, pick: Duration) {
        self.choices.push(Choice { record, member, pick, outcome: None, took: None });
    }

    /// What decided about the last choice, in a sentence.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        self.choices.last().map(|choice| choice.why(&self.snapshot))
    }

    /// Notes what came of the last choice, which was made at `since`.
    pub fn ended(&mut self, outcome: String, since: Tick, now: Tick) {
        if let Some(choice) = self.choices.last_mut() {
            (choice.outcome, choice.took) = (Some(outcome), Some(now.since(since)));
        }
    }

    /// The request has ended: what is known becomes its record.
    pub fn finish(self, journal: &Journal, code: u16, took: Duration) {
        let Draft { snapshot, algorithm, id, choices } = self;
        let most = snapshot.config.decisions.keep;
        let at = clock::unix_millis();
        journal.keep(Entry { at, id, snapshot, algorithm, code, took, choices }, most);
    }
}
