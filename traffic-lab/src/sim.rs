//! The simulator: discrete events, one seed, the decision code itself.
//!
//! Reading order: [`scenario`] (what a file says) → [`cell`] (one cell of it) → [`world`] (one run) with its [`server`]s →
//! [`balancer`] (what a policy may know) → [`ours`], [`peers`], [`oracle`] → [`runs`] → [`bars`] → [`report`].

mod agenda;
mod balancer;
mod bars;
mod cell;
mod chart;
pub(crate) mod draw;
mod faults;
mod metric;
mod oracle;
mod ours;
mod peers;
pub(crate) mod play;
mod policies;
pub(crate) mod recorded;
mod report;
mod results;
mod runs;
mod scenario;
mod server;
mod sharing;
mod slab;
mod tally;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use cell::Cell;
use policies::{POLICIES, Policy};
use scenario::Scenario;

/// Where scenarios lie when only their names are given.
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
/// Seeds begin here; any number would do.
const FIRST_SEED: u64 = 1;
/// What `--quick` runs.
const QUICK_POLICIES: [&str; 8] = [
    "adaptive",
    "peer-round-robin",
    "envoy-least-request",
    "haproxy-leastconn",
    "envoy-ewma",
    "prequal-rif",
    "oracle-sed",
    "oracle-jsew",
];

/// What to simulate.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Scenario files, or names such as `s3` of those in traffic-lab/scenarios; all but the held-out ones where none is given.
    scenarios: Vec<String>,
    /// Policies to run, by name; all where this is not given.
    #[arg(long, value_delimiter = ',')]
    policies: Vec<String>,
    /// How many seeds each cell is run with.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Run this seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// Run cells with this many balancers only.
    #[arg(long)]
    balancers: Option<u32>,
    /// Run cells whose label contains this only.
    #[arg(long)]
    cell: Option<String>,
    /// Where results are written.
    #[arg(long, default_value = "results")]
    out: PathBuf,
    /// Run the held-out scenarios too (they always run where they are named).
    #[arg(long)]
    hold_out: bool,
    /// A part that takes less than a minute: some scenarios, a cell of each, a few policies, one seed.
    #[arg(long)]
    quick: bool,
    /// Exit with 1 if a bar is missed, or none was judged.
    #[arg(long)]
    check: bool,
}

/// Runs the scenarios.
///
/// # Errors
/// If a scenario or a policy cannot be found or read, if results cannot be written, or, with `--check`, if a bar is missed or none
/// was judged.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let policies = chosen_policies(arguments)?;
    let seeds: Vec<u64> = match arguments.seed {
        Some(seed) => vec![seed],
        None if arguments.quick => vec![FIRST_SEED],
        None => (FIRST_SEED..FIRST_SEED + arguments.seeds).collect(),
    };
    let (mut missed, mut judged_at_all) = (0, 0);
    let mut ran_any = false;
    for scenario in chosen_scenarios(arguments)? {
        let cells = chosen_cells(arguments, &scenario);
        if cells.is_empty() {
            continue;
        }
        ran_any = true;
        let ran = runs::all(&cells, &policies, &seeds)?;
        let judged: Vec<_> = ran.iter().map(|r| bars::judge(&scenario.bars, r, &ran)).collect();
        let judged: Vec<_> = judged.into_iter().zip(ran).collect();
        print!("{}", report::text(&scenario, &judged));
        results::write(&arguments.out, &scenario, &judged)?;
        let verdicts = || judged.iter().flat_map(|(judged, _)| &judged.verdicts);
        missed += verdicts().filter(|v| !v.passed).count();
        judged_at_all += verdicts().count();
    }
    ensure!(ran_any, "no cell matches");
    println!("results in {}", arguments.out.display());
    ensure!(judged_at_all > 0 || !arguments.check, "no bar was judged");
    ensure!(missed == 0 || !arguments.check, "{missed} bars missed");
    Ok(())
}

fn chosen_policies(arguments: &Arguments) -> Result<Vec<&'static Policy>> {
    let names: Vec<&str> = match (arguments.policies.is_empty(), arguments.quick) {
        (false, _) => arguments.policies.iter().map(String::as_str).collect(),
        (true, true) => QUICK_POLICIES.to_vec(),
        (true, false) => POLICIES.iter().map(|policy| policy.name).collect(),
    };
    let find = |name: &str| {
        policies::find(name).with_context(|| {
            let known: Vec<&str> = POLICIES.iter().map(|policy| policy.name).collect();
            format!("no policy is called `{name}`; there are {}", known.join(", "))
        })
    };
    names.into_iter().map(find).collect()
}

fn chosen_scenarios(arguments: &Arguments) -> Result<Vec<Scenario>> {
    let there = stored(Path::new(SCENARIOS))?;
    let mut chosen = Vec::new();
    for name in &arguments.scenarios {
        let path = Path::new(name);
        if path.extension().is_some() {
            chosen.push(Scenario::read(path)?);
            continue;
        }
        let stem = |p: &PathBuf| p.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let found = there.iter().find(|p| stem(p) == *name || stem(p).split('-').next() == Some(name));
        match found {
            Some(path) => chosen.push(Scenario::read(path)?),
            None => bail!("no scenario `{name}` in {SCENARIOS}"),
        }
    }
    if arguments.scenarios.is_empty() {
        chosen = there.iter().map(|path| Scenario::read(path)).collect::<Result<_>>()?;
        chosen.retain(|scenario| arguments.hold_out || !scenario.hold_out);
    }
    if arguments.quick && arguments.scenarios.is_empty() {
        chosen.retain(|scenario| scenario.quick);
    }
    Ok(chosen)
}

/// The scenario files of a directory, in the order of their numbers.
fn stored(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let order = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let digits: String = stem.chars().skip(1).take_while(char::is_ascii_digit).collect();
        let held_out = stem.starts_with('h');
        (held_out, digits.parse::<u32>().unwrap_or(u32::MAX), stem)
    };
    files.sort_by_cached_key(order);
    Ok(files)
}

fn chosen_cells(arguments: &Arguments, scenario: &Scenario) -> Vec<Cell> {
    let mut cells = cell::cells(scenario);
    cells.retain(|cell| arguments.balancers.is_none_or(|m| m == cell.balancers));
    cells.retain(|cell| arguments.cell.as_ref().is_none_or(|part| cell.label().contains(part)));
    if arguments.quick {
        cells.truncate(1);
    }
    cells
}

#[cfg(test)]
mod tests;
