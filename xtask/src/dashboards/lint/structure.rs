//! What a dashboard is made of: identity, panels, their words, their places.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{items, name, number, panels, text};
use crate::dashboards::layout::COLUMNS;

/// Kubernetes keeps a file in an annotation of at most 256 KiB when it is applied.
const SIZE_MAX: usize = 250 * 1024;
/// Types of panel that are part of Grafana and not Angular's.
const TYPES: [&str; 7] = ["stat", "gauge", "timeseries", "bargauge", "table", "heatmap", "state-timeline"];
/// Types whose colour is the judgement, so that they need one.
const JUDGING: [&str; 3] = ["stat", "gauge", "bargauge"];

/// Checks everything that is not about queries or variables.
pub(super) fn check(file: &str, dashboard: &Value, told: &mut Vec<String>) {
    frame(file, dashboard, told);
    let mut ids = BTreeSet::new();
    let all =
        items(&dashboard["panels"]).flat_map(|panel| std::iter::once(panel).chain(items(&panel["panels"])));
    for panel in all {
        if number(&panel["id"]) == 0 || !ids.insert(number(&panel["id"])) {
            told.push(format!("id {} is used twice, or is no id", panel["id"]));
        }
        if panel["type"] == "row" && !text(&panel["title"]).ends_with('?') {
            told.push(format!("{}: a row asks a question", name(panel)));
        }
    }
    for panel in panels(dashboard) {
        for fault in words(panel).into_iter().map(str::to_owned).chain(targets(panel)) {
            told.push(format!("{}: {fault}", name(panel)));
        }
    }
    places(&dashboard["panels"], told);
    for row in items(&dashboard["panels"]) {
        places(&row["panels"], told);
    }
}

fn frame(file: &str, dashboard: &Value, told: &mut Vec<String>) {
    let uid = text(&dashboard["uid"]);
    let plain = uid.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let schema = number(&dashboard["schemaVersion"]);
    let written = serde_json::to_string_pretty(dashboard).unwrap_or_default();
    let rules = [
        (format!("{uid}.json") == file && plain && uid.len() <= 40, "the uid is the file's name"),
        (dashboard["id"].is_null(), "the id is null: Grafana gives one"),
        (dashboard["editable"] == false, "editable is false: edits would be lost"),
        ((39..=41).contains(&schema), "schemaVersion is 39 to 41"),
        (items(&dashboard["tags"]).any(|tag| tag == "lb"), "the tag lb is missing, links are made by it"),
        (dashboard["refresh"] == "5s", "refresh is 5s"),
        (dashboard["time"]["from"] == "now-15m", "time begins at now-15m"),
        (dashboard["graphTooltip"] == 1, "graphTooltip is 1: one cross-hair on all panels"),
        (!text(&dashboard["title"]).is_empty(), "there is no title"),
        (!text(&dashboard["description"]).is_empty(), "there is no description"),
        (dashboard.get("__inputs").is_none() && !written.contains("${DS_"), "__inputs are for import only"),
        (written.len() < SIZE_MAX, "the file is larger than 250 KiB"),
    ];
    told.extend(rules.into_iter().filter(|(holds, _)| !holds).map(|(_, fault)| fault.to_owned()));
}

/// What a panel says about itself.
fn words(panel: &Value) -> Vec<&'static str> {
    let kind = text(&panel["type"]);
    let defaults = &panel["fieldConfig"]["defaults"];
    let steps = || items(&defaults["thresholds"]["steps"]);
    let judged = !JUDGING.contains(&kind) || steps().next().is_some_and(|step| step["color"] != "text");
    let description = text(&panel["description"]);
    let rules = [
        (TYPES.contains(&kind), "no type of ours"),
        (!text(&panel["title"]).is_empty(), "no title"),
        (
            description.contains("Good: ") && description.ends_with('.'),
            "the description says what good looks like",
        ),
        (!text(&defaults["unit"]).is_empty(), "no unit"),
        (judged && steps().next().is_some(), "no thresholds"),
        (panel["datasource"]["uid"] == "${datasource}", "the data source is the dashboard's variable"),
    ];
    rules.into_iter().filter(|(holds, _)| !holds).map(|(_, fault)| fault).collect()
}

fn targets(panel: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut references = BTreeSet::new();
    for target in items(&panel["targets"]) {
        let reference = text(&target["refId"]);
        if reference.is_empty() || !references.insert(reference) {
            found.push(format!("refId {reference} is used twice, or is none"));
        }
        if target["datasource"]["uid"] != "${datasource}" {
            found.push(format!("the data source of {reference} is not the dashboard's variable"));
        }
        if target["instant"] == target["range"] {
            found.push(format!("{reference} is either instant or a range"));
        }
    }
    if references.is_empty() {
        found.push("no query".to_owned());
    }
    found
}

/// Panels of one list lie inside the grid and beside each other.
fn places(list: &Value, told: &mut Vec<String>) {
    let mut taken: Vec<([u64; 4], &Value)> = Vec::new();
    for panel in items(list) {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| number(&panel["gridPos"][side]));
        if w == 0 || h == 0 || x + w > u64::from(COLUMNS) {
            told.push(format!("{}: outside the grid", name(panel)));
        }
        for ([left, top, wide, high], other) in &taken {
            if x < left + wide && *left < x + w && y < top + high && *top < y + h {
                told.push(format!("{}: overlaps {}", name(panel), name(other)));
            }
        }
        taken.push(([x, y, w, h], panel));
    }
}
