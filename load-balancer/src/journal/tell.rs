//! A record as JSON: for people first, so every term has a name and a unit, and a sentence says what decided.

use lb_core::record::Seen;
use lb_core::{Algorithm, Record};
use serde_json::{Map, Value, json};

use super::{Choice, Entry, exact};
use crate::registry::Snapshot;

impl Entry {
    /// As one JSON object.
    #[must_use]
    pub fn json(&self) -> Value {
        self.told(Choice::json)
    }

    /// The same with each pick's exact record, which can be made again over [`Snapshot::exact`].
    #[must_use]
    pub fn exact(&self) -> Value {
        self.told(|choice, snapshot| {
            let mut told = choice.json(snapshot);
            told["record"] = choice.record.as_ref().map(exact::record).into();
            told
        })
    }

    fn told(&self, choice: impl Fn(&Choice, &Snapshot) -> Value) -> Value {
        let choices: Vec<Value> = self.choices.iter().map(|each| choice(each, &self.snapshot)).collect();
        json!({
            "request_id": self.id.to_str().unwrap_or_default(),
            "at": self.at,
            "algorithm": self.algorithm.name(),
            "epoch": self.snapshot.epoch,
            "backend": self.choices.last().and_then(|choice| choice.backend(&self.snapshot)),
            "code": self.code,
            "seconds": self.took.as_secs_f64(),
            "attempts": choices,
        })
    }
}

impl Choice {
    fn json(&self, snapshot: &Snapshot) -> Value {
        let mut told = Map::new();
        told.insert("backend".into(), self.backend(snapshot).into());
        told.insert("why".into(), self.why(snapshot).into());
        told.insert("outcome".into(), self.outcome.as_deref().into());
        told.insert("seconds".into(), self.took.map(|took| took.as_secs_f64()).into());
        told.insert("pick_seconds".into(), self.pick.as_secs_f64().into());
        let Some(record) = &self.record else { return Value::Object(told) };
        let candidates: Vec<Value> =
            record.seen.iter().map(|seen| candidate(seen, record.algorithm, snapshot)).collect();
        told.insert("candidates".into(), candidates.into());
        told.insert("excluded".into(), excluded(record, snapshot));
        // A few digits, as parts of 1: whole ones would give the generator away, and with it request ids to come.
        let draws: Vec<f64> = record.draws().map(|draw| (draw >> 51) as f64 / 8192.0).collect();
        told.insert("draws".into(), draws.into());
        told.insert("turns".into(), record.turns.clone().into());
        told.insert("pool_in_flight".into(), record.in_flight.into());
        told.insert("client".into(), record.client.to_string().into());
        told.insert("recomputed".into(), self.holds(snapshot).into());
        Value::Object(told)
    }

    /// What decided, in a sentence.
    pub(super) fn why(&self, snapshot: &Snapshot) -> String {
        let Some(record) = &self.record else {
            return "its trial after an ejection was due, and this request could be repeated elsewhere"
                .into();
        };
        let Some(member) = self.member else {
            return record.picked.err().map(|why| why.to_string()).unwrap_or_default();
        };
        match record.algorithm {
            Algorithm::RoundRobin | Algorithm::WeightedRoundRobin => "it was its turn".into(),
            Algorithm::Random => "drawn by weight".into(),
            Algorithm::IpHash => "the first eligible one on the ring from the client's address".into(),
            Algorithm::ConsistentHash => match record.seen.last() {
                None => "the first eligible one from the key".into(),
                Some(last) if last.member != member => {
                    format!("the first from the key: none of the {} looked at had room", record.seen.len())
                }
                Some(_) => match record.seen.len() - 1 {
                    0 => "the first eligible one on the ring from the key".into(),
                    full => {
                        format!("the first with room on the ring from the key; {full} before it were full")
                    }
                },
            },
            Algorithm::PowerOfTwo => "it held less for its weight than the other of two draws".into(),
            _ => cheapest(record, member, snapshot),
        }
    }
}

/// Why a scanning policy took `member`.
fn cheapest(record: &Record, member: u32, snapshot: &Snapshot) -> String {
    let cost = |seen: &Seen| seen.cost(record.algorithm, weight(snapshot, seen.member));
    let Some(own) = record.seen.iter().find(|seen| seen.member == member).map(cost) else {
        return String::new();
    };
    let others =
        record.seen.iter().filter(|seen| seen.member != member && !record.tried.contains(seen.member));
    let next = others.clone().map(cost).fold(f32::INFINITY, f32::min);
    if own < next {
        format!("it cost least: {own:.3}, the next {next:.3}")
    } else if own == next {
        format!("drawn by weight among those that cost least: {own:.3}")
    } else {
        // Only where the idle share.
        format!("drawn among the idle ones by weight and quality: its cost {own:.3}, the least {next:.3}")
    }
}

fn candidate(seen: &Seen, algorithm: Algorithm, snapshot: &Snapshot) -> Value {
    let (backend, terms) = (&snapshot.backends[seen.member as usize], &seen.terms);
    let member = &snapshot.view.members()[seen.member as usize];
    json!({
        "backend": backend.name,
        "region": backend.region,
        "weight": backend.weight,
        "warmth": member.warmth,
        "weight_in_cost": member.weight,
        "in_flight": terms.in_flight,
        "others_in_flight": terms.others,
        "others_age_seconds": terms.others_age,
        "failure_debt": terms.debt,
        "latency_seconds": f64::from(terms.latency) / 1e6,
        "latency_age_seconds": terms.latency_age,
        "latency_ratio": terms.anomaly,
        "error_factor": terms.errors,
        "capacity": terms.capacity,
        "region_factor": seen.factor.unwrap_or(1.0),
        "held": seen.held(),
        "price": seen.price(),
        "cost": seen.cost(algorithm, member.weight),
    })
}

/// Who could not be picked, and why.
fn excluded(record: &Record, snapshot: &Snapshot) -> Value {
    let members = snapshot.view.members().iter().zip(&snapshot.backends).zip(&snapshot.states);
    let reason = |at: usize, eligible: bool, state: &'static str| {
        let tried = record.tried.contains(at as u32);
        if tried { Some("tried before") } else { Some(state).filter(|_| !eligible) }
    };
    let excluded = members.enumerate().filter_map(|(at, ((member, backend), &state))| {
        let reason = reason(at, member.eligible, state)?;
        Some(json!({ "backend": backend.name, "reason": reason }))
    });
    excluded.collect::<Vec<Value>>().into()
}

fn weight(snapshot: &Snapshot, member: u32) -> u32 {
    snapshot.view.members()[member as usize].weight
}
