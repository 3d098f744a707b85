//! Why a request went where it went: everything that its pick looked at, as plain data.
//!
//! The record of a pick and the view it was made over are enough to make it again: [`Record::recompute`] runs the policy
//! itself over the noted numbers. Records are made for some requests only, since noting allocates and picking never does.

mod parts;

pub use parts::{Parts, Read};

use std::collections::HashMap;
use std::net::IpAddr;

use crate::load::Terms;
use crate::policy::sight::{Noting, Reading, Replaying};
use crate::policy::{Algorithm, Decision, NoPick, Pick, Tried};
use crate::rng::Rng;
use crate::tick::Tick;
use crate::view::View;

/// One pick and its reasons.
#[derive(Debug, Clone)]
pub struct Record {
    /// What picked.
    pub algorithm: Algorithm,
    /// The client's address, after the trusted-proxy rules.
    pub client: IpAddr,
    /// The client's region.
    pub region: Option<u8>,
    /// The hash key's bytes.
    pub key: Box<[u8]>,
    /// Members the request had failed on before.
    pub tried: Tried,
    /// Candidates, in the order in which they were first looked at, each once.
    pub seen: Vec<Seen>,
    /// Turns taken from the round robins' cursor.
    pub turns: Vec<u64>,
    /// Requests in flight to the pool, where the algorithm asked.
    pub in_flight: Option<u32>,
    /// What came of it.
    pub picked: Result<Decision, NoPick>,
    /// The generator before the first draw.
    before: Rng,
    drawn: u64,
}

/// One candidate, as the pick saw it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// Position in [`View::members`].
    pub member: u32,
    /// The factor of its region for this client, where regions counted.
    pub factor: Option<f32>,
    /// What its price is made of.
    pub terms: Terms,
    pub(crate) reading: Reading,
}

impl Seen {
    /// How much it held, in what the algorithm counts: requests, or microseconds for `min_eta`.
    #[must_use]
    pub fn held(&self) -> f32 {
        self.reading.held()
    }

    /// How dear each unit of that was, beside weight and region.
    #[must_use]
    pub fn price(&self) -> f32 {
        self.reading.quality
    }

    /// What one more request would have cost here, for a candidate of `weight` under `algorithm`; the least is best.
    #[must_use]
    pub fn cost(&self, algorithm: Algorithm, weight: u32) -> f32 {
        let more = match algorithm {
            Algorithm::Adaptive | Algorithm::LeastResponseTime => 1.0,
            _ => 0.0,
        };
        (self.held() + more) * self.price() * self.factor.unwrap_or(1.0) / weight.max(1) as f32
    }
}

impl Record {
    /// Picks as [`Policy::pick`](crate::Policy::pick) does at `now`, and notes why.
    #[must_use]
    pub fn of(algorithm: Algorithm, view: &View, pick: &mut Pick<'_>, now: Tick) -> Record {
        let mut record = Record {
            algorithm,
            client: pick.client,
            region: pick.region,
            key: pick.key.into(),
            tried: *pick.tried,
            seen: Vec::new(),
            turns: Vec::new(),
            in_flight: None,
            picked: Err(NoPick::Empty),
            before: pick.rng.clone(),
            drawn: 0,
        };
        let mut sight = Noting { now, pool: view.pool(), record: &mut record, index: HashMap::new() };
        let picked = algorithm.pick_by(view, pick, &mut sight);
        record.picked = picked;
        record.drawn = pick.rng.draws_since(&record.before);
        record
    }

    /// The pick made again from what was noted. `view` is the one it was made over, or one with the same members.
    ///
    /// # Errors
    /// As the pick itself.
    pub fn recompute(&self, view: &View) -> Result<Decision, NoPick> {
        let mut rng = self.before.clone();
        let mut pick = Pick {
            client: self.client,
            region: self.region,
            key: &self.key,
            tried: &self.tried,
            rng: &mut rng,
        };
        self.algorithm.pick_by(view, &mut pick, &mut Replaying::new(self))
    }

    /// The random numbers that were drawn, each uniform over 64 bits.
    pub fn draws(&self) -> impl Iterator<Item = u64> + '_ {
        let mut rng = self.before.clone();
        (0..self.drawn).map(move |_| rng.next_u64())
    }
}
