//! The balancer over real sockets: every promise of its contracts, from the outside. One test binary, since each would
//! link the whole balancer; a module is a topic.

mod algo;
mod drain;
mod failures;
mod framing;
mod hashing;
mod health;
mod hop;
mod kill;
mod limits;
mod metrics;
mod process;
mod proxying;
mod refusals;
mod retries;
mod streaming;
mod support;
mod upgrades;
mod violence;
