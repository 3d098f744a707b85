//! Recorded requests in the simulator: one balancer, servers that are described one by one, no faults.
//!
//! Nothing but the policy draws random numbers here: arrivals, work and ways are as recorded. So the same requests under
//! the same policy and seed end alike to the last bit, and two policies meet the same traffic.

use std::sync::Arc;

use anyhow::Result;
use lb_core::hash::hash64;

use super::cell::Cell;
use super::draw::Law;
use super::policies::{self, FOR_RECORDED, POLICIES};
use super::recorded::{Identity, Recorded};
use super::scenario::{Discipline, Group, Span, Telemetry, Zones};
use super::tally::{CURVE, Periods};
use super::{chart, world};

pub(crate) use super::policies::Policy;
pub(crate) use super::recorded::{Arrival, Played};
pub(crate) use super::tally::End;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;
/// How long clients wait: the balancer's `timeouts.total`.
const DEADLINE: u64 = 30 * SECOND;
/// A further attempt, as the balancer's `retry.attempts` has it.
const RETRIES: u32 = 1;

/// A server to be simulated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Server {
    /// Its name.
    pub(crate) name: String,
    /// Requests it works on at once; others wait for their turn.
    pub(crate) slots: u32,
    /// Work it does in a second of each slot, in seconds.
    pub(crate) speed: f64,
    /// Configured weight, 1 or more.
    pub(crate) weight: u32,
    /// Its region, as a number.
    pub(crate) region: u8,
}

/// The policy of this name: one of the balancer's algorithms, or a peer's as the simulator calls it. Without `signals`
/// `adaptive` learns nothing from scrapes, which is how the balancer is configured unless somebody says otherwise.
pub(crate) fn find(name: &str, signals: bool) -> Option<&'static Policy> {
    let name = match name {
        "adaptive" if !signals => "adaptive-noscrape",
        "power_of_two_choices" => "power_of_two",
        name => name,
    };
    FOR_RECORDED.iter().find(|policy| policy.name == name).or_else(|| policies::find(name))
}

/// All names that [`find`] knows.
pub(crate) fn names() -> Vec<&'static str> {
    let of = |policies: &'static [Policy]| policies.iter().map(|policy| policy.name);
    let ours = lb_core::Algorithm::ALL.map(lb_core::Algorithm::name);
    let others = of(POLICIES).filter(|name| !ours.contains(name));
    ours.into_iter().chain(others).collect()
}

/// Plays `arrivals`, which are in the order of their times, to `servers`; one result for each.
///
/// # Errors
/// If the simulator cannot be set up.
pub(crate) fn play(
    arrivals: Vec<Arrival>,
    servers: &[Server],
    policies: &[&Policy],
    seed: u64,
) -> Result<Vec<Vec<Played>>> {
    let cell = cell(arrivals, servers);
    policies.iter().map(|policy| Ok(world::run(&cell, policy, seed)?.played)).collect()
}

/// A chart of latencies (ms) by percentile, one curve for each name.
pub(crate) fn chart(title: &str, latencies: Vec<(String, Vec<f64>)>) -> String {
    let curve = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        let rank =
            |p: f64| ((p / 100.0 * values.len() as f64).ceil() as usize).clamp(1, values.len().max(1)) - 1;
        CURVE.iter().map(|&p| values.get(rank(p)).copied().unwrap_or(0.0)).collect()
    };
    let curves: Vec<chart::Curve> =
        latencies.into_iter().map(|(name, values)| chart::Curve { name, ms: curve(values) }).collect();
    chart::curves(title, &curves)
}

fn cell(arrivals: Vec<Arrival>, servers: &[Server]) -> Cell {
    let last = arrivals.last().map_or(0, |arrival| arrival.at);
    // Behind the last arrival, on a whole second, where ticks are.
    let end = (last / SECOND + 1) * SECOND;
    let mean_ms = arrivals.iter().map(|a| a.work).sum::<f64>() / arrivals.len().max(1) as f64 / 1e6;
    let group = |server: &Server| Group {
        count: 1,
        cores: server.slots,
        speed: server.speed,
        allotted: None,
        zone: u32::from(server.region),
        limit: None,
        discipline: Discipline::Fifo,
    };
    let identity =
        |server: &Server| Identity { name_hash: hash64(server.name.as_bytes()), weight: server.weight };
    let identities = servers.iter().map(identity).collect();
    Cell {
        scenario: "recorded".to_owned(),
        block: "all".to_owned(),
        rho: 1.0,
        balancers: 1,
        seconds: end as f64 / SECOND as f64,
        periods: Periods { all: [0, end], focus: None, fault: None },
        servers: servers.iter().map(group).collect(),
        service: Law::Fixed { mean_ms },
        zones: Zones::default(),
        faults: Vec::new(),
        faulty: Span::default(),
        telemetry: Telemetry::default(),
        store: None,
        newcomers: None,
        retries: RETRIES,
        recorded: Some(Arc::new(Recorded { arrivals, identities, deadline: DEADLINE })),
    }
}
