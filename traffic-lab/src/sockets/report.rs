//! Repeats put together, held to the bars, and shown: a table to read, JSON to keep.
//!
//! A figure is the median of the repeats with its range. Of the runs of one repeat the one with the least late generator
//! counts, which no balancer has a hand in. Repeats in doubt do not count where others are left; where none is, they all
//! count, and the table says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::environment::Environment;
use super::policy::Policy;
use super::run::Run;
use super::scenario::{Bar, Scenario};

/// The columns: heading, figure, digits behind the point.
const COLUMNS: [(&str, &str, usize); 10] = [
    ("p50 ms", "p50_ms", 1),
    ("p99 ms", "p99_ms", 1),
    ("p99.9 ms", "p999_ms", 1),
    ("max ms", "max_ms", 0),
    ("p99 ms*", "p99_failed_ms", 1),
    ("errors %", "error_percent", 3),
    ("to faulty", "faulty_share_percent", 2),
    ("balancer", "cpu_balancer_percent", 1),
    ("backends", "cpu_backends_percent", 1),
    ("generator", "cpu_generator_percent", 1),
];
/// What the headings leave open.
const LEGEND: &str =
    "* a failed request counts as 5 s; to faulty: % of the requests; the last three: CPU, % of a core";

/// Everything a command measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) environment: Environment,
    /// Policies that were left out, and why.
    pub(crate) skipped: Vec<String>,
    pub(crate) seconds: f64,
    pub(crate) warm_up_s: f64,
    pub(crate) repeats: u64,
    pub(crate) scenarios: Vec<Outcome>,
}

/// What a scenario came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    pub(crate) rate: f64,
    pub(crate) rows: Vec<Row>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// What a policy came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) policy: String,
    #[serde(skip)]
    ours: bool,
    pub(crate) figures: BTreeMap<&'static str, Spread>,
    pub(crate) runs: Vec<Run>,
}

/// A figure over repeats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// Whether a bar is met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) met: bool,
    pub(crate) text: String,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self { median: f64::midpoint(at(last / 2), at(values.len() / 2)), low: at(0), high: at(last) }
    }
}

impl Row {
    /// Puts the repeats of a policy together.
    pub(crate) fn new(policy: &Policy, runs: Vec<Run>) -> Self {
        let calmest = calmest(&runs);
        let good = calmest.iter().filter(|run| run.doubts.is_empty()).count();
        let mut values: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for run in calmest.into_iter().filter(|run| good == 0 || run.doubts.is_empty()) {
            for (name, value) in &run.summary.figures {
                values.entry(name).or_default().push(*value);
            }
        }
        let figures = values.into_iter().map(|(name, values)| (name, Spread::of(values))).collect();
        Self { policy: policy.name.clone(), ours: policy.is_ours(), figures, runs }
    }

    fn doubted(&self) -> usize {
        self.runs.iter().filter(|run| !run.doubts.is_empty()).count()
    }
}

/// Of each repeat, the run whose generator was late least.
fn calmest(runs: &[Run]) -> Vec<&Run> {
    let mut by_repeat: BTreeMap<u64, &Run> = BTreeMap::new();
    for run in runs {
        let best = by_repeat.entry(run.repeat).or_insert(run);
        if run.lateness() < best.lateness() {
            *best = run;
        }
    }
    by_repeat.into_values().collect()
}

impl Outcome {
    /// Holds the rows to the scenario's bars.
    pub(crate) fn new(scenario: Scenario, rate: f64, rows: Vec<Row>) -> Self {
        let verdicts = scenario.bar.iter().filter_map(|bar| verdict(bar, &rows)).collect();
        Self { scenario, rate, rows, verdicts }
    }

    /// The table.
    pub(crate) fn table(&self) -> String {
        let Scenario { name, title, rho, .. } = &self.scenario;
        let rate = self.rate;
        // The rate may not be the scenario's own.
        let rho = rho * rate / self.scenario.rate();
        let mut text = format!("\n{name}: {title} (rho {rho:.2}, {rate:.0} requests/s)\n");
        let width = self.rows.iter().map(|row| row.policy.len()).max().unwrap_or(0).max(6);
        // Writing to a string cannot fail.
        let _ = write!(text, "{:width$}", "policy");
        for (heading, ..) in COLUMNS {
            let _ = write!(text, "  {heading:>9}");
        }
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "{:width$}", row.policy);
            for (_, figure, digits) in COLUMNS {
                let cell = row.figures.get(figure).map(|spread| format!("{:.digits$}", spread.median));
                let _ = write!(text, "  {:>9}", cell.unwrap_or_else(|| "-".to_owned()));
            }
            if let Some(p99) = row.figures.get("p99_ms") {
                let _ = write!(text, "  p99 from {:.1} to {:.1}", p99.low, p99.high);
            }
            if row.doubted() > 0 {
                let _ = write!(text, "  ! {} of {} runs in doubt", row.doubted(), row.runs.len());
            }
            text.push('\n');
        }
        let _ = writeln!(text, "{LEGEND}");
        for verdict in &self.verdicts {
            let _ = writeln!(text, "{} {}", if verdict.met { "met   " } else { "MISSED" }, verdict.text);
        }
        for (row, run) in self.rows.iter().flat_map(|row| row.runs.iter().map(move |run| (row, run))) {
            for doubt in &run.doubts {
                let _ = writeln!(text, "! {} repeat {}: {doubt}", row.policy, run.repeat);
            }
        }
        text
    }
}

/// Judges a bar; `None` where whom it speaks of did not take part.
fn verdict(bar: &Bar, rows: &[Row]) -> Option<Verdict> {
    let figure = |row: &Row| row.figures.get(bar.figure.as_str()).copied();
    let own = figure(rows.iter().find(|row| row.policy == bar.of)?)?;
    let rivals = rows.iter().filter(|row| match bar.against.as_str() {
        "peers" => !row.ours,
        "others" => row.policy != bar.of,
        name => row.policy == name,
    });
    let (rival, best) = rivals
        .filter_map(|row| Some((row.policy.as_str(), figure(row)?)))
        .min_by(|one, other| one.1.median.total_cmp(&other.1.median))?;
    let met = own.median <= bar.at_most * best.median;
    let apart = own.high < best.low || best.high < own.low;
    let Bar { of, figure, at_most, reason, .. } = bar;
    let (own, best) = (own.median, best.median);
    let ratio = if best > 0.0 { format!(" ({:.2} times)", own / best) } else { String::new() };
    let overlap = if apart { "" } else { "; the ranges overlap" };
    let text = format!(
        "{of} {figure} {own:.3} against {rival}'s {best:.3}{ratio}, at most {at_most} times{overlap}: {reason}"
    );
    Some(Verdict { met, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::record::Summary;
    use crate::sockets::scenario;

    fn row(name: &str, p99: &[(f64, bool)]) -> Row {
        let run = |(index, (p99, good)): (usize, &(f64, bool))| Run {
            repeat: index as u64,
            summary: Summary {
                figures: BTreeMap::from([("p99_ms", *p99), ("late_p999_ms", *p99 / 100.0)]),
                errors: BTreeMap::new(),
                seconds: Vec::new(),
            },
            by_backend: Vec::new(),
            doubts: if *good { Vec::new() } else { vec!["late".to_owned()] },
        };
        Row::new(&Policy::named(name).unwrap(), p99.iter().enumerate().map(run).collect())
    }

    #[test]
    fn the_median_is_of_the_runs_without_doubt() {
        let mixed = row("adaptive", &[(90.0, true), (100.0, true), (500.0, false), (120.0, true)]);
        assert_eq!(mixed.figures["p99_ms"], Spread { median: 100.0, low: 90.0, high: 120.0 });
        let all = row("adaptive", &[(90.0, false), (100.0, false)]);
        assert_eq!(all.figures["p99_ms"], Spread { median: 95.0, low: 90.0, high: 100.0 });
    }

    #[test]
    fn of_a_repeat_the_calmest_run_counts() {
        let mut runs = row("adaptive", &[(300.0, false), (90.0, false), (100.0, true)]).runs;
        runs[1].repeat = 0;
        let counted: Vec<f64> = calmest(&runs).iter().map(|run| run.summary.figures["p99_ms"]).collect();
        assert_eq!(counted, [90.0, 100.0]);
    }

    #[test]
    fn bars_name_the_best_rival() {
        let scenario = scenario::named(&["S2b".to_owned()]).unwrap().remove(0);
        let rows = |own| {
            vec![
                row("adaptive", &[(own, true)]),
                row("least_connections", &[(10.0, true)]),
                row("haproxy-leastconn", &[(100.0, true)]),
                row("nginx-leastconn", &[(120.0, true)]),
            ]
        };
        let good = Outcome::new(scenario.clone(), 980.0, rows(79.0));
        assert!(good.verdicts[0].met && good.verdicts[0].text.contains("haproxy-leastconn's 100"));
        assert!(good.table().contains("\nmet    adaptive p99_ms 79.000"), "{}", good.table());
        let bad = Outcome::new(scenario.clone(), 980.0, rows(81.0));
        assert!(!bad.verdicts[0].met);
        assert!(Outcome::new(scenario, 980.0, Vec::new()).verdicts.is_empty());
    }
}
