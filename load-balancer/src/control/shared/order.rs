//! Which number each member has, where balancers share them: the order of turns and the slots of keys follow from it.
//!
//! A balancer alone counts its members as they come. Several see them come in different orders, so their numbers follow
//! from what all of them hold: backends of the configuration have their places in it, discovered ones come behind them by
//! name, and those that others brought in come
//! behind, by the number that whoever did so gave them, and by name where two gave the same. Who has the same words and
//! the same configuration has the same numbers, whatever came first, whoever restarted.
//!
//! The price: a number is not for ever. It moves where the configuration names more or fewer, and where one of two of a
//! number is removed. Keys of the slot presets move with it, at all balancers alike.

use std::collections::BTreeMap;

use super::super::Control;
use super::message::Kind;

/// The largest number that is taken as claimed: more than ever came to any pool. Whoever claims more comes behind all others
/// without a gap, so that the next newcomer's number is no larger for it.
const ORDINAL_MOST: u32 = 1 << 20;

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
        let found = self.found_names().into_iter().map(str::to_owned);
        let configured: BTreeMap<String, u32> = names.chain(found).zip(1..).collect();
        let claim = |(name, word): (&str, &lb_core::roster::Word<super::Place>)| {
            let place = word.member.as_ref().filter(|place| place.kind != Kind::Configured)?;
            (!configured.contains_key(name)).then(|| (place.ordinal, name.to_owned()))
        };
        numbered(&configured, self.sharing.roster.words().filter_map(claim).collect())
    }
}

/// Those of the configuration by their places, and behind them the others by what they claim.
fn numbered(configured: &BTreeMap<String, u32>, mut claims: Vec<(u32, String)>) -> BTreeMap<String, u32> {
    claims.sort_unstable();
    let mut numbers = configured.clone();
    let mut last = numbers.len() as u32;
    for (claimed, name) in claims {
        last = if claimed <= ORDINAL_MOST { claimed.max(last + 1) } else { last + 1 };
        numbers.insert(name, last);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(claims: &[(u32, &str)]) -> Vec<(u32, String)> {
        claims.iter().map(|&(number, name)| (number, name.to_owned())).collect()
    }

    #[test]
    fn one_false_claim_leaves_room_for_those_who_come_later() {
        let configured = BTreeMap::from([("b1".to_owned(), 1)]);
        let honest = named(&[(7, "y"), (5, "x"), (5, "w")]);
        let numbers = numbered(&configured, honest.clone());
        assert_eq!((numbers["b1"], numbers["w"], numbers["x"], numbers["y"]), (1, 5, 6, 7));
        for lie in [ORDINAL_MOST, ORDINAL_MOST + 1, u32::MAX] {
            let mut claims = [honest.clone(), named(&[(lie, "liar")])].concat();
            for newcomer in ["c", "b", "a"] {
                // As whoever brings it in numbers it.
                let next = numbered(&configured, claims.clone()).values().max().unwrap() + 1;
                claims.push((next, newcomer.to_owned()));
            }
            let after = numbered(&configured, claims);
            assert_eq!((after["w"], after["x"], after["y"]), (5, 6, 7));
            let order = [after["y"], after["c"], after["b"], after["a"]];
            assert!(order.is_sorted(), "{lie}: {order:?}");
            assert!(after.values().all(|&number| number <= ORDINAL_MOST + 4), "{lie}: {after:?}");
        }
    }
}
