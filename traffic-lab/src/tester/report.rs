//! What a run came to, in lines for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::results::{Quantiles, Run};

/// The table that is printed at a run's end.
pub(crate) fn text(run: &Run, file: &Path) -> String {
    let summary = &run.summary;
    let good = summary.requests - summary.failed;
    let mut text = format!(
        "{}\n\nrequests    {} in {:.2} s: {good} good, {} failed\nthroughput  {:.1} good answers a second\n",
        run.target, summary.requests, summary.seconds, summary.failed, summary.throughput
    );
    let _ =
        writeln!(text, "\n{:12}{}", "ms", ["mean", "p50", "p90", "p99", "p99.9", "max"].map(right).concat());
    let rows = [
        ("latency", summary.latency_ms, "from when due to the last byte"),
        ("service", summary.service_ms, "from sending to the last byte"),
        ("queue", summary.queued_ms, "from when due to sending: the client's own"),
    ];
    for (name, quantiles, meaning) in rows {
        // Without a good answer there is no latency; 0 would look like the best one.
        let figures = if good > 0 || name == "queue" { figures(&quantiles) } else { right("none") };
        let _ = writeln!(text, "{name:12}{figures}   {meaning}");
    }
    counts(&mut text, "status", &summary.statuses);
    counts(&mut text, "no answer", &summary.errors);
    counts(&mut text, "instance", &summary.instances);
    if let Some(clock) = run.clock {
        let (ahead, within) = (clock.ahead_s * 1e3, clock.within_s * 1e3);
        let _ = writeln!(text, "\nthe server's clock is ahead by {ahead:.3} ms, within {within:.3} ms");
    }
    let _ = writeln!(text, "\nkept in {}", file.display());
    text
}

fn figures(quantiles: &Quantiles) -> String {
    let Quantiles { mean, p50, p90, p99, p999, max } = quantiles;
    [mean, p50, p90, p99, p999, max].map(|value| right(&format!("{value:.3}"))).concat()
}

fn right(text: &str) -> String {
    format!("{text:>11}")
}

fn counts<T: std::fmt::Display>(text: &mut String, title: &str, counts: &BTreeMap<T, u64>) {
    if counts.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    for (name, count) in counts {
        let _ = writeln!(text, "  {:24}{count:>10}", name.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{ClockDifference, Record, Summary};

    #[test]
    fn the_table_says_what_was_counted() {
        let good = Record {
            instance: Some("S1".to_owned()),
            req_due_time: Some(10.0),
            req_snd_time: 10.001,
            resp_rcv_time: 10.011,
            status: Some(200),
            ..Record::default()
        };
        let bad = Record {
            req_snd_time: 10.5,
            resp_rcv_time: 12.0,
            error: Some("refused".to_owned()),
            ..Record::default()
        };
        let records = vec![good, bad];
        let run = Run {
            version: 1,
            id: "x".to_owned(),
            title: None,
            target: "http://x/".to_owned(),
            started: 10.0,
            sending: crate::results::Sending::default(),
            clock: Some(ClockDifference { ahead_s: 0.25, within_s: 0.0001 }),
            summary: Summary::of(&records),
            records,
        };
        let text = text(&run, Path::new("results/x.json"));
        for part in [
            "2 in 2.00 s: 1 good, 1 failed",
            "0.5 good answers a second",
            "latency          11.",
            "refused                          1",
            "S1                               1",
            "ahead by 250.000 ms, within 0.100 ms",
            "kept in results/x.json",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }
}
