//! How values look: unit, thresholds, mappings, the fixed colour of each thing, where a click leads.
//!
//! A thing has its colour by a regular expression over a series' name, so that "backend1 ejected" is as red as
//! "ejected". What has no colour in the description gets one made from its name, the same on every dashboard.

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};

use super::description::{Kind, Panel, Query, Shared, Stack, Step};

/// Gaps up to this long are drawn over: one lost scrape is no gap.
const SPAN_GAPS_MS: u32 = 45_000;

/// A panel's `fieldConfig`.
pub(super) fn config(panel: &Panel, shared: &Shared) -> Result<Value> {
    let mut defaults = Map::new();
    defaults.insert("unit".into(), json!(panel.unit));
    defaults.insert("thresholds".into(), thresholds(&panel.thresholds)?);
    defaults.insert("color".into(), json!({ "mode": colour_mode(panel) }));
    defaults.insert("custom".into(), custom(panel));
    defaults.insert("noValue".into(), json!("–"));
    for (key, number) in [("min", panel.min), ("max", panel.max)] {
        number.map(|number| defaults.insert(key.into(), json!(number)));
    }
    panel.decimals.map(|decimals| defaults.insert("decimals".into(), json!(decimals)));
    if let Some(kind) = &panel.mappings {
        defaults.insert("mappings".into(), mappings(kind, shared)?);
    }
    if panel.kind != Kind::Table && panel.drill.is_some() {
        defaults.insert("links".into(), json!([link(panel, shared, "${__field.labels.%label}")?]));
    }
    Ok(json!({ "defaults": defaults, "overrides": overrides(panel, shared)? }))
}

/// `["green", 0.01, "orange"]` as steps; without any, one neutral colour.
pub(super) fn thresholds(steps: &[Step]) -> Result<Value> {
    let mut made = Vec::new();
    let mut value = Value::Null;
    for (index, step) in steps.iter().enumerate() {
        match (index % 2, step) {
            (0, Step::Colour(colour)) => made.push(json!({ "color": colour, "value": value })),
            (1, Step::Value(number)) => value = json!(number),
            _ => bail!("thresholds are a colour, then values and colours in turn"),
        }
    }
    if !steps.is_empty() && steps.len().is_multiple_of(2) {
        bail!("the last threshold needs a colour");
    }
    if made.is_empty() {
        made.push(json!({ "color": "text", "value": null }));
    }
    Ok(json!({ "mode": "absolute", "steps": made }))
}

fn colour_mode(panel: &Panel) -> &'static str {
    match panel.kind {
        Kind::Timeseries => "palette-classic-by-name",
        _ => "thresholds",
    }
}

fn custom(panel: &Panel) -> Value {
    match panel.kind {
        Kind::Timeseries => {
            let stacked = panel.stack != Stack::None;
            let lines = if panel.thresholds.len() > 1 { "dashed" } else { "off" };
            let scale = match panel.log {
                Some(base) => json!({ "type": "log", "log": base }),
                None => json!({ "type": "linear" }),
            };
            json!({
                "drawStyle": if panel.bars { "bars" } else { "line" },
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": if panel.bars { 80 } else if stacked { 40 } else { 8 },
                "gradientMode": "none",
                "showPoints": "never",
                "pointSize": 5,
                "spanNulls": SPAN_GAPS_MS,
                "insertNulls": false,
                "stacking": { "group": "A", "mode": match panel.stack {
                    Stack::None => "none",
                    Stack::Normal => "normal",
                    Stack::Percent => "percent",
                } },
                "axisPlacement": "auto",
                "axisLabel": "",
                "axisColorMode": "text",
                "axisBorderShow": false,
                "axisCenteredZero": false,
                "barAlignment": 0,
                "scaleDistribution": scale,
                "thresholdsStyle": { "mode": lines },
                "hideFrom": { "legend": false, "tooltip": false, "viz": false },
            })
        }
        Kind::StateTimeline => json!({
            "lineWidth": 0,
            "fillOpacity": 80,
            "hideFrom": { "legend": false, "tooltip": false, "viz": false },
        }),
        Kind::Table => json!({ "align": "auto", "cellOptions": { "type": "auto" }, "filterable": false }),
        Kind::Heatmap => json!({
            "scaleDistribution": { "type": "linear" },
            "hideFrom": { "legend": false, "tooltip": false, "viz": false },
        }),
        Kind::Stat | Kind::Gauge | Kind::Bargauge => json!({}),
    }
}

/// Numbers that stand for things: their position in the table, with its name and colour.
fn mappings(kind: &str, shared: &Shared) -> Result<Value> {
    let things = shared.colours.get(kind).with_context(|| format!("no colours are named {kind}"))?;
    let options: Map<String, Value> = things
        .iter()
        .enumerate()
        .map(|(index, thing)| {
            let result = json!({ "text": thing.name, "color": thing.colour, "index": index });
            (index.to_string(), result)
        })
        .collect();
    Ok(json!([{ "type": "value", "options": options }]))
}

fn overrides(panel: &Panel, shared: &Shared) -> Result<Value> {
    let mut made = Vec::new();
    if let Some(kind) = &panel.colours {
        let things = shared.colours.get(kind).with_context(|| format!("no colours are named {kind}"))?;
        for thing in things {
            made.push(json!({
                "matcher": { "id": "byRegexp", "options": format!("/(^|[^\\w])({})($|[^\\w])/", thing.name) },
                "properties": [{ "id": "color", "value": { "mode": "fixed", "fixedColor": thing.colour } }],
            }));
        }
    }
    if panel.kind == Kind::Table {
        for query in panel.queries.iter().filter(|query| query.column.is_some()) {
            made.push(column(query, shared)?);
        }
        if panel.matrix.is_some() {
            made.push(json!({
                "matcher": { "id": "byType", "options": "number" },
                "properties": [{ "id": "custom.cellOptions", "value": { "type": "color-background", "mode": "basic" } }],
            }));
        }
        if let Some(label) = &panel.drill {
            made.push(json!({
                "matcher": { "id": "byName", "options": label },
                "properties": [
                    { "id": "links", "value": [link(panel, shared, "${__data.fields[\"%label\"]}")?] },
                ],
            }));
        }
    }
    Ok(Value::Array(made))
}

/// How a table's column looks.
fn column(query: &Query, shared: &Shared) -> Result<Value> {
    let mut properties = Vec::new();
    if let Some(unit) = &query.unit {
        properties.push(json!({ "id": "unit", "value": unit }));
    }
    if !query.thresholds.is_empty() {
        properties.push(json!({ "id": "thresholds", "value": thresholds(&query.thresholds)? }));
    }
    if let Some(kind) = &query.mappings {
        properties.push(json!({ "id": "mappings", "value": mappings(kind, shared)? }));
    }
    if query.mappings.is_some() || !query.thresholds.is_empty() {
        properties.push(json!({ "id": "custom.cellOptions", "value": { "type": "color-text" } }));
    }
    Ok(json!({ "matcher": { "id": "byName", "options": query.column }, "properties": properties }))
}

fn link(panel: &Panel, shared: &Shared, value: &str) -> Result<Value> {
    let label = panel.drill.as_deref().unwrap_or_default();
    let drill = shared.drills.get(label).with_context(|| format!("no drill-down is named {label}"))?;
    let url = drill.url.replace("%value", &value.replace("%label", label));
    Ok(json!({ "title": drill.title, "url": url, "targetBlank": false }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_alternate() {
        let steps = |toml: &str| {
            let table: toml::Table = toml::from_str(&format!("steps = {toml}")).unwrap();
            thresholds(&Vec::<Step>::deserialize(table["steps"].clone()).unwrap())
        };
        use serde::Deserialize as _;
        assert_eq!(
            steps("[\"green\", 0.5, \"red\"]").unwrap()["steps"],
            json!([{ "color": "green", "value": null }, { "color": "red", "value": 0.5 }])
        );
        assert_eq!(steps("[]").unwrap()["steps"][0]["color"], "text");
        for bad in ["[1.0]", "[\"green\", 0.5]", "[\"green\", \"red\"]"] {
            assert!(steps(bad).is_err(), "{bad}");
        }
    }
}
