//! What a policy sees: the members of one pool, who may be picked, and the tables derived from both.
//!
//! A view is immutable; the control side builds a new one whenever membership, health or weights change. Only the
//! [`Load`]s and the [`PoolLoad`] inside are live, and they are carried from view to view.

use std::sync::Arc;

use crate::alias::Alias;
use crate::load::{Load, PoolLoad};
use crate::locality::Locality;
use crate::ring::Ring;
use crate::rng::Rng;
use crate::slots::{HashPair, Slots};
use crate::tick::Tick;
use crate::{policy::Tried, wrr};

/// Floats scanned together: four SSE or two AVX registers, and the whole sample of a large pool.
pub(crate) const SCAN_CHUNK: usize = 16;

/// One backend as a policy sees it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Hash of the backend's name: its identity on rings, equal on every balancer.
    pub name_hash: u64,
    /// The how-manieth backend this is since the pool began, from 1: the `i` of Φ(i, j).
    pub ordinal: u32,
    /// Configured weight, 1 or more.
    pub weight: u32,
    /// Share of its weight that it is given yet, above 0 and at most 1: below 1 during slow start.
    pub warmth: f32,
    /// Where it stands: an index into the pool's regions, or beyond them for nowhere in particular.
    pub region: u8,
    /// Whether it may be picked.
    pub eligible: bool,
    /// Its live numbers.
    pub load: Arc<Load>,
}

/// How `consistent_hash` maps a key to a backend.
#[derive(Clone)]
pub enum Hashing {
    /// The default ring; `bound` is c of bounded loads (1 + ε, at least 1), or `None` for a plain ring.
    Ring {
        /// No backend is given more than this times its fair share of the requests in flight.
        bound: Option<f32>,
    },
    /// A slot table with its own hash pair.
    Slots {
        /// The filled table.
        table: Arc<Slots>,
        /// Its hash functions.
        pair: Arc<dyn HashPair + Send + Sync>,
    },
}

impl std::fmt::Debug for Hashing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Hashing::Ring { bound } => f.debug_struct("Ring").field("bound", bound).finish(),
            Hashing::Slots { table, .. } => {
                f.debug_struct("Slots").field("table", table).finish_non_exhaustive()
            }
        }
    }
}

/// Numbers of [`SCAN_CHUNK`] members.
pub(crate) type Chunk = [f32; SCAN_CHUNK];

/// Weights of a chunk of eligible members; the last chunk is padded with members of no weight, whose costs are infinite.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(crate) struct Weights {
    pub(crate) weight: Chunk,
    pub(crate) inverse: Chunk,
}

impl Weights {
    fn of(weights: &[u32]) -> Self {
        let mut chunk = Weights { weight: [0.0; SCAN_CHUNK], inverse: [f32::INFINITY; SCAN_CHUNK] };
        for (at, &weight) in weights.iter().enumerate() {
            chunk.weight[at] = weight as f32;
            chunk.inverse[at] = 1.0 / weight.max(1) as f32;
        }
        chunk
    }
}

/// An immutable picture of one pool.
#[derive(Debug)]
pub struct View {
    members: Box<[Member]>,
    eligible: Box<[u32]>,
    eligible_weight: u64,
    eligible_loads: Box<[Arc<Load>]>,
    eligible_regions: Box<[u8]>,
    scan_weights: Box<[Weights]>,
    heaviest: f32,
    turns: Box<[u32]>,
    draw: Alias,
    ring: Arc<Ring>,
    hashing: Hashing,
    pool: Arc<PoolLoad>,
    locality: Option<Arc<Locality>>,
    warming: bool,
}

/// Weights are multiplied by this while a member is in slow start, so that a tenth of weight 1 is still a whole number.
const WARMING_SCALE: f32 = 10.0;

impl View {
    /// Derives the tables. `ring` must have been built over the same `members` in the same order; it depends on
    /// membership and configured weights only, so a change of health or warmth reuses it. While a member is in slow start
    /// the view's weights are the configured ones times their warmth, on a finer scale.
    #[must_use]
    pub fn new(mut members: Vec<Member>, pool: Arc<PoolLoad>, ring: Arc<Ring>, hashing: Hashing) -> Self {
        let warming = members.iter().any(|m| m.eligible && m.warmth < 1.0);
        if warming {
            for member in &mut members {
                let scaled = member.weight as f32 * member.warmth * WARMING_SCALE;
                member.weight = (scaled.round() as u32).max(1);
            }
        }
        let eligible: Box<[u32]> =
            (0..members.len() as u32).filter(|&i| members[i as usize].eligible).collect();
        let weights: Vec<u32> = eligible.iter().map(|&i| members[i as usize].weight).collect();
        let turns = wrr::turns(&weights).iter().map(|&at| eligible[at as usize]).collect();
        View {
            eligible_loads: eligible.iter().map(|&i| Arc::clone(&members[i as usize].load)).collect(),
            eligible_regions: eligible.iter().map(|&i| members[i as usize].region).collect(),
            scan_weights: weights.chunks(SCAN_CHUNK).map(Weights::of).collect(),
            heaviest: weights.iter().fold(1, |most, &weight| weight.max(most)) as f32,
            eligible_weight: weights.iter().map(|&w| u64::from(w)).sum(),
            draw: Alias::new(&weights),
            members: members.into(),
            eligible,
            turns,
            ring,
            hashing,
            pool,
            locality: None,
            warming,
        }
    }

    /// The same, with regions that count for `adaptive`.
    #[must_use]
    pub fn with_locality(self, locality: Option<Arc<Locality>>) -> Self {
        View { locality, ..self }
    }

    /// A ring over these members with `points` points per unit of weight.
    #[must_use]
    pub fn ring_of(members: &[Member], points: u32) -> Arc<Ring> {
        Arc::new(Ring::new(members.iter().map(|m| (m.name_hash, m.weight)), points))
    }

    /// Whether an eligible member is in slow start.
    #[must_use]
    pub fn warming(&self) -> bool {
        self.warming
    }

    /// The share of its weight that member `i` is given in this view, as the tables have it.
    #[must_use]
    pub fn given_weight(&self, i: usize) -> f32 {
        let scale = if self.warming { WARMING_SCALE } else { 1.0 };
        self.members.get(i).map_or(0.0, |member| member.weight as f32 / scale)
    }

    /// All members, eligible or not. Decisions are positions in this slice.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Positions of the members that may be picked, in pool order.
    #[must_use]
    pub fn eligible(&self) -> &[u32] {
        &self.eligible
    }

    /// Σ of the weights of the eligible members.
    #[must_use]
    pub fn eligible_weight(&self) -> u64 {
        self.eligible_weight
    }

    /// One period of weighted round robin, as positions of members.
    #[must_use]
    pub fn turns(&self) -> &[u32] {
        &self.turns
    }

    /// The ring over all members.
    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// How `consistent_hash` works in this pool.
    #[must_use]
    pub fn hashing(&self) -> &Hashing {
        &self.hashing
    }

    /// What the pool shares.
    #[must_use]
    pub fn pool(&self) -> &Arc<PoolLoad> {
        &self.pool
    }

    /// How much dearer the backends of other regions are, where regions count.
    #[must_use]
    pub fn locality(&self) -> Option<&Arc<Locality>> {
        self.locality.as_ref()
    }

    /// The region of the eligible member at `at`, in the order of [`View::eligible`].
    pub(crate) fn region_at(&self, at: usize) -> u8 {
        self.eligible_regions[at]
    }

    /// Whether member `i` may be picked by a request that has already tried `tried`.
    #[must_use]
    pub fn usable(&self, i: u32, tried: &Tried) -> bool {
        self.members.get(i as usize).is_some_and(|m| m.eligible) && !tried.contains(i)
    }

    /// A member at random in proportion to weight, not one of `tried`.
    pub fn draw(&self, tried: &Tried, rng: &mut Rng) -> Option<u32> {
        self.draw_at(tried, rng).map(|at| self.eligible[at as usize])
    }

    /// The same as a position in [`View::eligible`]. Redraws a few times, then scans, so that one dominant weight cannot
    /// make it loop.
    #[inline]
    pub(crate) fn draw_at(&self, tried: &Tried, rng: &mut Rng) -> Option<u32> {
        const REDRAWS: usize = 8;
        for _ in 0..REDRAWS {
            let at = self.draw.draw(rng)?;
            if tried.is_empty() || !tried.contains(self.eligible[at as usize]) {
                return Some(at);
            }
        }
        self.draw_left(tried, rng)
    }

    /// The same without redraws: one look at everybody.
    #[cold]
    fn draw_left(&self, tried: &Tried, rng: &mut Rng) -> Option<u32> {
        let left =
            || (0..self.eligible.len() as u32).filter(|&at| !tried.contains(self.eligible[at as usize]));
        let weight = |at: u32| u64::from(self.members[self.eligible[at as usize] as usize].weight);
        let total: u64 = left().map(weight).sum();
        let mut rest = ((u128::from(rng.next_u64()) * u128::from(total)) >> 64) as u64;
        left().find(|&at| match rest.checked_sub(weight(at)) {
            None => true,
            Some(less) => {
                rest = less;
                false
            }
        })
    }

    /// The position of `member` in [`View::eligible`], where it is one.
    pub(crate) fn place_of(&self, member: u32) -> Option<usize> {
        // Their own, as long as all are eligible; and they are in ascending order.
        let own = member as usize;
        if self.eligible.get(own) == Some(&member) {
            Some(own)
        } else {
            self.eligible.binary_search(&member).ok()
        }
    }

    /// Loads of the eligible members, in the order of [`View::eligible`].
    pub(crate) fn eligible_loads(&self) -> &[Arc<Load>] {
        &self.eligible_loads
    }

    /// Weights of the eligible members, in the order of [`View::eligible`].
    pub(crate) fn scan_weights(&self) -> &[Weights] {
        &self.scan_weights
    }

    /// The largest of them, at least 1.
    pub(crate) fn heaviest(&self) -> f32 {
        self.heaviest
    }

    /// Brings all loads up to date with the passing of time. One caller, every 10–20 ms.
    pub fn refresh(&self, now: Tick, scratch: &mut Vec<f32>) {
        self.pool.settle(self.members.iter().map(|m| &*m.load), scratch);
        for member in &self.members {
            member.load.refresh(now, &self.pool);
        }
        let known = self.eligible_loads.iter().map(|load| load.latency()).filter(|&latency| latency > 0.0);
        self.pool.set_best(known.reduce(f32::min).unwrap_or(0.0));
        self.pool.settle_debts(&self.members.iter().map(|m| &*m.load));
        self.pool.set_others(self.eligible_loads.iter().any(|load| load.others() > 0.0));
    }
}
