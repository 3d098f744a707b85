//! The deciding half of Ballast: which backend gets the next request, and why.
//!
//! Pure by rule: only `std`, no I/O, no clock, no global, no lock, no logging, and no allocation in a pick. Time
//! ([`Tick`]), randomness ([`Rng`]) and the request's key are arguments, so the proxy, the tests, the simulator and the
//! benches all run this very code and a decision can be replayed from its inputs.
//!
//! Reading order: [`view`] (what a policy sees) → [`policy`] (how it picks) → [`load`] (what it learns) → the tables
//! a view carries ([`alias`], [`wrr`], [`ring`], [`slots`]) → who may be picked at all ([`health`], [`breaker`], [`outlier`],
//! [`cap`]) and with how much of its weight ([`warmth`]) → who is there ([`membership`], [`scale`]) → what several balancers
//! agree on ([`turns`], [`roster`], [`votes`], [`rendezvous`]) → how much is let in ([`rate`]) → [`fact`] (what is told of all that).

pub mod alias;
pub mod backoff;
pub mod breaker;
pub mod cap;
pub mod capacity;
pub mod estimate;
pub mod fact;
pub mod hash;
pub mod health;
#[cfg(test)]
mod interleavings;
pub mod load;
pub mod locality;
pub mod membership;
pub mod outlier;
pub mod policy;
pub mod rate;
pub mod record;
pub mod rendezvous;
pub mod retry;
pub mod ring;
pub mod rng;
pub mod roster;
pub mod scale;
pub mod signal;
pub mod slots;
pub mod tick;
pub mod trial;
pub mod turns;
pub mod view;
pub mod votes;
pub mod warmth;
mod word;
pub mod wrr;

pub use load::{Cause, Load, Outcome, PoolLoad, Tallies, Ticket};
pub use locality::Locality;
pub use policy::{Algorithm, Decision, NoPick, Pick, Policy, Tried};
pub use record::Record;
pub use rng::Rng;
pub use tick::Tick;
pub use view::{Member, View};
