//! Repeats put together, held to the bars, and shown: a table to read, JSON to keep.
//!
//! A figure is the median of the repeats with its range. Of a policy's runs of one repeat the one with the least late
//! generator counts, which no balancer has a hand in. A repeat in which the generator was late counts for no policy, so
//! that all are compared over the same requests; where no repeat is left, all count, and the table says so. Doubts about
//! CPU are told and leave nothing out: they can be a balancer's own doing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::environment::Environment;
use super::policy::Policy;
use super::run::Run;
use super::scenario::{ALL_PEERS, Bar, OTHERS, PEERS, Scenario};

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
    /// The repeats that count.
    pub(crate) counted: BTreeSet<u64>,
    pub(crate) rows: Vec<Row>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// What a policy came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) policy: String,
    #[serde(skip)]
    ours: bool,
    #[serde(skip)]
    watches: bool,
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
    /// Whether the ranges overlap, so that more repeats could turn it.
    pub(crate) overlap: bool,
    /// Whether it asks for a win, which ranges that overlap weaken.
    win: bool,
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
    /// Puts the repeats of a policy together that count.
    fn new(policy: &Policy, runs: Vec<Run>, counted: &BTreeSet<u64>) -> Self {
        let mut values: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
        for run in calmest(&runs).into_iter().filter(|run| counted.contains(&run.repeat)) {
            for (name, value) in &run.summary.figures {
                values.entry(name).or_default().push(*value);
            }
        }
        let figures = values.into_iter().map(|(name, values)| (name, Spread::of(values))).collect();
        let (name, ours, watches) = (policy.name.clone(), policy.is_ours(), policy.watches());
        Self { policy: name, ours, watches, figures, runs }
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

/// The repeats that count: those in which no policy's generator was late, or all where there is none.
fn counted<'a>(runs: impl Iterator<Item = &'a Vec<Run>>) -> BTreeSet<u64> {
    let (mut all, mut late) = (BTreeSet::new(), BTreeSet::new());
    for run in runs.flat_map(|runs| calmest(runs)) {
        all.insert(run.repeat);
        if run.is_late() {
            late.insert(run.repeat);
        }
    }
    let clean: BTreeSet<u64> = all.difference(&late).copied().collect();
    if clean.is_empty() { all } else { clean }
}

impl Outcome {
    /// Puts each policy's runs together, and holds them to the scenario's bars.
    pub(crate) fn new(scenario: Scenario, rate: f64, runs: Vec<(&Policy, Vec<Run>)>) -> Self {
        let counted = counted(runs.iter().map(|(_, runs)| runs));
        let rows: Vec<Row> =
            runs.into_iter().map(|(policy, runs)| Row::new(policy, runs, &counted)).collect();
        let verdicts = scenario.bar.iter().filter_map(|bar| verdict(bar, &rows)).collect();
        Self { scenario, rate, counted, rows, verdicts }
    }

    /// The repeats that do not count.
    fn left_out(&self) -> Vec<String> {
        let all: BTreeSet<u64> =
            self.rows.iter().flat_map(|row| row.runs.iter().map(|run| run.repeat)).collect();
        all.difference(&self.counted).map(u64::to_string).collect()
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
            let _ = writeln!(text, "{} {}", verdict.word(), verdict.text);
        }
        let left_out = self.left_out();
        if !left_out.is_empty() {
            let _ = writeln!(
                text,
                "! left out for every policy, since the generator was late: repeat {}",
                left_out.join(", ")
            );
        }
        for (row, run) in self.rows.iter().flat_map(|row| row.runs.iter().map(move |run| (row, run))) {
            for doubt in &run.doubts {
                let _ = writeln!(text, "! {} repeat {}: {doubt}", row.policy, run.repeat);
            }
        }
        text
    }
}

impl Verdict {
    fn word(&self) -> &'static str {
        match (self.met, self.overlap && self.win) {
            (true, false) => "met   ",
            (true, true) => "met, ranges overlap",
            (false, _) => "MISSED",
        }
    }
}

/// Judges a bar; `None` where whom it speaks of did not take part.
fn verdict(bar: &Bar, rows: &[Row]) -> Option<Verdict> {
    let figure = |row: &Row| row.figures.get(bar.figure.as_str()).copied();
    let own = figure(rows.iter().find(|row| row.policy == bar.of)?)?;
    let rivals = rows.iter().filter(|row| match bar.against.as_str() {
        PEERS => !row.ours && !row.watches,
        ALL_PEERS => !row.ours,
        OTHERS => row.policy != bar.of,
        name => row.policy == name,
    });
    let (rival, best) = rivals
        .filter_map(|row| Some((row.policy.as_str(), figure(row)?)))
        .min_by(|one, other| one.1.median.total_cmp(&other.1.median))?;
    let met = own.median <= bar.at_most * best.median;
    let overlap = own.low <= best.high && best.low <= own.high;
    let Bar { of, figure, at_most, reason, .. } = bar;
    let (own, best) = (own.median, best.median);
    let ratio = if best > 0.0 { format!(" ({:.2} times)", own / best) } else { String::new() };
    let text = format!(
        "{of} {figure} {own:.3} against {rival}'s {best:.3}{ratio}, at most {at_most} times: {reason}"
    );
    Some(Verdict { met, overlap, win: bar.asks_for_a_win(), text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::record::Summary;
    use crate::sockets::scenario;

    /// Runs of p99, and whether the generator was in time.
    fn runs(p99: &[(f64, bool)]) -> Vec<Run> {
        let run = |(index, (p99, good)): (usize, &(f64, bool))| Run {
            repeat: index as u64,
            summary: Summary {
                figures: BTreeMap::from([("p99_ms", *p99), ("late_p999_ms", if *good { 0.1 } else { *p99 })]),
                errors: BTreeMap::new(),
                seconds: Vec::new(),
            },
            by_backend: Vec::new(),
            doubts: if *good { Vec::new() } else { vec!["late".to_owned()] },
        };
        p99.iter().enumerate().map(run).collect()
    }

    fn outcome(name: &str, runs: &[(&str, Vec<Run>)]) -> Outcome {
        let scenario = scenario::named(&[name.to_owned()]).unwrap().remove(0);
        let policies: Vec<Policy> = runs.iter().map(|(name, _)| Policy::named(name).unwrap()).collect();
        let runs = policies.iter().zip(runs).map(|(policy, (_, runs))| (policy, runs.clone())).collect();
        Outcome::new(scenario, 980.0, runs)
    }

    #[test]
    fn a_repeat_with_a_late_generator_counts_for_nobody() {
        let one = runs(&[(90.0, true), (100.0, true), (500.0, false), (120.0, true)]);
        let mut other = runs(&[(900.0, false), (10.0, true), (20.0, true), (30.0, true)]);
        // CPU is told, and leaves nothing out.
        other[1].doubts.push("CPU".to_owned());
        let outcome = outcome("S1", &[("adaptive", one), ("round_robin", other)]);
        let p99 = |index: usize| outcome.rows[index].figures["p99_ms"];
        assert_eq!(p99(0), Spread { median: 110.0, low: 100.0, high: 120.0 });
        assert_eq!(p99(1), Spread { median: 20.0, low: 10.0, high: 30.0 });
        let table = outcome.table();
        assert!(table.contains("late: repeat 0, 2\n") && table.contains("2 of 4 runs in doubt"), "{table}");
    }

    #[test]
    fn where_no_repeat_is_clean_all_count() {
        let (one, other) = (runs(&[(90.0, false), (100.0, true)]), runs(&[(10.0, true), (20.0, false)]));
        let outcome = outcome("S1", &[("adaptive", one), ("round_robin", other)]);
        assert_eq!(outcome.rows[0].figures["p99_ms"], Spread { median: 95.0, low: 90.0, high: 100.0 });
        let table = outcome.table();
        assert!(table.contains("1 of 2 runs in doubt") && !table.contains("left out"), "{table}");
    }

    #[test]
    fn of_a_repeat_the_calmest_run_counts() {
        let mut runs = runs(&[(300.0, false), (90.0, false), (100.0, true)]);
        runs[1].repeat = 0;
        let counted: Vec<f64> = calmest(&runs).iter().map(|run| run.summary.figures["p99_ms"]).collect();
        assert_eq!(counted, [90.0, 100.0]);
    }

    #[test]
    fn bars_name_the_best_rival() {
        let held = |own: f64, best: &[(f64, bool)]| {
            let rows = [
                ("adaptive", runs(&vec![(own, true); best.len()])),
                ("least_connections", runs(&vec![(10.0, true); best.len()])),
                ("haproxy-leastconn", runs(best)),
                ("haproxy-leastconn-watch", runs(&vec![(20.0, true); best.len()])),
                ("nginx-leastconn", runs(&vec![(120.0, true); best.len()])),
            ];
            outcome("S2b", &rows)
        };
        let good = held(79.0, &[(100.0, true)]);
        assert!(good.verdicts[0].met && good.verdicts[0].text.contains("haproxy-leastconn's 100"));
        assert!(good.table().contains("\nmet    adaptive p99_ms 79.000"), "{}", good.table());
        assert!(!held(81.0, &[(100.0, true)]).verdicts[0].met);
        let near = held(79.0, &[(70.0, true), (100.0, true), (110.0, true)]).table();
        assert!(near.contains("\nmet, ranges overlap adaptive p99_ms 79.000"), "{near}");
        assert!(outcome("S2b", &[]).verdicts.is_empty());
    }

    #[test]
    fn bars_tell_peers_as_they_come_from_all() {
        let rows = [
            ("adaptive", runs(&[(1.0, true)])),
            ("haproxy-leastconn", runs(&[(100.0, true)])),
            ("haproxy-leastconn-watch", runs(&[(2.0, true)])),
        ];
        let mut outcome = outcome("S4", &rows);
        for row in &mut outcome.rows {
            row.figures.insert("error_percent", row.figures["p99_ms"]);
        }
        let rivals: Vec<String> =
            (outcome.scenario.bar.iter()).filter_map(|bar| Some(verdict(bar, &outcome.rows)?.text)).collect();
        assert!(rivals[0].contains("haproxy-leastconn's") && rivals[1].contains("-watch's"), "{rivals:?}");
    }
}
