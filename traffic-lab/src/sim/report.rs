//! Results for people: a table per cell, then its bars, each with what it was measured against and why.

use std::fmt::Write as _;

use super::bars::{Judged, Verdict};
use super::metric::Metric;
use super::runs::Ran;
use super::scenario::Scenario;

/// Columns that every table has, and what their numbers are multiplied by.
const COLUMNS: [(Metric, &str, f64); 7] = [
    (Metric::P50, "p50 ms", 1.0),
    (Metric::P99, "p99 ms", 1.0),
    (Metric::P999, "p99.9 ms", 1.0),
    (Metric::ErrorShare, "error %", 100.0),
    (Metric::MissedShare, "late %", 100.0),
    (Metric::UtilMaxOverMean, "max/mean", 1.0),
    (Metric::WastedShare, "wasted %", 100.0),
];
/// Columns shown where they mean something.
const SOMETIMES: [(Metric, &str, f64); 11] = [
    (Metric::MessagesPerRequest, "msgs/req", 1.0),
    (Metric::CrossShare, "cross %", 100.0),
    (Metric::FaultyShare, "faulty %", 100.0),
    (Metric::FaultyFocus, "regained", 1.0),
    (Metric::FaultyFocusMax, "of one", 1.0),
    (Metric::RecoverS, "recover s", 1.0),
    (Metric::FocusRise, "rise", 1.0),
    (Metric::Goodput, "goodput", 1.0),
    (Metric::HeldMaxOverMean, "held", 1.0),
    (Metric::NewcomerFocus, "newcomer", 1.0),
    (Metric::NewcomerRise, "its rise", 1.0),
];

/// The text of a scenario's results.
pub(crate) fn text(scenario: &Scenario, judged: &[(Judged, Ran)]) -> String {
    let mut text = format!("\n{}: {}\n", scenario.name, scenario.about);
    if scenario.hold_out {
        text.push_str("(held out: nothing is tuned on it)\n");
    }
    for (judged, ran) in judged {
        table(&mut text, ran);
        judged.verdicts.iter().for_each(|verdict| bar(&mut text, verdict, ran));
        for (bar, missing) in &judged.left_out {
            let _ = writeln!(
                text,
                "  ----  {} {}: not judged, {missing} was not run",
                bar.policy,
                bar.metric.name()
            );
        }
    }
    text
}

// Writing to a string cannot fail, so results of `write!` are dropped.
fn table(text: &mut String, ran: &Ran) {
    let shows = |&&(metric, _, _): &&(Metric, &str, f64)| {
        let values = || ran.rows.iter().map(|row| row.median(metric));
        values().any(|value| value.is_finite() && value != 0.0)
    };
    let columns: Vec<_> = COLUMNS.iter().chain(SOMETIMES.iter().filter(shows)).collect();
    let seeds = ran.rows.first().map_or(0, |row| row.seeds.len());
    let runs = ran.rows.first().and_then(|row| row.seeds.first());
    let requests = runs.map_or(0, |(_, run)| run.requests);
    let _ = writeln!(text, "\n  {}   ({requests} requests, median of {seeds} seeds)", ran.cell.label());
    let _ = write!(text, "  {:28}", "");
    for (_, head, _) in &columns {
        let _ = write!(text, " {head:>9}");
    }
    for row in &ran.rows {
        let _ = write!(text, "\n  {:28}", row.policy.name);
        for &&(metric, _, scale) in &columns {
            let _ = write!(text, " {:>9}", number(row.median(metric) * scale));
        }
        let [low, high] = row.range(Metric::P99);
        if seeds > 1 {
            let _ = write!(text, "   p99 {}–{}", number(low), number(high));
        }
    }
    text.push('\n');
}

fn bar(text: &mut String, verdict: &Verdict, ran: &Ran) {
    let Verdict { policy, metric, value, limit, against, .. } = verdict;
    let (mark, sign) = (if verdict.passed { "pass" } else { "MISS" }, if verdict.upper { "≤" } else { "≥" });
    let _ = write!(text, "  {mark}  {policy} {} {} {sign} {}", metric.name(), number(*value), number(*limit));
    // Nothing is a share of 0.
    let excess = 100.0 * verdict.excess();
    let excess = if excess.is_finite() { format!("{excess:+.1} %") } else { "–".to_owned() };
    let _ = write!(text, " ({against}), {excess}");
    if !verdict.passed {
        let _ = write!(text, "\n        why: {}", verdict.reason);
        let cell = &ran.cell;
        let _ = write!(
            text,
            "\n        replay: traffic-lab simulate {} --cell '{}' --seed {}",
            cell.scenario,
            cell.label(),
            verdict.worst_seed
        );
    }
    text.push('\n');
}

/// A number in at most seven characters.
fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "–".to_owned()
    } else if value == 0.0 {
        "0".to_owned()
    } else if size >= 1_000.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (0.000_54, "0.0005"), (0.52, "0.52"), (96.04, "96.0"), (4_256.0, "4256")];
        assert!(cases.iter().all(|&(value, text)| number(value) == text));
        assert_eq!(number(f64::NAN), "–");
    }
}
