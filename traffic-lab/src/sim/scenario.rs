//! A scenario as its TOML file says it: servers, work, faults, and what is expected of the results with the reason why.
//!
//! A file holds one or more blocks of cells; a block's lists (`rho`, `balancers`) multiply, and whatever a block does not
//! say is the scenario's. Unknown fields and senseless values are errors that name the file and the field.

mod check;

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::draw::Law;
use super::faults::Fault;
use super::metric::Metric;

/// A scenario file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Short name, as in `s1-homogeneous`; that of the file.
    #[serde(skip)]
    pub(crate) name: String,
    /// What it is about, one sentence.
    pub(crate) about: String,
    /// Whether nobody may tune on it.
    #[serde(default)]
    pub(crate) hold_out: bool,
    /// Whether `--quick` runs its first cells.
    #[serde(default)]
    pub(crate) quick: bool,
    /// Simulated seconds; requests of the first `warm_up_s` are not counted.
    #[serde(default = "usual_seconds")]
    pub(crate) seconds: f64,
    /// Seconds that are not counted.
    #[serde(default = "usual_warm_up")]
    pub(crate) warm_up_s: f64,
    /// A period of special interest (from, to), e.g. after a fault is cured.
    pub(crate) focus_s: Option<[f64; 2]>,
    /// When the fault begins: recovery is measured from here, against what was before.
    pub(crate) fault_s: Option<f64>,
    /// Servers whose share of traffic is measured.
    #[serde(default)]
    pub(crate) faulty: Span,
    /// Requests that fail are tried this many times more elsewhere, within the retry budget.
    #[serde(default)]
    pub(crate) retries: u32,
    /// The servers, in groups.
    pub(crate) servers: Vec<Group>,
    /// How much work a request is.
    #[serde(default = "usual_service")]
    pub(crate) service: Law,
    /// Where clients and servers are.
    #[serde(default)]
    pub(crate) zones: Zones,
    /// What goes wrong.
    #[serde(default)]
    pub(crate) faults: Vec<Fault>,
    /// What balancers learn of servers, and how badly.
    #[serde(default)]
    pub(crate) telemetry: Telemetry,
    /// The store that balancers share, where they share one.
    pub(crate) store: Option<Store>,
    /// Balancers that come later.
    pub(crate) newcomers: Option<Newcomers>,
    /// What is run.
    pub(crate) cells: Vec<Block>,
    /// What is expected.
    #[serde(default)]
    pub(crate) bars: Vec<Bar>,
}

/// Long enough for 100 000 requests and more in most cells: p99.9 needs them.
fn usual_seconds() -> f64 {
    90.0
}

/// Estimates and queues are settled by then.
fn usual_warm_up() -> f64 {
    15.0
}

fn usual_service() -> Law {
    Law::Exponential { mean_ms: 20.0 }
}

/// Servers that are alike.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// How many.
    pub(crate) count: u32,
    /// Slots of each.
    #[serde(default = "usual_cores")]
    pub(crate) cores: u32,
    /// Speed of each.
    #[serde(default = "one")]
    pub(crate) speed: f64,
    /// Speed that `rho` counts on, where it is not `speed`: what was allotted.
    pub(crate) allotted: Option<f64>,
    /// Zone of each.
    #[serde(default)]
    pub(crate) zone: u32,
    /// Requests each holds at most; more are refused with 503.
    pub(crate) limit: Option<u32>,
    /// Who is served when all slots are taken.
    #[serde(default)]
    pub(crate) discipline: Discipline,
}

fn usual_cores() -> u32 {
    4
}

fn one() -> f64 {
    1.0
}

/// Who is served when all slots are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Discipline {
    /// All at once, each more slowly.
    #[default]
    Sharing,
    /// Who came first; the others wait.
    Fifo,
}

/// A range of servers, as in `"0..4"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Span {
    /// The first.
    pub(crate) from: u32,
    /// The one behind the last.
    pub(crate) to: u32,
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match parts {
            Some((from, to)) if from < to => Ok(Span { from, to }),
            _ => Err(format!("`{text}` is no range of servers such as `0..4`")),
        }
    }
}

impl Span {
    /// Whether `server` is within.
    pub(crate) fn contains(self, server: u32) -> bool {
        (self.from..self.to).contains(&server)
    }
}

/// Where clients are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Zones {
    /// Share of the traffic that arrives in each zone.
    pub(crate) demand: Vec<f64>,
    /// Round trip between zones (ms), beside the usual network.
    pub(crate) round_trip_ms: f64,
}

impl Default for Zones {
    fn default() -> Self {
        Zones { demand: vec![1.0], round_trip_ms: 0.0 }
    }
}

/// What scrapes bring.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// Time between two scrapes by one balancer (ms).
    pub(crate) every_ms: f64,
    /// From when on no scrape succeeds (s).
    pub(crate) off_from_s: Option<f64>,
    /// From when on scrapes bring what they brought then (s).
    pub(crate) frozen_from_s: Option<f64>,
    /// Standard deviation of the logarithm of a reported utilisation.
    pub(crate) noise: f64,
    /// Servers that lie.
    pub(crate) liars: Span,
    /// What liars multiply their utilisation by; not a number makes it garbage.
    pub(crate) lie: f64,
}

impl Default for Telemetry {
    fn default() -> Self {
        Telemetry {
            every_ms: 1_000.0,
            off_from_s: None,
            frozen_from_s: None,
            noise: 0.0,
            liars: Span::default(),
            lie: 1.0,
        }
    }
}

/// A store that balancers share.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Store {
    /// Between two rounds of one balancer (ms).
    pub(crate) interval_ms: f64,
}

/// Balancers that come later than the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Newcomers {
    /// How many.
    pub(crate) count: u32,
    /// When.
    pub(crate) at_s: u32,
}

/// Cells that differ in load and number of balancers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Block {
    /// Its name.
    pub(crate) name: String,
    /// Loads: offered work over the servers' capacity.
    pub(crate) rho: Vec<f64>,
    /// Numbers of balancers.
    #[serde(default = "usual_balancers")]
    pub(crate) balancers: Vec<u32>,
    /// Instead of the scenario's.
    pub(crate) seconds: Option<f64>,
    /// Instead of the scenario's.
    pub(crate) servers: Option<Vec<Group>>,
    /// Instead of the scenario's.
    pub(crate) service: Option<Law>,
    /// Instead of the scenario's.
    pub(crate) faults: Option<Vec<Fault>>,
    /// Instead of the scenario's.
    pub(crate) telemetry: Option<Telemetry>,
    /// Instead of the scenario's.
    pub(crate) faulty: Option<Span>,
}

fn usual_balancers() -> Vec<u32> {
    vec![1, 5]
}

/// What is expected of a policy in cells.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bar {
    /// What is measured.
    pub(crate) metric: Metric,
    /// The upper limit, or the factor of `times`.
    pub(crate) at_most: Option<f64>,
    /// The lower limit, or the factor of `times`.
    pub(crate) at_least: Option<f64>,
    /// Whose measurement is multiplied: `oracle`, `best_peer`, `best_probing` or a policy.
    pub(crate) times: Option<String>,
    /// The measurement that is multiplied is of so many balancers, all else being equal; of as many where this is not given.
    pub(crate) times_balancers: Option<u32>,
    /// Of whom it is expected.
    #[serde(default = "ours")]
    pub(crate) policy: String,
    /// In which blocks; all where this is not given.
    pub(crate) cells: Option<Vec<String>>,
    /// With how many balancers; any where this is not given.
    pub(crate) balancers: Option<Vec<u32>>,
    /// Why this number.
    pub(crate) reason: String,
}

fn ours() -> String {
    "adaptive".to_owned()
}

impl Scenario {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).with_context(|| format!("in {}", path.display()))
    }

    /// Takes a file's text.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scenario: Scenario = toml::from_str(text)?;
        name.clone_into(&mut scenario.name);
        check::check(&scenario)?;
        Ok(scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "about = 'x'\nservers = [{ count = 2 }]\ncells = [{ name = 'a', rho = [0.5] }]\n";

    #[test]
    fn a_small_file_has_the_usual_rest() {
        let scenario = Scenario::parse("s", SMALL).unwrap();
        assert_eq!((scenario.servers[0].cores, scenario.cells[0].balancers.as_slice()), (4, &[1, 5][..]));
        assert_eq!(scenario.service.mean_ms(), 20.0);
    }

    #[test]
    fn faults_in_a_file_name_the_field() {
        for (extra, named) in [
            ("sevice = 3", "sevice"),
            ("faulty = '4..2'", "4..2"),
            ("bars = [{ metric = 'p99', at_most = 1, at_least = 2, reason = 'r' }]", "at_most and at_least"),
            ("bars = [{ metric = 'p98', at_most = 1, reason = 'r' }]", "p98"),
            ("bars = [{ metric = 'p99', at_most = 1, reason = 'r', cells = ['b'] }]", "`b`"),
            ("faults = [{ kind = 'speed', servers = '0..1', factr = 1 }]", "factr"),
            ("warm_up_s = 900", "warm_up_s"),
            ("warm_up_s = 1.51", "20 ms"),
            ("seconds = 60.005", "seconds"),
            ("focus_s = [5, 4]", "focus_s"),
            ("retries = 8", "retries"),
            ("faulty = '0..3'", "faulty"),
            ("telemetry = { every_ms = 0 }", "every_ms"),
            ("telemetry = { liars = '1..3' }", "liars"),
            ("faults = [{ kind = 'crash', servers = '2..3', from_s = 1 }]", "servers"),
            ("faults = [{ kind = 'load', factor = 0, from_s = 1 }]", "factor"),
            ("faults = [{ kind = 'swing', by = 1, period_s = 3 }]", "by"),
            (
                "faults = [{ kind = 'antagonist', servers = '0..1', factor = [0, 1], for_s = [1, 2], busy = 1 }]",
                "busy",
            ),
            ("faults = [{ kind = 'pause', servers = '0..1', for_ms = [1, 2], every_s = 0 }]", "every_s"),
            ("bars = [{ metric = 'p99', at_most = 1, reason = 'r', policy = 'best' }]", "`best`"),
            ("bars = [{ metric = 'p99', at_most = 1, reason = 'r', times = 'oracel' }]", "`oracel`"),
            ("bars = [{ metric = 'p99', at_most = 1, reason = 'r', balancers = [3] }]", "has 3"),
            (
                "bars = [{ metric = 'p99', at_most = 1, reason = 'r', times_balancers = 5 }]",
                "times_balancers",
            ),
            (
                "bars = [{ metric = 'p99', at_most = 1, reason = 'r', times = 'oracle', times_balancers = 3 }]",
                "has 3",
            ),
            ("store = { interval_ms = 0 }", "store.interval_ms"),
            ("newcomers = { count = 1, at_s = 3 }", "newcomers.count"),
        ] {
            let error = format!("{:#}", Scenario::parse("s", &format!("{extra}\n{SMALL}")).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
        let zones = vec!["1"; 256].join(", ");
        let error = Scenario::parse("s", &format!("{SMALL}[zones]\nround_trip_ms = 1\ndemand = [{zones}]"));
        assert!(format!("{:#}", error.unwrap_err()).contains("zones.demand"));
    }
}
