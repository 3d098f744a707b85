//! One order of turns over several balancers, without asking anybody when a turn is drawn.
//!
//! Somewhere all balancers agree on the next free block of 256 turns. Each reserves runs of blocks ahead of what it will
//! need, and maps its own block numbers onto them here: a draw is one addition and one load, by any number of threads, with
//! no lock and no waiting. A turn whose block is not mapped is drawn from a cursor of this balancer alone, and counted.
//!
//! **The bound.** Global turns that were drawn are all turns below the highest, but for the pieces that are reserved and not
//! yet drawn. Over any contiguous piece the members' shares differ by at most one, so over all balancers together
//! `max − min ≤ 1 + pieces`. A balancer at a steady rate holds two pieces at most ([`Turns::want`] asks for no third), so
//! with M balancers, the same members everywhere and nobody out of turns the difference is at most 2·M + 1. Each balancer
//! that has drawn alone adds one, each that has run dry or ended adds one for what it left undrawn.
//!
//! It fails by that: whoever runs dry goes on in an order of its own, which is even in itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A block has 2⁸ turns: small enough that one that is left undrawn costs nobody a noticeable share, large enough that a
/// second's worth of them is quickly mapped.
const BLOCK_BITS: u32 = 8;
/// Turns in a block.
pub const BLOCK: u64 = 1 << BLOCK_BITS;
/// Blocks that can be mapped ahead, in 32 KiB: a million turns.
const SLOTS: u64 = 4_096;
/// Of a slot's word, the lower bits are the global block; what is left says which of this balancer's blocks it is for.
const GLOBAL_BITS: u32 = 40;
/// Lowest lead that is kept (in blocks): 16,384 turns, so that a burst after silence finds some.
const LEAD_LEAST: u64 = 64;
/// Rounds that the lead lasts: the one that is due, one that fails, and one for a rate that has grown.
const LEAD_ROUNDS: u64 = 3;

/// This balancer's part of the common order.
#[derive(Debug)]
pub struct Turns {
    slots: Box<[AtomicU64]>,
    /// The first of this balancer's blocks that was never mapped. One writer.
    filled: AtomicU64,
    /// Turns drawn from blocks that are not mapped.
    alone: AtomicU64,
}

impl Default for Turns {
    fn default() -> Self {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Turns { slots, filled: AtomicU64::new(0), alone: AtomicU64::new(0) }
    }
}

impl Turns {
    /// The turn of all balancers that this balancer's turn `own` is, or the next of its own where none was reserved.
    pub fn resolve(&self, own: u64) -> u64 {
        let block = own >> BLOCK_BITS;
        let word = self.slots[(block % SLOTS) as usize].load(Relaxed);
        if word >> GLOBAL_BITS == tag(block) {
            (word << (64 - GLOBAL_BITS) >> (64 - GLOBAL_BITS) << BLOCK_BITS) | (own & (BLOCK - 1))
        } else {
            self.alone.fetch_add(1, Relaxed)
        }
    }

    /// Turns that were drawn without the others.
    #[must_use]
    pub fn alone(&self) -> u64 {
        self.alone.load(Relaxed)
    }

    /// Whole blocks that are mapped beyond the one that turn `own`, the next to be drawn, is in.
    #[must_use]
    pub fn lead(&self, own: u64) -> u64 {
        self.filled.load(Relaxed).saturating_sub(begun(own))
    }

    /// How many blocks to reserve, where `own` is the next turn to be drawn and `demand` turns are drawn between two
    /// rounds: none while there are enough, else as many as make it twice enough. So a run is longer than what is left of
    /// the one before when it is asked for, and no third is begun.
    #[must_use]
    pub fn want(&self, own: u64, demand: u64) -> u64 {
        let enough = (demand.div_ceil(BLOCK).saturating_mul(LEAD_ROUNDS)).clamp(LEAD_LEAST, SLOTS / 2);
        let lead = self.lead(own);
        if lead < enough { 2 * enough - lead } else { 0 }
    }

    /// Maps `n` reserved blocks from the global block `first` on behind those that are mapped, or, where these are used up,
    /// behind the block that is being drawn from. `own` is the next turn to be drawn. One caller only.
    pub fn fill(&self, own: u64, first: u64, n: u64) {
        let from = self.filled.load(Relaxed).max(begun(own));
        let n = n.min(SLOTS - (from - begun(own)));
        for (block, global) in (from..from + n).zip(first..) {
            let word = tag(block) << GLOBAL_BITS | global & ((1 << GLOBAL_BITS) - 1);
            self.slots[(block % SLOTS) as usize].store(word, Relaxed);
        }
        self.filled.store(from + n, Relaxed);
    }
}

/// The first block that no turn below `own` is in.
const fn begun(own: u64) -> u64 {
    own.div_ceil(BLOCK)
}

/// Which lap around the slots a block belongs to; never 0, which is an empty slot.
const fn tag(block: u64) -> u64 {
    block / SLOTS % ((1 << (64 - GLOBAL_BITS)) - 1) + 1
}

#[cfg(test)]
mod tests;
