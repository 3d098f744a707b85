//! What a query must not do: read a counter as it is, fix a window, lose `le`, or mix balancers that were not chosen.

use serde_json::Value;

use super::promql::{self, Selector};
use super::{expressions, panels};

/// Functions that make something of a counter.
const RATES: [&str; 3] = ["rate", "irate", "increase"];
/// Windows that follow what is shown.
const WINDOWS: [&str; 2] = ["$__rate_interval", "$__range"];

/// Checks every query of panels and annotations.
pub(super) fn check(dashboard: &Value, told: &mut Vec<String>) {
    let in_panels: usize =
        panels(dashboard).map(|panel| panel["targets"].as_array().map_or(0, Vec::len)).sum();
    for (index, (place, expr)) in expressions(dashboard).enumerate() {
        match promql::selectors(expr) {
            Err(fault) => told.push(format!("{place}: {fault} in {expr}")),
            Ok(selectors) if selectors.is_empty() => told.push(format!("{place}: asks for nothing: {expr}")),
            Ok(selectors) => {
                for selector in &selectors {
                    // An annotation marks the minute in which something happened, whatever the panels' windows.
                    let faults = faults(selector, index >= in_panels);
                    told.extend(
                        faults.into_iter().map(|fault| format!("{place}: {}: {fault}", selector.metric)),
                    );
                }
            }
        }
    }
}

fn faults(selector: &Selector, annotation: bool) -> Vec<&'static str> {
    let mut found = Vec::new();
    let metric = selector.metric.as_str();
    let inner = selector.inside.last().map(|frame| frame.name.as_str()).unwrap_or_default();
    let rated = RATES.contains(&inner);
    let counts = ["_total", "_bucket", "_count", "_sum"].iter().any(|end| metric.ends_with(end));
    // How many series there are says how many cores a host has.
    if counts && !rated && inner != "count" {
        found.push("a counter outside rate or increase");
    }
    if rated && !annotation && !WINDOWS.contains(&selector.window.as_deref().unwrap_or_default()) {
        found.push("the window is $__rate_interval, or $__range for all that is shown");
    }
    let quantile = selector.inside.iter().position(|frame| frame.name == "histogram_quantile");
    if let Some(at) = quantile {
        let grouped = selector.inside[at + 1..].iter().find(|frame| frame.by.is_some());
        if grouped.is_some_and(|frame| !frame.by.iter().flatten().any(|label| label == "le")) {
            found.push("histogram_quantile needs le among the labels that are kept");
        }
        if !metric.ends_with("_bucket") {
            found.push("histogram_quantile is of buckets");
        }
    }
    let ours = metric.starts_with("lb_");
    let chosen =
        |label: &str| selector.matchers.iter().any(|matcher| *matcher == format!("{label}=~\"${label}\""));
    if ours && !(chosen("job") && chosen("instance")) {
        found.push("without $job and $instance");
    }
    found
}
