//! All algorithms at one offered rate, over equal, unequal, slow and failing backends.
//!
//! An open loop: a slow backend does not slow the sending. Checks and ejection are off, so that what differs is the
//! algorithm alone, and nobody is told weights. Each cell has a fresh balancer, fresh backends and the same arrivals.

use std::time::Duration;

use anyhow::Result;
use lb_core::Algorithm;
use serde::Serialize;
use serde_json::{Value, json};

use super::Lab;
use super::load::send;
use super::report::Report;
use super::stage::{Setup, Stage, servers};
use super::table::Table;
use crate::chart::Bars;
use crate::results::{Record, Summary};
use crate::tester::{Arrivals, Pace, Plan};

/// Requests a second: half of what four backends of two slots can do at 8.3 ms each.
const RATE: f64 = 500.0;
/// Measured, seconds, after [`WARM_UP_S`] that are not.
const SECONDS: f64 = 6.0;
const SECONDS_QUICK: f64 = 2.0;
const WARM_UP_S: f64 = 1.0;
/// A request that takes longer counts as failed: what piles up at an overloaded backend has no end of its own.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where every client seems to be somebody else, so that `ip_hash` has something to hash.
const CLIENT: &str = "10.{random:250}.{random:250}.{random:250}";
const SETTINGS: &str = "[client]\ntrusted_proxies = [\"127.0.0.0/8\"]\n[health]\nenabled = false\n\
    [ejection]\nenabled = false\n[signals]\nsource = \"metrics\"\ninterval = \"1s\"\ntimeout = \"500ms\"\n";
/// What takes part in a quick run.
const QUICK: [&str; 3] = ["round_robin", "least_connections", "adaptive"];

/// What the unequal backends serve at once.
const SLOTS: [u32; 4] = [1, 2, 2, 3];

/// A setting: its name, what it is, and what `/fault` is told each of four backends.
type Setting = (&'static str, &'static str, fn(usize) -> Value);
const SETTINGS_OF: [Setting; 4] = [
    ("equal", "four backends that serve two requests at once", |_| json!({"capacity": 2})),
    (
        "unequal",
        "they serve one, two, two and three at once",
        |at| json!({"capacity": SLOTS[at % SLOTS.len()]}),
    ),
    (
        "slow",
        "one of them takes 40 ms longer",
        |at| json!({"capacity": 2, "latency_ms": if at == 3 { 40 } else { 0 }}),
    ),
    (
        "failing",
        "one of them answers half of its requests with 500, at once",
        |at| json!({"capacity": 2, "error_rate": if at == 3 { 0.5 } else { 0.0 }}),
    ),
];

/// What one algorithm came to in one setting.
#[derive(Clone, Debug, Serialize)]
struct Cell {
    setting: &'static str,
    algorithm: &'static str,
    requests: u64,
    error_percent: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Share of the requests that the last backend (the odd one) answered, in percent.
    last_percent: f64,
}

/// Every algorithm in every setting.
pub(crate) async fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(lab, "algorithms", "All algorithms at one rate");
    let names: Vec<&str> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
    let takes_part = |name: &&str| !lab.quick || QUICK.contains(name);
    let mut cells = Vec::new();
    for (setting, _, fault) in SETTINGS_OF.iter().filter(|(name, ..)| !lab.quick || *name != "unequal") {
        for algorithm in names.iter().copied().filter(takes_part) {
            let cell = measure(lab, setting, algorithm, *fault).await?;
            eprintln!(
                "{setting}, {algorithm}: p99 {:.1} ms, {:.2} % errors",
                cell.p99_ms, cell.error_percent
            );
            cells.push(cell);
        }
    }
    tell(&mut report, &cells)?;
    Ok(report)
}

async fn measure(
    lab: &Lab,
    setting: &'static str,
    algorithm: &'static str,
    fault: fn(usize) -> Value,
) -> Result<Cell> {
    let names = servers(4);
    let setup = Setup { algorithm, replicas: names.clone(), more: SETTINGS, ..Setup::default() };
    let stage = Stage::start(lab, &setup).await?;
    for (at, name) in names.iter().enumerate() {
        stage.fault(name, &fault(at)).await?;
    }
    let seconds = if lab.quick { SECONDS_QUICK } else { SECONDS };
    let run = send(Plan {
        headers: vec![("x-forwarded-for".to_owned(), CLIENT.to_owned())],
        requests: None,
        duration: Some(Duration::from_secs_f64(WARM_UP_S + seconds)),
        pace: Pace::Open { rate: RATE, arrivals: Arrivals::Poisson },
        timeout: PATIENCE,
        seed: lab.seed,
        ..Plan::new(&stage.url("/bench?slow=1&request_id={n}"), 1)
    })
    .await?;
    stage.stop().await?;
    let begin = run.started + WARM_UP_S;
    let measured: Vec<Record> = run.records.into_iter().filter(|record| record.due() >= begin).collect();
    Ok(Cell::of(setting, algorithm, &Summary::of(&measured), &names[3]))
}

impl Cell {
    fn of(setting: &'static str, algorithm: &'static str, summary: &Summary, last: &str) -> Self {
        let share = |count: u64| 100.0 * count as f64 / summary.requests.max(1) as f64;
        Self {
            setting,
            algorithm,
            requests: summary.requests,
            error_percent: share(summary.failed),
            p50_ms: summary.latency_ms.p50,
            p99_ms: summary.latency_ms.p99,
            last_percent: share(summary.instances.get(last).copied().unwrap_or(0)),
        }
    }
}

fn tell(report: &mut Report, cells: &[Cell]) -> Result<()> {
    for (setting, what, _) in SETTINGS_OF {
        let own: Vec<&Cell> = cells.iter().filter(|cell| cell.setting == setting).collect();
        if own.is_empty() {
            continue;
        }
        let columns = ["algorithm", "requests", "p50 ms", "p99 ms", "errors %", "server4's good answers %"];
        let mut table = Table::new(&format!("{setting}: {what}; {RATE} requests a second"), &columns);
        for cell in &own {
            table.row(vec![
                cell.algorithm.to_owned(),
                cell.requests.to_string(),
                format!("{:.1}", cell.p50_ms),
                format!("{:.1}", cell.p99_ms),
                format!("{:.2}", cell.error_percent),
                format!("{:.1}", cell.last_percent),
            ]);
        }
        report.tables.push(table);
        report.chart(setting, chart(setting, what, &own));
    }
    let find = |setting: &str, algorithm: &str| {
        cells.iter().find(|cell| (cell.setting, cell.algorithm) == (setting, algorithm))
    };
    for setting in ["slow", "failing"] {
        // Percentiles are of good answers: who lets the late ones fail has a low one.
        let value = |cell: &Cell| (cell.error_percent, cell.p99_ms);
        let pair = find(setting, "adaptive").zip(find(setting, "round_robin"));
        let better = pair.is_some_and(|(ours, theirs)| value(ours) < value(theirs));
        let expected =
            format!("{setting}: adaptive has fewer errors than round_robin, or as few and a lower p99");
        let told = |cell: &Cell| format!("{:.2} % and {:.1} ms", cell.error_percent, cell.p99_ms);
        let seen = pair.map(|(ours, theirs)| format!("{}, against {}", told(ours), told(theirs)));
        report.check(better, &expected, seen.unwrap_or_else(|| "not measured".to_owned()));
    }
    report.remark(
        "Row G published no measurements of its algorithms. They are compared in an open loop: in a closed one a slow answer delays the \
         next request, and the worse algorithm would be offered less load.",
    );
    report.remark(
        "A request that takes longer than 3 s counts as an error; percentiles are of good answers, from when each was due. With checks and \
         ejection on, as they are by default, a failing backend is out after some requests whatever the algorithm.",
    );
    report.figure("cells", cells)
}

fn chart(setting: &str, what: &str, cells: &[&Cell]) -> String {
    let values =
        |of: fn(&Cell) -> f64| cells.iter().map(|cell| Some((of(cell) * 10.0).round() / 10.0)).collect();
    let mut series = vec![
        ("p50, ms".to_owned(), values(|cell| cell.p50_ms)),
        ("p99, ms".to_owned(), values(|cell| cell.p99_ms)),
    ];
    let mut y_label = "milliseconds, logarithmic";
    if cells.iter().any(|cell| cell.error_percent > 0.0) {
        series.push(("errors, %".to_owned(), values(|cell| cell.error_percent)));
        y_label = "milliseconds and percent, logarithmic";
    }
    Bars {
        title: format!("{setting}: {what}"),
        y_label: y_label.to_owned(),
        groups: cells.iter().map(|cell| short(cell.algorithm)).collect(),
        series,
        log: true,
        ..Bars::default()
    }
    .svg()
}

/// A name that fits below its bars.
fn short(name: &str) -> String {
    name.replace("weighted_round_robin", "weighted_rr")
        .replace("least_response_time", "least_resp_t")
        .replace("least_connections", "least_conn")
        .replace("consistent_hash", "cons_hash")
        .replace("power_of_two_choices", "p2c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_of_all_requests_and_the_odd_backends_share_of_its_good_answers() {
        let mut summary = Summary { requests: 200, failed: 10, ..Summary::default() };
        summary.instances.insert("server4".to_owned(), 50);
        let cell = Cell::of("slow", "adaptive", &summary, "server4");
        assert!((cell.error_percent - 5.0).abs() < 1e-9 && (cell.last_percent - 25.0).abs() < 1e-9);
    }

    #[test]
    fn a_worse_adaptive_fails_the_expectation() {
        let cell = |setting, algorithm, p99_ms, error_percent| Cell {
            setting,
            algorithm,
            requests: 1_000,
            error_percent,
            p50_ms: 5.0,
            p99_ms,
            last_percent: 25.0,
        };
        let good = [
            cell("slow", "round_robin", 900.0, 1.0),
            cell("slow", "adaptive", 40.0, 1.0),
            cell("failing", "round_robin", 40.0, 12.5),
            cell("failing", "adaptive", 40.0, 1.0),
        ];
        let holds = |cells: &[Cell]| {
            let mut report = Report::new(&Lab::nowhere(), "algorithms", "x");
            tell(&mut report, cells).unwrap();
            report.holds()
        };
        assert!(holds(&good) && !holds(&good[..3]));
        let mut worse = good.clone();
        worse[1].p99_ms = 950.0;
        assert!(!holds(&worse));
    }

    #[test]
    fn what_a_quick_run_compares_exists() {
        assert!(QUICK.iter().all(|name| Algorithm::ALL.iter().any(|algorithm| algorithm.name() == *name)));
        assert_eq!(SETTINGS_OF[1].2(3), json!({"capacity": 3}));
    }
}
