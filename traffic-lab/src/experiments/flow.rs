//! Row F's run: requests with lognormal service times flow through a balancer over four instances; the dashboard shows them.
//!
//! Each instance serves two at once, so that there is something to balance: a service that only waits never queues.

use anyhow::Result;
use serde_json::json;

use super::Lab;
use super::load::send;
use super::report::Report;
use super::stage::{Setup, Stage};
use super::table::Table;
use crate::chart::{Line, Lines};
use crate::clock;
use crate::results::{self, Record, Run};
use crate::tester::{Arrivals, Pace, Plan};

/// Requests a second: about six tenths of what the instances can do.
const RATE: f64 = 550.0;
/// Requests of a run.
const REQUESTS: u64 = 6_000;
const REQUESTS_QUICK: u64 = 1_000;
/// What an instance serves at once.
const AT_ONCE: u32 = 2;
/// Row F's first algorithm and its later one.
const ALGORITHMS: [&str; 2] = ["round_robin", "min_eta"];
/// Width of the windows in which requests are counted, seconds.
const WINDOW_S: f64 = 0.5;

/// Both algorithms over the same arrivals.
pub(crate) async fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(lab, "flow", "The flow visualizer's run");
    let requests = if lab.quick { REQUESTS_QUICK } else { REQUESTS };
    let columns = ["algorithm", "requests", "failed", "p50 ms", "p90 ms", "p99 ms", "by instance", "run"];
    let title = format!("/bench?slow=1 at {RATE} requests a second (Poisson) over four instances");
    let mut table = Table::new(&title, &columns);
    let mut runs = Vec::new();
    for algorithm in ALGORITHMS {
        let replicas = (1..=4).map(|number| format!("instance{number}")).collect();
        let stage = Stage::start(lab, &Setup { algorithm, replicas, ..Setup::default() }).await?;
        for name in stage.addresses().await?.into_keys() {
            stage.fault(&name, &json!({"capacity": AT_ONCE})).await?;
        }
        let run = send(Plan {
            id: Some(format!("flow-{algorithm}-{}", clock::unix_seconds())),
            title: Some(format!("flow, {algorithm}")),
            pace: Pace::Open { rate: RATE, arrivals: Arrivals::Poisson },
            seed: lab.seed,
            ..Plan::new(&stage.url("/bench?slow=1"), requests)
        })
        .await?;
        stage.stop().await?;
        let file = results::write(&lab.runs, &run)?;
        let latency = run.summary.latency_ms;
        let shares: Vec<String> = run.summary.instances.values().map(u64::to_string).collect();
        table.row(vec![
            algorithm.to_owned(),
            run.summary.requests.to_string(),
            run.summary.failed.to_string(),
            format!("{:.1}", latency.p50),
            format!("{:.1}", latency.p90),
            format!("{:.1}", latency.p99),
            shares.join(" / "),
            file.display().to_string(),
        ]);
        runs.push(run);
    }
    report.tables.push(table);
    report.chart("rate", rates(&runs));
    report.chart("active", active(&runs));
    let failed: u64 = runs.iter().map(|run| run.summary.failed).sum();
    report.check(failed == 0, "no request fails", failed.to_string());
    let whole = |record: &&Record| record.processing().is_some() && record.instance.is_some();
    let timed = runs.iter().flat_map(|run| &run.records).filter(whole).count();
    report.check(
        timed as u64 == requests * 2,
        "every record has all four times and its instance",
        timed.to_string(),
    );
    report.remark(
        "`traffic-lab dashboard` shows both runs, side by side if wanted. A rate over all the time so far, as the cumulative curve \
         has it, hides what happens now: the windowed one beside it is what moves.",
    );
    report.figure("summaries", runs.iter().map(|run| &run.summary).collect::<Vec<_>>())?;
    Ok(report)
}

fn span(run: &Run) -> (f64, f64) {
    let first = run.records.iter().map(|record| record.due()).fold(f64::INFINITY, f64::min);
    (first, run.records.iter().map(|record| record.resp_rcv_time).fold(first, f64::max))
}

/// Requests a second of the first run, windowed and over all the time so far.
fn rates(runs: &[Run]) -> String {
    let mut lines = Vec::new();
    for run in runs.iter().take(1) {
        let (first, last) = span(run);
        let windows = ((last - first) / WINDOW_S).floor() as usize;
        let mut counts = vec![0_u32; windows];
        for record in &run.records {
            if let Some(count) = counts.get_mut(((record.resp_rcv_time - first) / WINDOW_S) as usize) {
                *count += 1;
            }
        }
        let end = |at: usize| (at + 1) as f64 * WINDOW_S;
        let mut sum = 0.0;
        let mut total = Vec::new();
        let mut windowed = Vec::new();
        for (at, count) in counts.into_iter().enumerate() {
            sum += f64::from(count);
            total.push((end(at), sum / end(at)));
            windowed.push((end(at), f64::from(count) / WINDOW_S));
        }
        lines.push(Line { name: "in each half second".to_owned(), points: windowed, band: Vec::new() });
        lines.push(Line { name: "over all so far".to_owned(), points: total, band: Vec::new() });
    }
    let title = format!("Answers a second ({})", ALGORITHMS[0]);
    Lines {
        title,
        x_label: "seconds".to_owned(),
        y_label: "requests a second".to_owned(),
        lines,
        ..Lines::default()
    }
    .svg()
}

/// Requests under way by time, one line for each algorithm.
fn active(runs: &[Run]) -> String {
    let line = |(run, name): (&Run, &str)| {
        let (first, last) = span(run);
        let mut steps: Vec<(f64, f64)> = run
            .records
            .iter()
            .flat_map(|r| [(r.due() - first, 1.0), (r.resp_rcv_time - first, -1.0)])
            .collect();
        steps.sort_by(|a, b| a.0.total_cmp(&b.0));
        // As many points as can be told apart.
        let step = (last - first) / 400.0;
        let (mut now, mut at) = (0.0, 0);
        let mut points = Vec::new();
        for point in 0..=400 {
            let time = f64::from(point) * step;
            while let Some((_, change)) = steps.get(at).filter(|(when, _)| *when <= time) {
                now += change;
                at += 1;
            }
            points.push((time, now));
        }
        Line { name: name.to_owned(), points, band: Vec::new() }
    };
    let lines = runs.iter().zip(ALGORITHMS).map(line).collect();
    let title = "Requests under way".to_owned();
    Lines { title, x_label: "seconds".to_owned(), y_label: "requests".to_owned(), lines, ..Lines::default() }
        .svg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_under_way_from_due_to_their_end() {
        let record = |due: f64, end: f64| Record {
            req_due_time: Some(due),
            req_snd_time: due,
            resp_rcv_time: end,
            status: Some(200),
            ..Record::default()
        };
        let run: Run = serde_json::from_str(r#"{"version":1,"id":"x","records":[]}"#).unwrap();
        let run = Run { records: vec![record(0.0, 4.0), record(1.0, 2.0), record(1.0, 4.0)], ..run };
        assert_eq!(span(&run), (0.0, 4.0));
        let svg = active(&[run.clone(), run.clone()]);
        assert_eq!(svg.matches("class=\"line\"").count(), 2, "{svg}");
        assert_eq!(rates(&[run]).matches("class=\"line\"").count(), 2);
    }
}
