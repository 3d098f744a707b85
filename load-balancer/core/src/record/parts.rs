//! A record as plain values: what somebody else must be told to make the pick again.
//!
//! The generator's state is among them, and with it whatever is drawn from it next: not for everybody's eyes.

use std::net::IpAddr;

use super::{Record, Seen};
use crate::load::Terms;
use crate::policy::sight::Reading;
use crate::policy::{Algorithm, Decision, NoPick, Tried};
use crate::rng::Rng;

/// All that a pick is made again from, beside its view.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// What picked.
    pub algorithm: Algorithm,
    /// The client's address.
    pub client: IpAddr,
    /// The client's region.
    pub region: Option<u8>,
    /// The hash key's bytes.
    pub key: Vec<u8>,
    /// Members the request had failed on before.
    pub tried: Vec<u32>,
    /// What was read of candidates.
    pub read: Vec<Read>,
    /// Turns taken from the round robins' cursor.
    pub turns: Vec<u64>,
    /// Requests in flight to the pool, where the algorithm asked.
    pub in_flight: Option<u32>,
    /// The generator's state before the first draw.
    pub generator: u64,
    /// The member that was picked, if one was.
    pub picked: Option<u32>,
}

/// What was read of a candidate: it held `count + extra`, each unit of it `quality` dear.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Read {
    /// Position in the view's members.
    pub member: u32,
    /// Counted.
    pub count: u32,
    /// Beyond that.
    pub extra: f32,
    /// Above 0.
    pub quality: f32,
    /// The factor of its region, where regions counted.
    pub factor: Option<f32>,
}

impl From<&Record> for Parts {
    fn from(record: &Record) -> Self {
        let read = |seen: &Seen| {
            let Reading { count, extra, quality } = seen.reading;
            Read { member: seen.member, count, extra, quality, factor: seen.factor }
        };
        Parts {
            algorithm: record.algorithm,
            client: record.client,
            region: record.region,
            key: record.key.to_vec(),
            tried: record.tried.members().to_vec(),
            read: record.seen.iter().map(read).collect(),
            turns: record.turns.clone(),
            in_flight: record.in_flight,
            generator: record.before.state(),
            picked: record.picked.ok().map(|decision| decision.member),
        }
    }
}

/// A record that makes its pick again, though it cannot explain it: what prices were made of is not among the parts, nor
/// why nobody was picked.
impl From<Parts> for Record {
    fn from(parts: Parts) -> Self {
        let mut tried = Tried::default();
        parts.tried.iter().for_each(|&member| tried.insert(member));
        let seen = |read: &Read| {
            let reading = Reading { count: read.count, extra: read.extra, quality: read.quality };
            Seen { member: read.member, factor: read.factor, terms: Terms::default(), reading }
        };
        Record {
            algorithm: parts.algorithm,
            client: parts.client,
            region: parts.region,
            key: parts.key.into(),
            tried,
            seen: parts.read.iter().map(seen).collect(),
            turns: parts.turns,
            in_flight: parts.in_flight,
            picked: parts.picked.map(|member| Decision { member }).ok_or(NoPick::Empty),
            before: Rng::seeded(parts.generator),
            drawn: 0,
        }
    }
}
