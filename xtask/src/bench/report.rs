//! The result as files: a table to read (`.md`), a chart (`.svg`) and everything measured (`.json`).
//!
//! How it fails: nothing is overwritten; a second run of the same name gets a number.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::environment::Environment;
use super::scenario::Scenario;
use super::summary::{Row, Spread};
use super::{Sample, chart};

/// Above this share of requests cut off at a window's end, a figure is marked as the upper bound it is.
const CUT_OFF_MAX: f64 = 0.02;

/// Everything about a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) environment: Environment,
    pub(crate) method: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) samples: Vec<Sample>,
}

impl Report {
    /// The table of every scenario.
    pub(crate) fn tables(&self) -> String {
        let mut out = String::new();
        let mut last: Option<Scenario> = None;
        for row in &self.rows {
            if last != Some(row.scenario) {
                let _ = write!(out, "\n## {}\n\n{HEAD}\n{RULER}\n", row.scenario);
                last = Some(row.scenario);
            }
            let _ = writeln!(
                out,
                "| {:<7} | {}{:>5.2} ({:.2}–{:.2}) | {} | {} | {:>6.0} | {:>5.0} | {:>5.0} | {:>5.1} | {} |",
                row.peer.name(),
                if row.cut_off > CUT_OFF_MAX { "≤ " } else { "" },
                row.cpu_us.median,
                row.cpu_us.min,
                row.cpu_us.max,
                ratio(row.to_haproxy),
                ratio(row.to_relay),
                row.requests_per_s.median,
                row.p50_us.median,
                row.p99_us.median,
                row.resident_mib,
                row.errors,
            );
        }
        for row in &self.rows {
            if let Some(times) = row.p99_to_haproxy {
                let (name, figures) = (row.peer.name(), ratio(Some(times)));
                let _ = writeln!(out, "\n{}: p99 of {name} is {figures} times HAProxy's.", row.scenario);
            }
            if let Some(times) = row.to_plain {
                let (name, plain) = (row.peer.name(), super::Peer::Ours.name());
                let figures = format!("{:.4}, {:.2} to {:.2}", times.median, times.min, times.max);
                let sure = times
                    .interval
                    .map(|[from, to]| format!("; 95 %: {from:.4} to {to:.4}"))
                    .unwrap_or_default();
                let _ = writeln!(
                    out,
                    "\n{}: {name} costs {figures}{sure}, times what {plain} does.",
                    row.scenario
                );
            }
        }
        out
    }

    /// Writes the three files; their common path without extension.
    pub(crate) fn save(&self, runs: &Path, name: &str) -> Result<PathBuf> {
        let json = serde_json::to_string_pretty(self)?;
        write(runs, &self.environment, name, &json, &|name| {
            let body = format!(
                "![CPU per request]({name}.svg)\n{}\nMedians over the rounds (least–most). Ratios are taken within each round.\n",
                self.tables()
            );
            let page = page(&self.environment, &self.method, &body);
            vec![
                ("svg", chart::svg(&self.rows)),
                ("md", format!("{page}\nEvery sample: [{name}.json]({name}.json).\n")),
            ]
        })
    }
}

/// A result as a page: what was found, how, and where.
pub(crate) fn page(environment: &Environment, method: &[String], body: &str) -> String {
    let mut out = format!("# Benchmark of {}\n\n{body}\n## How\n\n", environment.date);
    for line in method {
        let _ = writeln!(out, "- {line}");
    }
    out.push_str("\n## Where\n\n");
    let _ = writeln!(out, "- Commit {}", environment.commit);
    let _ = writeln!(out, "- {}, {} cores, Linux {}", environment.cpu, environment.cores, environment.kernel);
    let _ = writeln!(out, "- Load average before: {}", environment.load_average);
    for (program, version) in &environment.versions {
        let _ = writeln!(out, "- {program}: {version}");
    }
    out
}

/// Writes a result's files under a name that is free, and tells the others that name; their common path without extension.
pub(crate) fn write(
    runs: &Path,
    environment: &Environment,
    name: &str,
    json: &str,
    others: &dyn Fn(&str) -> Vec<(&'static str, String)>,
) -> Result<PathBuf> {
    let directory = runs.join(environment.slug());
    std::fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let names = std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{name}-{number}")));
    let free = names.into_iter().find(|name| !directory.join(format!("{name}.json")).exists());
    let name = free.unwrap_or_else(|| name.to_owned());
    let mut files = vec![("json", format!("{json}\n"))];
    files.extend(others(&name));
    for (extension, text) in files {
        let file = directory.join(format!("{name}.{extension}"));
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(directory.join(name))
}

const HEAD: &str = "| proxy | CPU µs/request | × HAProxy | × relay (limit) | requests/s | p50 µs | p99 µs | RSS MiB | errors |";
const RULER: &str = "|---|---|---|---|---|---|---|---|---|";

fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "–".to_owned(), |of| format!("{:.2} ({:.2}–{:.2})", of.median, of.min, of.max))
}
