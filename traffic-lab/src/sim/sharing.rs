//! The shared store of the simulator: what balancers tell each other once a second, as the product does
//! (`load-balancer/src/control/shared.rs`): capacities, warmth, votes, and what two of them scraped of each server.
//!
//! A round takes no time here. The turn of the round robins and membership are not simulated: the first says nothing about
//! latency, the second comes by announcement.

use std::rc::Rc;
use std::time::Duration;

use lb_core::Tick;

use super::balancer::Report;
use super::scenario::Store;

/// What a round's pause is varied by: the product's.
const JITTER: f64 = 0.15;

/// What one balancer tells of one server. Durations are as of the moment it was told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct About {
    /// It has ejected it by its own traffic, for so much longer.
    pub(crate) ejected: Option<Duration>,
    /// It has been warming up for so long.
    pub(crate) warming: Option<Duration>,
    /// Good answers a second at full use, and measurements of it.
    pub(crate) rate: Option<(f64, u32)>,
    /// What its last scrape brought, and how many have brought something.
    pub(crate) report: Option<(u64, Report)>,
}

/// What a balancer said last.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// Which balancer.
    pub(crate) by: u32,
    /// When.
    pub(crate) at: Tick,
    /// Of each server.
    pub(crate) about: Rc<[About]>,
}

/// The pause until the next round (ns), from a number drawn from 0 to 1.
pub(crate) fn pause(store: &Store, drawn: f64) -> u64 {
    (store.interval_ms * 1e6 * (1.0 - JITTER + 2.0 * JITTER * drawn)) as u64
}
