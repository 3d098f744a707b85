//! Senseless values in a scenario: each is refused with the name of its field, before anything runs.

use anyhow::{Result, bail, ensure};

use super::super::balancer::TICK_MS;
use super::super::faults::Fault;
use super::super::{bars, policies};
use super::{Block, Group, Scenario, Span, Telemetry};

/// Attempts of one request are told apart by three bits.
const MOST_RETRIES: u32 = 7;
/// Zones are numbered by a byte.
const MOST_ZONES: usize = 255;

/// Refuses what makes no sense.
pub(super) fn check(scenario: &Scenario) -> Result<()> {
    ensure!(scenario.retries <= MOST_RETRIES, "retries: at most {MOST_RETRIES}");
    ensure!(scenario.zones.demand.len() <= MOST_ZONES, "zones.demand: at most {MOST_ZONES}");
    ensure!(scenario.focus_s.is_none_or(|[from, to]| from < to), "focus_s: must end after it begins");
    ensure!(on_tick(scenario.warm_up_s), "warm_up_s: must be a multiple of {TICK_MS} ms");
    ensure!(scenario.store.is_none_or(|store| store.interval_ms > 0.0), "store.interval_ms: must be above 0");
    let least = scenario.cells.iter().flat_map(|block| &block.balancers).copied().min().unwrap_or(0);
    let early = scenario.newcomers.is_none_or(|newcomers| newcomers.count < least);
    ensure!(early, "newcomers.count: of {least} balancers one must be there before");
    ensure!(!scenario.cells.is_empty(), "cells: at least one block");
    scenario.cells.iter().try_for_each(|of| block(scenario, of))?;
    scenario.bars.iter().enumerate().try_for_each(|(at, _)| bar(scenario, at))
}

/// Whether a tick falls on it: what is measured between two moments is read at ticks.
fn on_tick(seconds: f64) -> bool {
    seconds >= 0.0 && ((seconds * 1e9) as u64).is_multiple_of(TICK_MS * 1_000_000)
}

fn block(scenario: &Scenario, block: &Block) -> Result<()> {
    let name = &block.name;
    ensure!(block.rho.iter().all(|&rho| rho > 0.0), "cells.{name}.rho: must be above 0");
    ensure!(block.balancers.iter().all(|&n| n > 0), "cells.{name}.balancers: at least 1");
    let seconds = block.seconds.unwrap_or(scenario.seconds);
    ensure!(scenario.warm_up_s < seconds, "warm_up_s: must be below seconds");
    ensure!(on_tick(seconds), "seconds: must be a multiple of {TICK_MS} ms");
    let groups = block.servers.as_ref().unwrap_or(&scenario.servers);
    groups.iter().try_for_each(|of| group(scenario, of))?;
    let fleet: u32 = groups.iter().map(|group| group.count).sum();
    let within = |field: &str, span: Span| {
        ensure!(span.to <= fleet, "{field}: there are {fleet} servers in block `{name}`");
        Ok(())
    };
    within("faulty", block.faulty.unwrap_or(scenario.faulty))?;
    let Telemetry { every_ms, liars, .. } = *block.telemetry.as_ref().unwrap_or(&scenario.telemetry);
    ensure!(every_ms > 0.0, "telemetry.every_ms: must be above 0");
    within("telemetry.liars", liars)?;
    block.faults.as_ref().unwrap_or(&scenario.faults).iter().try_for_each(|of| {
        of.servers().map_or(Ok(()), |span| within("faults: servers", span))?;
        fault(of)
    })
}

fn group(scenario: &Scenario, group: &Group) -> Result<()> {
    ensure!(group.count > 0 && group.cores > 0, "servers: count and cores must be above 0");
    ensure!(group.speed > 0.0, "servers: speed must be above 0 (a fault can stop a server)");
    ensure!((group.zone as usize) < scenario.zones.demand.len(), "servers: zone has no zones.demand");
    Ok(())
}

fn fault(fault: &Fault) -> Result<()> {
    match *fault {
        Fault::Load { factor, .. } => ensure!(factor > 0.0, "faults: load: factor must be above 0"),
        Fault::Swing { by, period_s } => {
            ensure!((0.0..1.0).contains(&by), "faults: swing: by must be below 1");
            ensure!(period_s > 0.0, "faults: swing: period_s must be above 0");
        }
        Fault::Antagonist { busy, for_s, .. } => {
            ensure!(busy > 0.0 && busy < 1.0, "faults: antagonist: busy must be between 0 and 1");
            ensure!(for_s[0] > 0.0 && for_s[0] <= for_s[1], "faults: antagonist: for_s must be above 0");
        }
        Fault::Pause { every_s, .. } => ensure!(every_s > 0.0, "faults: pause: every_s must be above 0"),
        Fault::Vanish { gap_s, .. } => ensure!(gap_s > 0.0, "faults: vanish: gap_s must be above 0"),
        Fault::Fail { status, .. } => {
            ensure!((500..=599).contains(&status), "faults: fail: status must be from 500 to 599");
        }
        Fault::Speed { .. } | Fault::Crash { .. } | Fault::Restart { .. } | Fault::Join { .. } => {}
    }
    Ok(())
}

fn bar(scenario: &Scenario, at: usize) -> Result<()> {
    let bar = &scenario.bars[at];
    if bar.at_most.is_some() == bar.at_least.is_some() {
        bail!("bars[{at}]: give one of at_most and at_least");
    }
    for name in bar.cells.iter().flatten() {
        let known = scenario.cells.iter().any(|block| block.name == *name);
        ensure!(known, "bars[{at}].cells: no block is called `{name}`");
    }
    let named = |block: &&Block| bar.cells.as_ref().is_none_or(|cells| cells.contains(&block.name));
    ensure!(bar.times.is_some() || bar.times_balancers.is_none(), "bars[{at}].times_balancers: needs times");
    for count in bar.balancers.iter().flatten().chain(&bar.times_balancers) {
        let run = scenario.cells.iter().filter(named).any(|block| block.balancers.contains(count));
        ensure!(run, "bars[{at}].balancers: no cell has {count} of them");
    }
    let policy = |name: &str| policies::find(name).is_some();
    ensure!(policy(&bar.policy), "bars[{at}].policy: no policy is called `{}`", bar.policy);
    if let Some(name) = bar.times.as_deref().filter(|name| !bars::CLASSES.contains(name) && !policy(name)) {
        bail!("bars[{at}].times: no policy and no class of them is called `{name}`");
    }
    ensure!(!bar.reason.is_empty(), "bars[{at}].reason: say why");
    Ok(())
}
