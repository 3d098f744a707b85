//! Which number each member has, where balancers share them: the order of turns and the slots of keys follow from it.
//!
//! A balancer alone counts its members as they come. Several see them come in different orders, so their numbers follow
//! from what all of them hold: backends of the configuration have their places in it, and those that others brought in come
//! behind, by the number that whoever did so gave them, and by name where two gave the same. Who has the same words and
//! the same configuration has the same numbers, whatever came first, whoever restarted.
//!
//! The price: a number is not for ever. It moves where the configuration names more or fewer, and where one of two of a
//! number is removed. Keys of the slot presets move with it, at all balancers alike.

use std::collections::BTreeMap;

use super::super::Control;
use super::message::Kind;

/// The largest number that is believed: far above what a pool comes to.
const ORDINAL_MOST: u32 = 1 << 30;

impl Control {
    /// Gives all members the numbers that all balancers give them.
    pub(in super::super) fn number_members(&mut self) {
        if !self.shares() {
            return;
        }
        let numbers = self.numbers();
        for entry in self.entries.iter_mut().filter(|e| e.leaving.is_none()) {
            entry.ordinal = numbers.get(entry.backend.name.as_str()).copied().unwrap_or(entry.ordinal);
        }
        let last = numbers.values().copied().max().unwrap_or(0);
        self.next_ordinal = self.next_ordinal.max(last + 1);
        // Who leaves goes behind its successor in its place.
        self.entries.sort_by_key(|e| (e.ordinal, e.leaving.is_some()));
    }

    fn numbers(&self) -> BTreeMap<String, u32> {
        let names = self.config.pool.backends.iter().map(|backend| backend.name.clone());
        let mut numbers: BTreeMap<String, u32> = names.zip(1..).collect();
        let claim = |(name, word): (&str, &lb_core::roster::Word<super::Place>)| {
            let place = word.member.as_ref().filter(|place| place.kind != Kind::Configured)?;
            let claimed = if place.ordinal <= ORDINAL_MOST { place.ordinal } else { 0 };
            (!numbers.contains_key(name)).then(|| (claimed, name.to_owned()))
        };
        let mut claims: Vec<(u32, String)> = self.sharing.roster.words().filter_map(claim).collect();
        claims.sort_unstable();
        let mut last = numbers.len() as u32;
        for (claimed, name) in claims {
            last = claimed.max(last + 1);
            numbers.insert(name, last);
        }
        numbers
    }
}
