//! Whether expectations hold: each bar of a scenario against the medians of each of its cells.
//!
//! A bar whose policy or reference was not run is left out and said to be, not passed. A metric that means nothing in a cell misses.

use super::metric::Metric;
use super::policies::Class;
use super::runs::{Ran, Row};
use super::scenario::Bar;

/// A bar in a cell.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// Of whom it is expected.
    pub(crate) policy: String,
    /// What is measured.
    pub(crate) metric: Metric,
    /// The measurement, a median.
    pub(crate) value: f64,
    /// The limit.
    pub(crate) limit: f64,
    /// Whether the limit is an upper one.
    pub(crate) upper: bool,
    /// Where the limit comes from.
    pub(crate) against: String,
    /// Why this limit.
    pub(crate) reason: String,
    /// Whether it holds.
    pub(crate) passed: bool,
    /// The seed with the worst measurement.
    pub(crate) worst_seed: u64,
}

impl Verdict {
    /// How far the measurement is from the limit, as a share of it; positive is a miss. No number where the limit is 0.
    pub(crate) fn excess(&self) -> f64 {
        let over = (self.value - self.limit) / self.limit.abs();
        let over = if self.limit == 0.0 { f64::NAN } else { over };
        if self.upper { over } else { -over }
    }
}

/// What became of a cell's bars.
#[derive(Debug, Clone, Default)]
pub(crate) struct Judged {
    /// Those that could be judged.
    pub(crate) verdicts: Vec<Verdict>,
    /// The others, each with what was not run.
    pub(crate) left_out: Vec<(Bar, String)>,
}

/// Judges a cell, which is among `all` that were run.
pub(crate) fn judge(bars: &[Bar], ran: &Ran, all: &[Ran]) -> Judged {
    let here = |bar: &&Bar| {
        bar.cells.as_ref().is_none_or(|cells| cells.contains(&ran.cell.block))
            && bar.balancers.as_ref().is_none_or(|counts| counts.contains(&ran.cell.balancers))
    };
    let mut judged = Judged::default();
    for bar in bars.iter().filter(here) {
        match verdict(bar, ran, all) {
            Some(verdict) => judged.verdicts.push(verdict),
            None => {
                let missing = [Some(&bar.policy), bar.times.as_ref()].into_iter().flatten();
                let missing = missing.filter(|name| ran.row(name).is_none());
                let mut names: Vec<&str> = missing.map(String::as_str).collect();
                if names.is_empty() {
                    names.push("the cell it is held against");
                }
                judged.left_out.push((bar.clone(), names.join(" or ")));
            }
        }
    }
    judged
}

fn verdict(bar: &Bar, ran: &Ran, all: &[Ran]) -> Option<Verdict> {
    let row = ran.row(&bar.policy)?;
    let factor = bar.at_most.or(bar.at_least)?;
    let upper = bar.at_most.is_some();
    let (limit, against) = match &bar.times {
        None => (factor, "absolute".to_owned()),
        Some(name) => {
            let count = bar.times_balancers.unwrap_or(ran.cell.balancers);
            let alike = |other: &&Ran| other.cell.block == ran.cell.block && other.cell.rho == ran.cell.rho;
            let there = all.iter().filter(alike).find(|other| other.cell.balancers == count)?;
            let other = reference(there, name, bar.metric, upper)?;
            let shown = if other.policy.name == name { String::new() } else { format!("{name} = ") };
            let with = bar.times_balancers.map_or_else(String::new, |count| format!(" with M={count}"));
            (factor * other.median(bar.metric), format!("{factor} × {shown}{}{with}", other.policy.name))
        }
    };
    let value = row.median(bar.metric);
    let passed = if upper { value <= limit } else { value >= limit };
    let signed = |x: f64| if upper { x } else { -x };
    let of = |run: &super::world::Outcomes| signed(run.numbers.get(bar.metric));
    let worst = row.seeds.iter().max_by(|(_, a), (_, b)| of(a).total_cmp(&of(b)))?;
    Some(Verdict {
        policy: bar.policy.clone(),
        metric: bar.metric,
        value,
        limit,
        upper,
        against,
        reason: bar.reason.clone(),
        passed,
        worst_seed: worst.0,
    })
}

/// Names of classes that a bar may compare with.
pub(crate) const CLASSES: [&str; 3] = ["oracle", "best_peer", "best_probing"];

/// The row that a bar compares with: a policy's, or the best of a class.
fn reference<'a>(ran: &'a Ran, name: &str, metric: Metric, upper: bool) -> Option<&'a Row> {
    let classes: &[Class] = match name {
        "oracle" => &[Class::Oracle],
        "best_peer" => &[Class::Peer, Class::Probing],
        "best_probing" => &[Class::Probing],
        _ => return ran.row(name),
    };
    let signed = |row: &Row| if upper { row.median(metric) } else { -row.median(metric) };
    // Who fails requests is no reference for latency: failing the slow ones makes the rest look fast.
    let least = ran.rows.iter().map(|row| row.median(Metric::ErrorShare)).fold(f64::INFINITY, f64::min);
    let sound = |row: &&Row| row.median(Metric::ErrorShare) <= least + ERRORS_ALLOWED;
    let of_class = || ran.rows.iter().filter(|row| classes.contains(&row.policy.class));
    let best = |rows: Vec<&'a Row>| rows.into_iter().min_by(|a, b| signed(a).total_cmp(&signed(b)));
    best(of_class().filter(sound).collect()).or_else(|| best(of_class().collect()))
}

/// Errors more than the least of all rows that a reference may have: a per mille.
const ERRORS_ALLOWED: f64 = 0.001;
