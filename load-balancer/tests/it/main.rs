//! The balancer over real sockets: every promise of its contracts, from the outside. One test binary, since each would
//! link the whole balancer; a module is a topic.

mod framing;
mod hop;
mod proxying;
mod streaming;
mod support;
mod upgrades;
