//! The balancer over real sockets: every promise of its contracts, from the outside. One test binary, since each would
//! link the whole balancer; a module is a topic.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's helpers fail as tests do")]

mod access;
mod algo;
mod control_fuzz;
mod decisions;
mod drain;
mod duplex;
mod ejection;
mod explain;
mod failures;
mod framing;
mod geo;
mod geo_fuzz;
mod hashing;
mod health;
mod hop;
mod kill;
mod limits;
mod maintain;
mod members;
mod metrics;
mod pacing;
mod paths;
mod process;
mod provision;
mod provision_docker;
mod proxying;
mod refusals;
mod registering;
mod reload;
mod replays;
mod request_log;
mod retries;
mod riot;
mod series;
mod signals;
mod state;
mod statuses;
mod streaming;
mod support;
mod upgrades;
mod violence;
mod weights;
mod whole;
