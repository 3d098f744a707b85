//! The rings of the assignments this project grew from: M slots, K virtual servers each, a hash pair and a probing rule.
//!
//! They are kept exactly, faults included, so that their users find their numbers again; [`crate::ring`] is the default.
//! The hash functions come from outside: core has none but its own.

use std::collections::{BTreeMap, BTreeSet};

/// What a collision does on the way into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probing {
    /// Try the next slot, then the next.
    Linear,
    /// Try 1, 4, 9, … slots on; after a full turn, linear (512 slots have no full quadratic cycle).
    Quadratic,
    /// Step by 2v+1 for virtual server v.
    OddStep,
}

/// The two hash functions of a slot ring.
pub trait HashPair {
    /// H: from a request's key to a number; the slot is its remainder.
    fn request(&self, key: &[u8]) -> u64;
    /// Φ: from a server's ordinal and virtual server to a number.
    fn server(&self, ordinal: u32, replica: u32) -> u64;
}

/// A filled slot table. Members are positions in the view it was built for.
#[derive(Debug, Clone)]
pub struct Slots {
    owner: Box<[Option<Owner>]>,
    replicas: u32,
    probing: Probing,
}

#[derive(Debug, Clone, Copy)]
struct Owner {
    member: u32,
    ordinal: u32,
}

impl Slots {
    /// Fills `slots` slots with `replicas` virtual servers of each `(member, ordinal)`, in the order given. A table
    /// that is full leaves later virtual servers out, as the originals do.
    #[must_use]
    pub fn new(
        members: impl Iterator<Item = (u32, u32)>,
        slots: u32,
        replicas: u32,
        pair: &dyn HashPair,
        probing: Probing,
    ) -> Self {
        let mut table = Slots { owner: vec![None; slots as usize].into(), replicas, probing };
        members.for_each(|(member, ordinal)| table.insert(Owner { member, ordinal }, pair));
        table
    }

    /// The table after a change of membership, as the originals change theirs: who stays keeps its slots, who left frees
    /// them, and who is new is put in last. Where virtual servers collided, that is not the table a fresh fill gives:
    /// the one displaced by a server that is gone stays where it is.
    #[must_use]
    pub fn changed(&self, members: impl Iterator<Item = (u32, u32)>, pair: &dyn HashPair) -> Self {
        let members: BTreeMap<u32, u32> = members.map(|(member, ordinal)| (ordinal, member)).collect();
        let kept = |o: &Owner| Some(Owner { member: *members.get(&o.ordinal)?, ..*o });
        let known: BTreeSet<u32> = self.owner.iter().flatten().map(|o| o.ordinal).collect();
        let mut table =
            Slots { owner: self.owner.iter().map(|o| o.as_ref().and_then(kept)).collect(), ..*self };
        for (&ordinal, &member) in members.iter().filter(|(ordinal, _)| !known.contains(ordinal)) {
            table.insert(Owner { member, ordinal }, pair);
        }
        table
    }

    fn insert(&mut self, owner: Owner, pair: &dyn HashPair) {
        let slots = self.owner.len() as u64;
        for v in 0..self.replicas {
            let home = pair.server(owner.ordinal, v) % slots.max(1);
            let free = (0..slots).map(|step| probe(home, step, v, slots, self.probing));
            let fallback = (0..slots).map(|step| (home + step) % slots);
            if let Some(at) = free.chain(fallback).find(|&at| self.owner[at as usize].is_none()) {
                self.owner[at as usize] = Some(owner);
            }
        }
    }

    /// Members in the order in which a key with this hash would try them: its slot first, then clockwise.
    pub fn walk(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let at = (hash % self.owner.len().max(1) as u64) as usize;
        let (before, after) = self.owner.split_at(at.min(self.owner.len()));
        after.iter().chain(before).flatten().map(|o| o.member)
    }
}

fn probe(home: u64, step: u64, replica: u32, slots: u64, probing: Probing) -> u64 {
    let offset = match probing {
        Probing::Linear => step,
        Probing::Quadratic => step * step,
        Probing::OddStep => step * u64::from(2 * replica + 1),
    };
    (home + offset) % slots
}

/// The assignment's pair: H(i) = i² + 2i + 17, Φ(i, j) = i² + j² + 2j + 25. Keys that are not decimal numbers are hashed
/// to one first.
#[derive(Debug, Clone, Copy)]
pub struct AssignmentPair;

impl HashPair for AssignmentPair {
    fn request(&self, key: &[u8]) -> u64 {
        let number = std::str::from_utf8(key).ok().and_then(|k| k.parse::<u64>().ok());
        let i = number.unwrap_or_else(|| crate::hash::hash64(key));
        i.wrapping_mul(i).wrapping_add(i.wrapping_mul(2)).wrapping_add(17)
    }
    fn server(&self, ordinal: u32, replica: u32) -> u64 {
        let (i, j) = (u64::from(ordinal), u64::from(replica));
        i * i + j * j + 2 * j + 25
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_assignment_hash_is_as_poor_as_reported() {
        let reached: std::collections::BTreeSet<u64> =
            (0..100_000u64).map(|i| AssignmentPair.request(i.to_string().as_bytes()) % 512).collect();
        assert_eq!(reached.len(), 87);
        let table = Slots::new([(0, 1), (1, 2)].into_iter(), 512, 9, &AssignmentPair, Probing::Quadratic);
        let to_first = (1..=10_000u32)
            .filter(|i| table.walk(AssignmentPair.request(i.to_string().as_bytes())).next() == Some(0))
            .count();
        let larger = to_first.max(10_000 - to_first);
        assert!((9_300..=9_700).contains(&larger), "about 95 % to one server: {larger}");
    }

    #[test]
    fn every_virtual_server_finds_a_slot_until_the_table_is_full() {
        for probing in [Probing::Linear, Probing::Quadratic, Probing::OddStep] {
            let table = Slots::new((0..4).map(|m| (m, m + 1)), 16, 4, &AssignmentPair, probing);
            let mut owned: Vec<u32> = table.walk(0).collect();
            owned.sort_unstable();
            assert_eq!(owned, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3], "{probing:?}");
            let full = Slots::new((0..5).map(|m| (m, m + 1)), 16, 4, &AssignmentPair, probing);
            assert_eq!(full.walk(0).count(), 16);
        }
    }
}
