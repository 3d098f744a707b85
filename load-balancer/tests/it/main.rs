//! The balancer over real sockets: every promise of its contracts, from the outside. One test binary, since each would
//! link the whole balancer; a module is a topic.

mod algo;
mod failures;
mod framing;
mod hashing;
mod hop;
mod proxying;
mod refusals;
mod streaming;
mod support;
mod upgrades;
