//! Other balancers' rules, written anew from their sources and descriptions; each file names the rule's origin. They are
//! given what they have in their own products: draws with replacement where those do, their own tie-breaks, tokens,
//! probes and reports.
//!
//! Two things are not even, and results must be read so. Only ours ejects servers that fail, by status too, and tries
//! them again; of the peers only nginx's pass over a server, when it cannot be reached. And peers know nothing of zones.
//! In their products active checks and zone settings would help them in scenarios that are about failures or zones; all
//! retry alike, as the world does it for them.

pub(crate) mod c3;
pub(crate) mod cswrr;
mod edf;
pub(crate) mod jiq;
pub(crate) mod least;
pub(crate) mod least_request;
pub(crate) mod least_time;
pub(crate) mod p2c_ewma;
pub(crate) mod passive;
pub(crate) mod prequal;
pub(crate) mod random;
pub(crate) mod round_robin;
#[cfg(test)]
mod stage;
