//! A record as JSON for a machine: every number that its pick read, whole, so that somebody else can make it again with
//! the same code; and the view that it was made over.
//!
//! The generator's state and the hash key are among them. They tell what will be drawn next and who a client is, so they
//! are for those who may change the pool.

use lb_core::Record;
use lb_core::record::{Parts, Read};
use lb_core::view::Hashing;
use serde_json::{Value, json};

use crate::registry::Snapshot;

/// A pick's record.
pub(super) fn record(record: &Record) -> Value {
    let parts = Parts::from(record);
    let read = |read: &Read| {
        json!({
            "member": read.member,
            "count": read.count,
            "extra": read.extra,
            "quality": read.quality,
            "factor": read.factor,
        })
    };
    json!({
        "algorithm": parts.algorithm.name(),
        "client": parts.client.to_string(),
        "region": parts.region,
        "key": parts.key,
        "tried": parts.tried,
        "read": parts.read.iter().map(read).collect::<Vec<Value>>(),
        "turns": parts.turns,
        "in_flight": parts.in_flight,
        // Text, because many readers of JSON keep 53 bits.
        "generator": parts.generator.to_string(),
        "picked": parts.picked,
    })
}

impl Snapshot {
    /// The view that picks were made over. Slot tables of the hash presets are not told: `bound` is missing then, and
    /// `slots` is true.
    #[must_use]
    pub fn exact(&self) -> Value {
        let members = self.view.members().iter().zip(&self.backends).map(|(member, backend)| {
            json!({
                "name": backend.name,
                "ordinal": member.ordinal,
                "weight": backend.weight,
                "warmth": member.warmth,
                "region": member.region,
                "eligible": member.eligible,
            })
        });
        let (slots, bound) = match self.view.hashing() {
            Hashing::Ring { bound } => (false, *bound),
            Hashing::Slots { .. } => (true, None),
        };
        json!({
            "epoch": self.epoch,
            "members": members.collect::<Vec<Value>>(),
            "points": self.config.hash.points,
            "bound": bound,
            "slots": slots,
            "regions": self.view.locality().map(|locality| locality.regions()),
        })
    }
}
