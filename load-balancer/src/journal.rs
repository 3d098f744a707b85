//! Decision records: why single requests went where they went, kept for a while and told to whoever listens.
//!
//! A request is recorded as it goes (a [`Draft`] rides on its exchange) and told once it has ended, whatever its end. What
//! is kept is bounded in number, in size, and in how many snapshots it holds on to; who listens too slowly is told how
//! much it lost. Requests that are not recorded pay a comparison and, where some are, a random draw.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::IntCounter;
use tokio::sync::broadcast;

use crate::observe::Metrics;

mod draft;
mod entry;
mod exact;
mod tell;

pub use draft::Draft;
pub use entry::{Choice, Entry};

/// Records that a slow reader of the stream may be behind before it loses some.
const BUFFERED: usize = 256;
/// Candidates in all kept records together: each takes about 64 bytes, and a request by key in a large pool in trouble has
/// looked at every backend.
const CANDIDATES: usize = 1_000_000;
/// Snapshots that kept records may hold on to: each is as large as the pool, and pools in trouble change often.
const SNAPSHOTS: usize = 64;

/// The records of late, and a way to hear of the next ones.
#[derive(Debug)]
pub struct Journal {
    /// Locked for a push or a look-up, and only where a request is recorded.
    kept: Mutex<Kept>,
    live: broadcast::Sender<Arc<Entry>>,
    recorded: IntCounter,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Arc<Entry>>,
    /// Epochs of their snapshots, oldest first, each with how many entries it has.
    epochs: VecDeque<(u64, usize)>,
    candidates: usize,
}

impl Journal {
    /// Empty.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Arc<Self> {
        Arc::new(Journal {
            kept: Mutex::default(),
            live: broadcast::channel(BUFFERED).0,
            recorded: metrics.decision_records.with_label_values(&[&metrics.pool]),
        })
    }

    /// Keeps a record, and lets go of the oldest beyond `most`.
    pub(crate) fn keep(&self, entry: Entry, most: usize) {
        self.recorded.inc();
        let entry = Arc::new(entry);
        // Dropped after the lock is free: a snapshot may go with the last of its records.
        let _gone = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if self.live.receiver_count() > 0 {
                // Under the lock, so that who begins to listen now gets it in one way or the other.
                let _ = self.live.send(Arc::clone(&entry));
            }
            kept.push(entry, most)
        };
    }

    /// The newest record of the request `id`.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Arc<Entry>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entries.iter().rev().find(|entry| entry.id.as_bytes() == id.as_bytes()).cloned()
    }

    /// All that are kept, oldest first, and a receiver of the next ones.
    #[must_use]
    pub fn all(&self) -> (Vec<Arc<Entry>>, broadcast::Receiver<Arc<Entry>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.entries.iter().cloned().collect(), self.live.subscribe())
    }
}

impl Kept {
    /// Adds one; hands back what had to go for it.
    fn push(&mut self, entry: Arc<Entry>, most: usize) -> Vec<Arc<Entry>> {
        // Workers may be a snapshot apart for a moment, so the epoch may be one that is there already.
        match self.epochs.iter_mut().rev().find(|(epoch, _)| *epoch == entry.snapshot.epoch) {
            Some((_, count)) => *count += 1,
            None => self.epochs.push_back((entry.snapshot.epoch, 1)),
        }
        self.candidates += entry.candidates();
        self.entries.push_back(entry);
        let mut gone = Vec::new();
        while self.entries.len() > most || self.epochs.len() > SNAPSHOTS || self.candidates > CANDIDATES {
            let Some(old) = self.entries.pop_front() else { break };
            self.candidates -= old.candidates();
            if let Some(at) = self.epochs.iter().position(|(epoch, _)| *epoch == old.snapshot.epoch) {
                self.epochs[at].1 -= 1;
                if self.epochs[at].1 == 0 {
                    self.epochs.remove(at);
                }
            }
            gone.push(old);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::registry::Snapshot;

    fn entry(id: usize, epoch: u64) -> Entry {
        let config =
            Config::parse("[[pool.backend]]\naddress = \"127.0.0.1:1\"", std::iter::empty()).unwrap();
        let snapshot = Arc::new(Snapshot { epoch, ..Snapshot::empty(&Arc::new(config)) });
        Entry::sample(id.to_string().parse().unwrap(), snapshot)
    }

    #[test]
    fn keeps_the_newest_within_both_bounds() {
        let journal = Journal::new(&Metrics::new("p").unwrap());
        (0..10).for_each(|id| journal.keep(entry(id, 1), 4));
        assert!(journal.find("5").is_none() && journal.find("6").is_some());
        assert_eq!(journal.all().0.len(), 4);
        (10..10 + 2 * SNAPSHOTS).for_each(|id| journal.keep(entry(id, id as u64), 1_000));
        let (all, _) = journal.all();
        assert_eq!(all.len(), SNAPSHOTS);
        assert_eq!(all[0].snapshot.epoch, 10 + SNAPSHOTS as u64);
    }

    #[test]
    fn listeners_hear_what_is_kept() {
        let journal = Journal::new(&Metrics::new("p").unwrap());
        let (_, mut live) = journal.all();
        journal.keep(entry(7, 1), 1);
        assert_eq!(live.try_recv().unwrap().id, "7");
    }
}
