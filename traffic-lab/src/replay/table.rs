//! What was measured beside what is predicted, as text: latencies, who served how many, and what was assumed.

use std::fmt::Write as _;

use super::pool::Pool;
use super::slots::Found;
use crate::results::{Loop, Quantiles, Run};

/// A figure of a run.
type Figure = fn(&Quantiles) -> f64;

/// Columns of latencies.
const LATENCIES: [(&str, Figure); 6] = [
    ("mean", |q| q.mean),
    ("p50", |q| q.p50),
    ("p90", |q| q.p90),
    ("p99", |q| q.p99),
    ("p99.9", |q| q.p999),
    ("max", |q| q.max),
];

/// The text. `predicted` are runs with as many records as `run`.
// Writing to a string cannot fail, so results of `write!` are dropped.
pub(super) fn text(run: &Run, pool: &Pool, predicted: &[Run], signals: bool) -> String {
    let mut text = String::new();
    let algorithm = run.sending.algorithm.as_deref();
    let _ = writeln!(
        text,
        "replay of {}: {} requests in {:.1} s",
        run.id,
        run.records.len(),
        run.summary.seconds
    );
    let _ = write!(text, "\n  {:34}{:>9}{:>8}", "ms from sending to the end", "requests", "failed");
    LATENCIES.iter().for_each(|(name, _)| _ = write!(text, "{name:>9}"));
    let _ = writeln!(text, "{:>8}", "same");
    row(&mut text, &format!("measured, {}", algorithm.unwrap_or("whatever the balancer chose")), run, None);
    for prediction in predicted {
        let name = prediction.sending.algorithm.as_deref().unwrap_or_default();
        row(&mut text, &format!("predicted, {name}"), prediction, Some(same(run, prediction)));
        if algorithm == Some(name) {
            let _ = write!(text, "  {:51}", "  predicted over measured, less 1");
            for (_, of) in LATENCIES {
                let off = of(&prediction.summary.service_ms) / of(&run.summary.service_ms) - 1.0;
                let _ = write!(text, "{:>9}", format!("{:+.1}%", 100.0 * off));
            }
            text.push('\n');
        }
    }
    backends(&mut text, run, pool, predicted);
    text.push_str("\n  Assumed:\n");
    for note in notes(run, pool, predicted, signals) {
        let _ = writeln!(text, "  - {note}");
    }
    text
}

fn row(text: &mut String, name: &str, run: &Run, same: Option<f64>) {
    let _ = write!(text, "  {name:34}{:>9}{:>8}", run.summary.requests, run.summary.failed);
    LATENCIES.iter().for_each(|(_, of)| _ = write!(text, "{:>9.2}", of(&run.summary.service_ms)));
    let same = same.map_or(String::new(), |same| format!("{:.1}%", 100.0 * same));
    let _ = writeln!(text, "{same:>8}");
}

/// The share of requests that went where they went, of those that say where.
fn same(run: &Run, prediction: &Run) -> f64 {
    let both = run.records.iter().zip(&prediction.records).filter(|(was, _)| was.instance.is_some());
    let (same, all) = both.fold((0u64, 0u64), |(same, all), (was, is)| {
        (same + u64::from(was.instance == is.instance), all + 1)
    });
    same as f64 / all.max(1) as f64
}

fn backends(text: &mut String, run: &Run, pool: &Pool, predicted: &[Run]) {
    let _ = write!(text, "\n  {:18}{:>7}{:>8}{:>8}{:>12}", "backend", "slots", "speed", "weight", "measured");
    for prediction in predicted {
        let _ = write!(text, "  {}", prediction.sending.algorithm.as_deref().unwrap_or_default());
    }
    text.push('\n');
    let count = |run: &Run, name: &str| run.summary.instances.get(name).copied().unwrap_or(0);
    for (server, found) in pool.servers.iter().zip(&pool.found) {
        let mark = if *found == Found::Most { "≥" } else { "" };
        let slots = format!("{mark}{}", server.slots);
        let measured = count(run, &server.name);
        let _ = write!(text, "  {:18}{slots:>7}{:>8.3}", server.name, server.speed);
        let _ = write!(text, "{:>8}{measured:>12}", server.weight);
        for prediction in predicted {
            let width = prediction.sending.algorithm.as_ref().map_or(0, String::len) + 2;
            let _ = write!(text, "{:>width$}", count(prediction, &server.name));
        }
        text.push('\n');
    }
}

fn notes(run: &Run, pool: &Pool, predicted: &[Run], signals: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let way = if pool.way > 0.0 {
        format!("less {:.3} ms of way, the shortest tenth of what backends' own times leave", 1e3 * pool.way)
    } else {
        "way and balancer included, since backends tell no times".to_owned()
    };
    notes.push(format!(
        "A request's work is what it took from sending to its end, {way}, without its wait for a slot."
    ));
    if pool.found.contains(&Found::Queue) {
        notes.push("Slots follow from requests that waited for one another.".to_owned());
    }
    if pool.found.contains(&Found::Most) {
        notes.push(
            "Slots with ≥ are the most requests that were there at once: no queue was seen, so beyond them the \
             prediction is too slow."
                .to_owned(),
        );
    }
    notes.push(
        "Speed is the median of all requests' work over the backend's own where chance does not explain the \
         difference, else 1; slots are given in the order of arrival."
            .to_owned(),
    );
    if run.sending.kind == Loop::Closed {
        notes.push(
            "The run was a closed loop: its requests come when they came, though a faster or slower algorithm would \
             have made clients send earlier or later."
                .to_owned(),
        );
    }
    let unnamed = run.records.iter().filter(|record| record.good() && record.instance.is_none()).count();
    if unnamed > 0 {
        notes.push(format!(
            "{unnamed} good answers do not say whose they are: their wait for a slot is part of their work."
        ));
    }
    let failed = run.summary.failed;
    if failed > 0 {
        notes.push(format!(
            "{failed} requests failed; they are sent too, with the work of the good one before them, and backends do \
             not fail here."
        ));
    }
    if pool.servers.iter().all(|server| server.region == pool.servers[0].region) {
        notes.push("No regions: all backends are as far for all clients.".to_owned());
    } else {
        notes.push(format!("Regions {}; the way to each costs alike.", pool.regions.join(", ")));
    }
    let asked = |name: &str| predicted.iter().any(|p| p.sending.algorithm.as_deref() == Some(name));
    if asked("adaptive") {
        let learns = if signals { "scrapes the backends every second" } else { "has no [signals]" };
        notes.push(format!("adaptive {learns}."));
    }
    let addresses =
        run.records.iter().any(|r| r.key.as_ref().is_some_and(|key| key.parse::<std::net::IpAddr>().is_ok()));
    if asked("ip_hash") && !addresses {
        notes.push("No key is an address: to ip_hash all requests come from 127.0.0.1.".to_owned());
    }
    if asked("consistent_hash") && run.records.iter().all(|record| record.key.is_none()) {
        notes.push("No record has a key: consistent_hash takes the client's address, 127.0.0.1.".to_owned());
    }
    notes
}
