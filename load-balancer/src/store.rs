//! Where several balancers meet: each leaves a message for the others, reads theirs and reserves turns, once a second.
//!
//! One round is all there is to a store ([`StateStore::round`]): it writes, reads and reserves at once, so nothing is half
//! told. The store knows nothing of what messages say. Two there are: [`Memory`], for balancers of one process, and
//! [`Redis`]. Nothing here is ever on a request's way; one task ([`exchange`]) waits for a store, and nobody for that task.
//!
//! It fails by [`Lost`]: whoever gets that goes on alone and tries again.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

pub mod exchange;
mod keys;
mod memory;
mod redis;

pub use memory::{Memory, Room};
pub use redis::Redis;

/// How long the store remembers a balancer that says nothing.
pub const TTL: Duration = Duration::from_secs(10);
/// The longest message that is taken from others: far above what a thousand backends come to.
pub const MESSAGE_MOST: usize = 4 << 20;

/// What a balancer brings to a round.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offer {
    /// What the others are to know, until the next round or [`TTL`].
    pub message: Vec<u8>,
    /// Blocks of turns to reserve.
    pub blocks: u64,
}

/// What it takes from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Taken {
    /// The first of the blocks reserved.
    pub first: u64,
    /// What the others have said last, by name.
    pub others: Vec<Said>,
    /// What stood under this balancer's own name before the round.
    pub before: Option<Vec<u8>>,
}

/// Another balancer's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Whose.
    pub by: String,
    /// How long ago, by the store's own clock.
    pub ago: Duration,
    /// What.
    pub message: Vec<u8>,
}

/// Why a round came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// There is no connection, or it broke.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("it did not answer within {0:?}")]
    Timeout(Duration),
    /// It answered that it will not: it is full, read-only, or wants another password.
    #[error("it refuses: {0}")]
    Refused(String),
    /// Its answer makes no sense.
    #[error("its answer makes no sense: {0}")]
    Unreadable(String),
}

/// Every value of the metric label `result`.
pub const RESULTS: [&str; 5] = ["ok", "unreachable", "timeout", "refused", "unreadable"];

impl Lost {
    /// Its name in metrics.
    #[must_use]
    pub const fn result(&self) -> &'static str {
        match self {
            Lost::Unreachable(_) => RESULTS[1],
            Lost::Timeout(_) => RESULTS[2],
            Lost::Refused(_) => RESULTS[3],
            Lost::Unreadable(_) => RESULTS[4],
        }
    }
}

/// Where balancers of one pool meet.
pub trait StateStore {
    /// Leaves `offer`, and takes what the others left. Dropped halfway, it may have left the offer or not.
    fn round<'a>(&'a mut self, offer: &'a Offer) -> LocalBoxFuture<'a, Result<Taken, Lost>>;

    /// Says farewell, so that the others need not wait for [`TTL`].
    fn leave(&mut self) -> LocalBoxFuture<'_, Result<(), Lost>>;
}
