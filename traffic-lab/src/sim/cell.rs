//! One cell: a scenario with every choice made but the policy and the seed.

use std::sync::Arc;

use super::draw::Law;
use super::faults::Fault;
use super::recorded::Recorded;
use super::scenario::{Block, Group, Newcomers, Scenario, Span, Store, Telemetry, Zones};
use super::tally::{DEADLINE_US, Periods};

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;

/// What a run simulates.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    /// The scenario's name.
    pub(crate) scenario: String,
    /// The block's name.
    pub(crate) block: String,
    /// Offered work over capacity.
    pub(crate) rho: f64,
    /// How many balancers share the traffic.
    pub(crate) balancers: u32,
    /// Simulated seconds of arrivals.
    pub(crate) seconds: f64,
    /// What is counted.
    pub(crate) periods: Periods,
    /// The servers, in groups.
    pub(crate) servers: Vec<Group>,
    /// Work of a request.
    pub(crate) service: Law,
    /// Where clients are.
    pub(crate) zones: Zones,
    /// What goes wrong.
    pub(crate) faults: Vec<Fault>,
    /// Whose share is measured.
    pub(crate) faulty: Span,
    /// What balancers learn.
    pub(crate) telemetry: Telemetry,
    /// The store that balancers share.
    pub(crate) store: Option<Store>,
    /// Balancers that come later.
    pub(crate) newcomers: Option<Newcomers>,
    /// Further attempts of failed requests.
    pub(crate) retries: u32,
    /// Requests that were made; where there are some, none are drawn.
    pub(crate) recorded: Option<Arc<Recorded>>,
}

impl Cell {
    /// Name for people, unique within its scenario.
    pub(crate) fn label(&self) -> String {
        format!("{} ρ={} M={}", self.block, self.rho, self.balancers)
    }

    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        let allotted = |g: &Group| f64::from(g.count * g.cores) * g.allotted.unwrap_or(g.speed);
        self.rho * self.servers.iter().map(allotted).sum::<f64>() / self.service.mean_ms() * 1_000.0
    }

    /// How long clients wait (ns).
    pub(crate) fn deadline(&self) -> u64 {
        self.recorded.as_ref().map_or(DEADLINE_US * 1_000, |recorded| recorded.deadline)
    }

    /// When balancers come that come later, and the first of them.
    pub(crate) fn late(&self) -> Option<(u64, u32)> {
        self.newcomers.map(|n| (u64::from(n.at_s) * SECOND as u64, self.balancers - n.count))
    }

    /// How many balancers are there at `nanos`.
    pub(crate) fn present(&self, nanos: u64) -> u32 {
        self.late().filter(|(at, _)| nanos < *at).map_or(self.balancers, |(_, first)| first)
    }

    /// Whether a balancer is one that came later.
    pub(crate) fn newcomer(&self, balancer: u32) -> bool {
        self.late().is_some_and(|(_, first)| balancer >= first)
    }

    /// Capacity in core-ns of work per ns.
    pub(crate) fn capacity(&self) -> f64 {
        self.servers.iter().map(|g| f64::from(g.count * g.cores) * g.speed).sum()
    }
}

/// All cells of a scenario, in the order of the file.
pub(crate) fn cells(scenario: &Scenario) -> Vec<Cell> {
    let of_block = |block: &Block| {
        let pairs = block.rho.iter().flat_map(|&rho| block.balancers.iter().map(move |&m| (rho, m)));
        pairs.map(|(rho, balancers)| cell(scenario, block, rho, balancers)).collect::<Vec<_>>()
    };
    scenario.cells.iter().flat_map(of_block).collect()
}

fn cell(scenario: &Scenario, block: &Block, rho: f64, balancers: u32) -> Cell {
    let nanos = |seconds: f64| (seconds * SECOND) as u64;
    let seconds = block.seconds.unwrap_or(scenario.seconds);
    Cell {
        scenario: scenario.name.clone(),
        block: block.name.clone(),
        rho,
        balancers,
        seconds,
        periods: Periods {
            all: [nanos(scenario.warm_up_s), nanos(seconds)],
            focus: scenario.focus_s.map(|focus| focus.map(nanos)),
            fault: scenario.fault_s.map(nanos),
        },
        servers: block.servers.clone().unwrap_or_else(|| scenario.servers.clone()),
        service: block.service.clone().unwrap_or_else(|| scenario.service.clone()),
        zones: scenario.zones.clone(),
        faults: block.faults.clone().unwrap_or_else(|| scenario.faults.clone()),
        faulty: block.faulty.unwrap_or(scenario.faulty),
        telemetry: block.telemetry.clone().unwrap_or_else(|| scenario.telemetry.clone()),
        store: scenario.store,
        newcomers: scenario.newcomers,
        retries: scenario.retries,
        recorded: None,
    }
}
