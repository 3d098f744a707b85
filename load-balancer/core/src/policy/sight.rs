//! What a pick reads of the live world, through one narrow place: so that it can be noted, and read again from the note.
//!
//! A pick is a function of the view, the request, its random numbers and what it reads here. [`Live`] reads and costs
//! nothing; [`Noting`] reads and notes; [`Replaying`] reads the note. All three run the same policies, so a record that
//! replays to the same backend proves that it holds every reason.

use std::collections::HashMap;

use crate::load::{Load, PoolLoad};
use crate::locality::Row;
use crate::record::{Record, Seen};
use crate::tick::Tick;

/// What is read of one candidate: `count + extra` is how much it holds, `quality` (above 0) how dear each unit of it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reading {
    pub(crate) count: u32,
    pub(crate) extra: f32,
    pub(crate) quality: f32,
}

impl Reading {
    /// Of one that is no candidate, whichever of the three a policy looks at.
    pub(super) const NOTHING: Self =
        Reading { count: i32::MAX as u32, extra: f32::INFINITY, quality: f32::INFINITY };

    /// Requests in flight alone.
    pub(crate) fn of_count(load: &Load) -> Self {
        Reading { count: load.in_flight(), extra: 0.0, quality: 1.0 }
    }

    /// What counting policies look at: requests in flight, and failures as if they were.
    pub(crate) fn of_pressure(load: &Load) -> Self {
        Reading { extra: load.failure_debt(), ..Self::of_count(load) }
    }

    /// How much the candidate holds.
    pub(crate) fn held(&self) -> f32 {
        // Signed, because that conversion is one instruction.
        self.count as i32 as f32 + self.extra
    }
}

/// Where live numbers come from.
pub(crate) trait Sight {
    /// What `read` finds of `member`'s load.
    fn reading(&mut self, member: u32, load: &Load, read: impl FnOnce(&Load) -> Reading) -> Reading;
    /// The factor of `region`, that of `member`, which was read before.
    fn factor(&mut self, member: u32, row: &Row<'_>, region: u8) -> f32;
    /// The next turn of the round robins.
    fn turn(&mut self, pool: &PoolLoad) -> u64;
    /// Requests in flight to the whole pool.
    fn in_flight(&mut self, pool: &PoolLoad) -> u32;
}

/// The world as it is.
pub(crate) struct Live;

impl Sight for Live {
    #[inline]
    fn reading(&mut self, _: u32, load: &Load, read: impl FnOnce(&Load) -> Reading) -> Reading {
        read(load)
    }
    #[inline]
    fn factor(&mut self, _: u32, row: &Row<'_>, region: u8) -> f32 {
        row.factor(region)
    }
    #[inline]
    fn turn(&mut self, pool: &PoolLoad) -> u64 {
        pool.next_turn()
    }
    #[inline]
    fn in_flight(&mut self, pool: &PoolLoad) -> u32 {
        pool.in_flight()
    }
}

/// The world as it is, noted.
pub(crate) struct Noting<'a> {
    pub(crate) now: Tick,
    pub(crate) pool: &'a PoolLoad,
    pub(crate) record: &'a mut Record,
    /// Where each member's note is: one that is looked at again is what it was, so a note has each once.
    pub(crate) index: HashMap<u32, usize>,
}

impl Sight for Noting<'_> {
    fn reading(&mut self, member: u32, load: &Load, read: impl FnOnce(&Load) -> Reading) -> Reading {
        let seen = &mut self.record.seen;
        let at = *self.index.entry(member).or_insert_with(|| {
            let terms = load.terms(self.now, self.pool);
            seen.push(Seen { member, reading: read(load), factor: None, terms });
            seen.len() - 1
        });
        seen[at].reading
    }
    fn factor(&mut self, member: u32, row: &Row<'_>, region: u8) -> f32 {
        let noted = self.index.get(&member).and_then(|&at| self.record.seen.get_mut(at));
        noted.map_or(1.0, |seen| *seen.factor.get_or_insert_with(|| row.factor(region)))
    }
    fn turn(&mut self, pool: &PoolLoad) -> u64 {
        let turn = pool.next_turn();
        self.record.turns.push(turn);
        turn
    }
    fn in_flight(&mut self, pool: &PoolLoad) -> u32 {
        let n = pool.in_flight();
        self.record.in_flight = Some(n);
        n
    }
}

/// The world as it was. What a note lacks reads as nothing, so that a wrong record gives a wrong answer, not a panic.
pub(crate) struct Replaying<'a> {
    record: &'a Record,
    index: HashMap<u32, &'a Seen>,
    turns: usize,
}

impl<'a> Replaying<'a> {
    /// From the note's beginning.
    pub(crate) fn new(record: &'a Record) -> Self {
        let index = record.seen.iter().map(|seen| (seen.member, seen)).collect();
        Replaying { record, index, turns: 0 }
    }
}

impl Sight for Replaying<'_> {
    fn reading(&mut self, member: u32, _: &Load, _: impl FnOnce(&Load) -> Reading) -> Reading {
        self.index.get(&member).map_or(Reading::NOTHING, |seen| seen.reading)
    }
    fn factor(&mut self, member: u32, _: &Row<'_>, _: u8) -> f32 {
        self.index.get(&member).and_then(|seen| seen.factor).unwrap_or(1.0)
    }
    fn turn(&mut self, _: &PoolLoad) -> u64 {
        self.turns += 1;
        self.record.turns.get(self.turns - 1).copied().unwrap_or_default()
    }
    fn in_flight(&mut self, _: &PoolLoad) -> u32 {
        self.record.in_flight.unwrap_or_default()
    }
}
