//! Other balancers' rules, written anew from their sources and descriptions; each file names the rule's origin. They are
//! given what they have in their own products: draws with replacement where those do, their own tie-breaks, tokens,
//! probes and reports.

pub(crate) mod c3;
pub(crate) mod cswrr;
mod edf;
pub(crate) mod jiq;
pub(crate) mod least;
pub(crate) mod least_request;
pub(crate) mod least_time;
pub(crate) mod p2c_ewma;
pub(crate) mod prequal;
pub(crate) mod random;
pub(crate) mod round_robin;
#[cfg(test)]
mod stage;
