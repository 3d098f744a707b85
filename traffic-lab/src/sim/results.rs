//! Results for programs: one JSON file a scenario with every cell, policy, seed and bar, and a chart a cell.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::bars::{Judged, Verdict};
use super::chart;
use super::metric::{Metric, Numbers};
use super::runs::{Ran, Row};
use super::scenario::Scenario;
use super::tally::CURVE;

/// Writes them into `directory`, which is made where it does not exist.
pub(crate) fn write(directory: &Path, scenario: &Scenario, judged: &[(Judged, Ran)]) -> Result<()> {
    let put = |name: String, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let cells: Vec<Value> = judged.iter().map(|(judged, ran)| cell(&judged.verdicts, ran)).collect();
    let all = json!({
        "scenario": scenario.name,
        "about": scenario.about,
        "hold_out": scenario.hold_out,
        "percentiles": CURVE,
        "cells": cells,
    });
    put(format!("{}.json", scenario.name), serde_json::to_string_pretty(&all)?)?;
    for (_, ran) in judged {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let label: String = ran.cell.label().replace('ρ', "rho").chars().map(plain).collect();
        put(format!("{}--{label}.svg", scenario.name), chart::svg(ran))?;
    }
    Ok(())
}

fn cell(verdicts: &[Verdict], ran: &Ran) -> Value {
    json!({
        "label": ran.cell.label(),
        "block": ran.cell.block,
        "rho": ran.cell.rho,
        "balancers": ran.cell.balancers,
        "rows": ran.rows.iter().map(row).collect::<Vec<_>>(),
        "bars": verdicts.iter().map(bar).collect::<Vec<_>>(),
    })
}

fn row(row: &Row) -> Value {
    let seeds: Vec<Value> = row
        .seeds
        .iter()
        .map(|(seed, run)| {
            json!({
                "seed": seed,
                "requests": run.requests,
                "log": format!("{:016x}", run.log),
                "traffic": format!("{:016x}", run.traffic),
                "metrics": numbers(&run.numbers),
                "curve_ms": run.curve,
            })
        })
        .collect();
    json!({ "policy": row.policy.name, "median": numbers(&row.medians()), "seeds": seeds })
}

/// Those that mean something.
fn numbers(numbers: &Numbers) -> Value {
    let pairs = Metric::ALL.iter().map(|&(metric, name)| (name.to_owned(), numbers.get(metric)));
    let known = pairs.filter(|(_, value)| value.is_finite());
    Value::Object(known.map(|(name, value)| (name, json!(value))).collect::<Map<_, _>>())
}

fn bar(verdict: &Verdict) -> Value {
    json!({
        "policy": verdict.policy,
        "metric": verdict.metric.name(),
        "value": verdict.value,
        "limit": verdict.limit,
        "upper": verdict.upper,
        "against": verdict.against,
        "reason": verdict.reason,
        "passed": verdict.passed,
        "excess": verdict.excess(),
        "worst_seed": verdict.worst_seed,
    })
}
