//! Whether the simulator and the sockets agree: on the ranking of policies (Kendall's tau), and on p99 itself.
//!
//! The simulator's results are the file that `simulate six-sockets` writes: its cells are named after the scenarios. Names
//! match whatever their case, and `-` is `_`. Figures closer than a real difference count as tied.
//! How it fails: scenarios and policies that only one side has are left out; fewer than two policies have no ranking.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::report::Outcome;

/// Below this the two disagree.
const TAU_LEAST: f64 = 0.7;
/// How far p99 may be apart where both model the same, which they do in these.
const P99_APART_MOST: f64 = 0.15;
/// The scenarios in which p99 itself must agree.
const P99_SCENARIOS: [&str; 2] = ["s1", "s3"];

/// Differences below this are noise: a win needs more, in the simulator too.
const TIE: f64 = 0.03;

/// p99 in milliseconds by scenario and policy.
pub(crate) type Simulated = BTreeMap<String, BTreeMap<String, f64>>;

/// How a scenario agrees.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Agreement {
    pub(crate) scenario: String,
    pub(crate) policies: Vec<String>,
    pub(crate) tau: Option<f64>,
    /// By policy, measured over simulated.
    pub(crate) p99_ratio: Vec<f64>,
}

/// Reads the simulator's results.
pub(crate) fn read(path: &Path) -> Result<Simulated> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let file: File = serde_json::from_str(&text)
        .with_context(|| format!("{}: no results of traffic-lab simulate", path.display()))?;
    let figures = |cell: Cell| {
        let rows = cell.rows.into_iter().map(|row| (row.policy, row.median.p99)).collect();
        (cell.block, rows)
    };
    Ok(file.cells.into_iter().map(figures).collect())
}

/// What is read of the simulator's file.
#[derive(Deserialize)]
struct File {
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    block: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    policy: String,
    median: Median,
}

#[derive(Deserialize)]
struct Median {
    p99: f64,
}

/// Compares what both have.
pub(crate) fn compare(outcomes: &[Outcome], simulated: &Simulated) -> Vec<Agreement> {
    let mut agreements = Vec::new();
    for outcome in outcomes {
        let name = &outcome.scenario.name;
        let Some((_, theirs)) = simulated.iter().find(|(other, _)| same(other, name)) else { continue };
        let pairs = outcome.rows.iter().filter_map(|row| {
            let (_, simulated) = theirs.iter().find(|(policy, _)| same(policy, &row.policy))?;
            Some((row.policy.clone(), row.figures.get("p99_ms")?.median, *simulated))
        });
        let pairs: Vec<(String, f64, f64)> = pairs.collect();
        let values: Vec<(f64, f64)> = pairs.iter().map(|pair| (pair.1, pair.2)).collect();
        agreements.push(Agreement {
            scenario: name.clone(),
            tau: kendall(&values),
            p99_ratio: values.iter().map(|(measured, simulated)| measured / simulated).collect(),
            policies: pairs.into_iter().map(|pair| pair.0).collect(),
        });
    }
    agreements
}

fn same(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    plain(one) == plain(other)
}

/// Which of two figures is larger: 1, -1, or 0 where they tie.
fn order(one: f64, other: f64) -> i8 {
    let tied = (one - other).abs() <= TIE * one.min(other);
    if tied { 0 } else { one.total_cmp(&other) as i8 }
}

/// Kendall's tau-b: 1 for the same order, -1 for the reverse; `None` where either side has no order at all.
pub(crate) fn kendall(pairs: &[(f64, f64)]) -> Option<f64> {
    let (mut agree, mut left, mut right) = (0.0, 0.0, 0.0);
    for (index, one) in pairs.iter().enumerate() {
        for other in &pairs[index + 1..] {
            let [a, b] = [order(one.0, other.0), order(one.1, other.1)];
            agree += f64::from(a * b);
            left += f64::from(a.abs());
            right += f64::from(b.abs());
        }
    }
    let scale = f64::sqrt(left * right);
    (scale > 0.0).then(|| agree / scale)
}

/// The agreements as text.
pub(crate) fn text(agreements: &[Agreement]) -> String {
    let mut text = String::from("\nagainst the simulator\n");
    for Agreement { scenario, policies, tau, p99_ratio } in agreements {
        let count = policies.len();
        // Writing to a string cannot fail.
        let _ = match tau {
            Some(tau) => {
                let word = if *tau >= TAU_LEAST { "met   " } else { "MISSED" };
                writeln!(text, "{word} {scenario}: tau {tau:.2} of {count} policies, at least {TAU_LEAST}")
            }
            None => writeln!(text, "       {scenario}: no ranking in {count} policies"),
        };
        let must = P99_SCENARIOS.iter().any(|name| same(name, scenario));
        for (policy, ratio) in policies.iter().zip(p99_ratio) {
            let word = match (ratio - 1.0).abs() <= P99_APART_MOST {
                _ if !must => "      ",
                true => "met   ",
                false => "MISSED",
            };
            let _ = writeln!(text, "{word} {scenario}: {policy} p99 {ratio:.2} times the simulated");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tau_counts_pairs_in_the_same_order() {
        let tau = |values: &[(f64, f64)]| kendall(values).unwrap();
        assert!((tau(&[(1.0, 10.0), (2.0, 20.0), (3.0, 30.0)]) - 1.0).abs() < 1e-12);
        assert!((tau(&[(1.0, 30.0), (2.0, 20.0), (3.0, 10.0)]) + 1.0).abs() < 1e-12);
        // Five of six pairs agree.
        let swapped = [(1.0, 1.0), (2.0, 2.0), (3.0, 4.0), (4.0, 3.0)];
        assert!((tau(&swapped) - 4.0 / 6.0).abs() < 1e-12);
        // A tie on one side: two pairs agree, of 3 and of 2.
        let tied = [(1.0, 1.0), (1.0, 2.0), (2.0, 3.0)];
        assert!((tau(&tied) - 2.0 / 6f64.sqrt()).abs() < 1e-12);
        assert_eq!(kendall(&[(1.0, 1.0)]), None);
        assert_eq!(kendall(&[(100.0, 1.0), (102.0, 2.0)]), None, "a difference of 2 % is none");
    }

    #[test]
    fn names_match_whatever_their_dashes() {
        assert!(same("haproxy-leastconn", "HAProxy_leastconn") && !same("s1", "s13"));
    }

    #[test]
    fn agreement_is_told_by_scenario() {
        let agreement = Agreement {
            scenario: "S1".to_owned(),
            policies: vec!["a".to_owned(), "b".to_owned()],
            tau: Some(1.0),
            p99_ratio: vec![1.1, 1.3],
        };
        let text = text(&[agreement]);
        assert!(
            text.contains("met    S1: tau 1.00 of 2") && text.contains("met    S1: a p99 1.10"),
            "{text}"
        );
        assert!(text.contains("MISSED S1: b p99 1.30"), "{text}");
    }
}
