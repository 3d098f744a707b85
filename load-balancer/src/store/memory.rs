//! A store in memory: for balancers of one process, and the model that the other store is held against.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use lb_core::Tick;

use super::{Lost, Offer, Said, StateStore, TTL, Taken};
use crate::clock::Clock;

/// Where the balancers that share it meet.
#[derive(Debug, Default)]
pub struct Room {
    clock: Clock,
    // Held for a few microseconds, once a second for each balancer, and never on a request's way.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    said: BTreeMap<String, (Tick, Vec<u8>)>,
    turns: u64,
}

/// One balancer's way into a room.
#[derive(Debug)]
pub struct Memory {
    room: Arc<Room>,
    own: String,
}

impl Memory {
    /// For the balancer called `own`.
    #[must_use]
    pub fn new(room: &Arc<Room>, own: &str) -> Self {
        Memory { room: Arc::clone(room), own: own.to_owned() }
    }

    fn meet(&self, offer: &Offer) -> Taken {
        let now = self.room.clock.now();
        let mut kept = self.room.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.said.retain(|_, (at, _)| now.since(*at) < TTL);
        let before = kept.said.insert(self.own.clone(), (now, offer.message.clone()));
        let first = kept.turns;
        kept.turns += offer.blocks;
        let others = kept.said.iter().filter(|(by, _)| **by != self.own);
        let ago = |at: Tick| Duration::from_millis(now.since(at).as_millis() as u64);
        let said = |(by, (at, message)): (&String, &(Tick, Vec<u8>))| Said {
            by: by.clone(),
            ago: ago(*at),
            message: message.clone(),
        };
        Taken {
            first: if offer.blocks > 0 { first } else { 0 },
            others: others.map(said).collect(),
            before: before.map(|(_, message)| message),
        }
    }
}

impl StateStore for Memory {
    fn round<'a>(&'a mut self, offer: &'a Offer) -> LocalBoxFuture<'a, Result<Taken, Lost>> {
        Box::pin(async { Ok(self.meet(offer)) })
    }

    fn leave(&mut self) -> LocalBoxFuture<'_, Result<(), Lost>> {
        let mut kept = self.room.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.said.remove(&self.own);
        drop(kept);
        Box::pin(async { Ok(()) })
    }
}
