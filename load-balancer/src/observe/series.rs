//! Which backends have series of their own, and which of those may still grow.
//!
//! Labels come from membership, and membership may be large or restless: beyond a budget, backends share the label
//! [`OVERFLOW`]. A backend that has left keeps its counters for a while, so that the last scrape is not its last word; then
//! its series are closed: a request that ends later finds no way to bring them back. Without the budget a pool of thousands
//! would cost the one who stores its series more than the one who balances it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_core::Tick;

/// The label `backend` of all that have no series of their own.
pub const OVERFLOW: &str = "overflow";
/// Backends with series of their own, where nothing is configured.
pub const BUDGET: usize = 200;

/// The series of one backend, or of all that are folded.
#[derive(Debug)]
pub struct Series {
    label: String,
    folded: bool,
    /// Locked by whoever makes a series or writes a gauge, so that who takes them away finds all of them.
    stands: Mutex<Stands>,
}

/// What has become of the backends of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// One is there, or more.
    Present,
    /// The last has left: its gauges are gone, its counters stay a while.
    Left,
    /// Its counters are gone, too.
    Closed,
}

impl Series {
    fn new(label: &str, folded: bool) -> Arc<Self> {
        Series::standing(label, folded, Stands::Present)
    }

    fn standing(label: &str, folded: bool, stands: Stands) -> Arc<Self> {
        Arc::new(Series { label: label.to_owned(), folded, stands: Mutex::new(stands) })
    }

    fn stands(&self) -> MutexGuard<'_, Stands> {
        self.stands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The label of its counters and histograms, which add up.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The label of its gauges, which do not add up: none where it is folded, or has left. For the control side, which is
    /// the one that lets backends leave; all others go through [`Series::write`].
    #[must_use]
    pub fn own(&self) -> Option<&str> {
        (!self.folded && *self.stands() == Stands::Present).then_some(self.label.as_str())
    }

    /// Writes gauges that do not add up, where [`Series::own`] has a label for them.
    pub fn write(&self, write: impl FnOnce(&str)) {
        let stands = self.stands();
        if !self.folded && *stands == Stands::Present {
            write(&self.label);
        }
    }

    /// Makes a counter or a histogram that was not there, unless it is too late for that.
    pub fn make<T>(&self, make: impl FnOnce(&str) -> T) -> Option<T> {
        // Held while making: whoever closes afterwards finds it and takes it away.
        let stands = self.stands();
        (*stands != Stands::Closed).then(|| make(&self.label))
    }

    /// The same of a gauge that adds up: it goes when its backend leaves.
    pub fn make_gauge<T>(&self, make: impl FnOnce(&str) -> T) -> Option<T> {
        let stands = self.stands();
        (*stands == Stands::Present).then(|| make(&self.label))
    }
}

#[derive(Debug)]
struct Known {
    series: Arc<Series>,
    /// Members of this name: one that drains and its successor may be there together. None: it has left.
    present: usize,
}

#[derive(Debug)]
struct Inner {
    budget: usize,
    overflow: Arc<Series>,
    known: HashMap<String, Known>,
    /// Who has left, by when their series go.
    gone: VecDeque<(Tick, String)>,
}

/// All backends' series. Written by the control side, read where buffers are made: a lock that nobody waits for.
#[derive(Debug)]
pub struct Ledger(Mutex<Inner>);

impl Default for Ledger {
    fn default() -> Self {
        let overflow = Series::new(OVERFLOW, true);
        let (known, gone) = (HashMap::new(), VecDeque::new());
        Ledger(Mutex::new(Inner { budget: BUDGET, overflow, known, gone }))
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many backends that join from now on may have series of their own.
    pub fn set_budget(&self, budget: usize) {
        self.lock().budget = budget;
    }

    /// A backend joins. Whoever comes back in time goes on with the series it had.
    pub fn join(&self, name: &str) -> Arc<Series> {
        let inner = &mut *self.lock();
        inner.gone.retain(|(_, gone)| gone != name);
        let own = inner.known.values().filter(|k| k.present > 0 && !k.series.folded).count();
        let known = inner.known.entry(name.to_owned()).or_insert_with(|| {
            // One that is called like the rest of them could not be told from them.
            let folded = own >= inner.budget || name == OVERFLOW;
            let series = if folded { Arc::clone(&inner.overflow) } else { Series::new(name, false) };
            Known { series, present: 0 }
        });
        known.present += 1;
        *known.series.stands() = Stands::Present;
        Arc::clone(&known.series)
    }

    /// A backend has left; its counters stay until then. True where it was the last of its name: its gauges go at once.
    pub fn leave(&self, name: &str, until: Tick) -> bool {
        let inner = &mut *self.lock();
        let Some(known) = inner.known.get_mut(name) else { return false };
        known.present = known.present.saturating_sub(1);
        if known.present > 0 {
            return false;
        }
        if known.series.folded {
            inner.known.remove(name);
            return false;
        }
        *known.series.stands() = Stands::Left;
        inner.gone.push_back((until, name.to_owned()));
        true
    }

    /// Closes the series of those that left long enough ago, at most `most` of them, and of the eldest beyond the budget:
    /// a restless pool must not have more of the dead than of the living.
    #[must_use]
    pub fn close(&self, now: Tick, most: usize) -> HashSet<String> {
        let inner = &mut *self.lock();
        let due = inner.gone.iter().take_while(|(due, _)| *due <= now).count();
        let due = due.max(inner.gone.len().saturating_sub(inner.budget)).min(most);
        let names: HashSet<String> = inner.gone.drain(..due).map(|(_, name)| name).collect();
        for name in &names {
            if let Some(known) = inner.known.remove(name) {
                *known.series.stands() = Stands::Closed;
            }
        }
        names
    }

    /// The series of a backend by name. Of one that is not known any more: closed ones.
    #[must_use]
    pub fn of(&self, name: &str) -> Arc<Series> {
        let known = self.lock().known.get(name).map(|known| Arc::clone(&known.series));
        known.unwrap_or_else(|| Series::standing(name, false, Stands::Closed))
    }

    /// Members without series of their own.
    #[must_use]
    pub fn folded(&self) -> usize {
        self.lock().known.values().filter(|known| known.series.folded).map(|known| known.present).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: Tick = Tick::from_millis(60_000);

    #[test]
    fn beyond_the_budget_backends_share_a_label() {
        let ledger = Ledger::default();
        ledger.set_budget(2);
        let labels: Vec<String> =
            ["a", "overflow", "b", "c"].map(|name| ledger.join(name).label().to_owned()).to_vec();
        assert_eq!(labels, ["a", OVERFLOW, "b", OVERFLOW]);
        assert_eq!((ledger.folded(), ledger.of("c").own(), ledger.of("b").own()), (2, None, Some("b")));
        assert!(!ledger.leave("c", LATER), "it has no gauges to take away");
        assert!(ledger.leave("a", LATER));
        assert_eq!(ledger.join("d").own(), Some("d"), "a place is free");
        assert_eq!(ledger.folded(), 1);
    }

    #[test]
    fn what_is_closed_does_not_grow_again() {
        let ledger = Ledger::default();
        let series = ledger.join("a");
        assert_eq!((series.own(), series.make_gauge(str::len)), (Some("a"), Some(1)));
        assert!(ledger.leave("a", LATER));
        assert_eq!(series.make(str::to_owned), Some("a".to_owned()), "it may still end what it began");
        assert_eq!(
            (series.own(), series.make_gauge(str::len)),
            (None, None),
            "how it is, nobody can say any more"
        );
        series.write(|_| panic!("nor write"));
        assert!(ledger.close(Tick::from_millis(59_999), 9).is_empty());
        assert_eq!(ledger.close(LATER, 9), HashSet::from(["a".to_owned()]));
        assert_eq!(series.make(str::to_owned), None);
        let late = ledger.of("a");
        assert_eq!(
            (late.label(), late.own(), late.make(str::len)),
            ("a", None, None),
            "it is not of the rest"
        );
        assert!(ledger.join("a").make(str::to_owned).is_some(), "a new one of that name begins anew");
    }

    #[test]
    fn a_successor_goes_on_with_the_series() {
        let ledger = Ledger::default();
        let old = ledger.join("a");
        let new = ledger.join("a");
        assert!(Arc::ptr_eq(&old, &new) && !ledger.leave("a", LATER), "its successor is there");
        assert!(ledger.leave("a", LATER));
        assert!(Arc::ptr_eq(&ledger.join("a"), &old), "back in time");
        assert_eq!(old.own(), Some("a"));
        assert!(ledger.close(LATER, 9).is_empty());
    }

    #[test]
    fn the_dead_are_never_more_than_the_budget() {
        let ledger = Ledger::default();
        ledger.set_budget(3);
        for n in 0..10 {
            let name = format!("b{n}");
            ledger.join(&name);
            assert!(ledger.leave(&name, LATER));
        }
        assert_eq!(ledger.close(Tick::ZERO, 100).len(), 7);
    }
}
