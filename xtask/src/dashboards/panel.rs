//! One panel as Grafana's classic JSON: targets, options by kind, and what makes a table of several queries.
//!
//! How it fails: what a query or a colour names and the description lacks is an error with the panel's title.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::description::{Kind, Panel, Query, Shared};
use super::field;
use super::layout::Place;
use super::query;

/// Every query goes to the data source that the dashboard's variable names.
pub(super) fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// A panel at its place.
pub(super) fn panel(panel: &Panel, id: u32, place: Place, shared: &Shared) -> Result<Value> {
    let named = || format!("in panel \"{}\"", panel.title);
    let mut made = Map::new();
    made.insert("id".into(), json!(id));
    made.insert("type".into(), json!(kind(panel.kind)));
    made.insert("title".into(), json!(panel.title));
    made.insert("description".into(), json!(panel.description));
    made.insert("datasource".into(), datasource());
    made.insert("gridPos".into(), grid(place));
    made.insert("fieldConfig".into(), field::config(panel, shared).with_context(named)?);
    made.insert("options".into(), options(panel));
    made.insert("targets".into(), targets(panel, shared).with_context(named)?);
    if panel.kind == Kind::Table {
        made.insert("transformations".into(), transformations(panel));
    }
    if panel.kind == Kind::Heatmap {
        made.insert("maxDataPoints".into(), json!(120));
    }
    if let Some(span) = &panel.span {
        made.insert("timeFrom".into(), json!(span));
    }
    if let Some(variable) = &panel.repeat {
        made.insert("repeat".into(), json!(variable));
        made.insert("repeatDirection".into(), json!("h"));
        made.insert("maxPerRow".into(), json!(3));
    }
    Ok(Value::Object(made))
}

/// A place as Grafana writes it.
pub(super) fn grid(place: Place) -> Value {
    json!({ "x": place.x, "y": place.y, "w": place.w, "h": place.h })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Stat => "stat",
        Kind::Gauge => "gauge",
        Kind::Timeseries => "timeseries",
        Kind::Bargauge => "bargauge",
        Kind::Table => "table",
        Kind::Heatmap => "heatmap",
        Kind::StateTimeline => "state-timeline",
    }
}

fn targets(panel: &Panel, shared: &Shared) -> Result<Value> {
    let mut made = Vec::new();
    for query in &panel.queries {
        let instant = query.instant || matches!(panel.kind, Kind::Table | Kind::Bargauge);
        let format = match panel.kind {
            Kind::Table => "table",
            Kind::Heatmap => "heatmap",
            _ => "time_series",
        };
        for target in query::targets(query, shared)? {
            made.push(json!({
                "refId": reference(made.len()),
                "datasource": datasource(),
                "editorMode": "code",
                "expr": target.expr,
                "legendFormat": target.legend,
                "format": format,
                "instant": instant,
                "range": !instant,
            }));
        }
    }
    Ok(Value::Array(made))
}

/// A, B, … Z, AA, AB, …
fn reference(index: usize) -> String {
    let letter = |index: usize| char::from(b'A' + u8::try_from(index % 26).unwrap_or_default());
    match index / 26 {
        0 => letter(index).to_string(),
        tens => format!("{}{}", letter(tens - 1), letter(index)),
    }
}

fn options(panel: &Panel) -> Value {
    let calc = panel.calc.as_deref().unwrap_or("lastNotNull");
    let reduce = json!({ "calcs": [calc], "fields": "", "values": false });
    match panel.kind {
        Kind::Stat => json!({
            "reduceOptions": reduce,
            "orientation": "auto",
            "textMode": if panel.names { "name" } else if panel.queries.len() > 1 { "value_and_name" } else { "auto" },
            "colorMode": "value",
            "graphMode": if panel.names || panel.mappings.is_some() { "none" } else { "area" },
            "justifyMode": "auto",
            "wideLayout": true,
            "showPercentChange": false,
        }),
        Kind::Gauge => json!({
            "reduceOptions": reduce,
            "orientation": "auto",
            "showThresholdLabels": false,
            "showThresholdMarkers": true,
            "sizing": "auto",
        }),
        Kind::Bargauge => json!({
            "reduceOptions": reduce,
            "orientation": "horizontal",
            "displayMode": "gradient",
            "valueMode": "color",
            "namePlacement": "auto",
            "showUnfilled": true,
            "sizing": "auto",
            "minVizHeight": 16,
            "minVizWidth": 8,
            "maxVizHeight": 40,
            "legend": { "showLegend": false, "displayMode": "list", "placement": "bottom", "calcs": [] },
        }),
        Kind::Timeseries => json!({
            "legend": { "showLegend": true, "displayMode": "table", "placement": "bottom",
                        "calcs": ["lastNotNull", "max"] },
            "tooltip": { "mode": "multi", "sort": "desc", "hideZeros": false },
        }),
        Kind::StateTimeline => json!({
            "alignValue": "left",
            "mergeValues": true,
            "rowHeight": 0.85,
            "showValue": "auto",
            "legend": { "showLegend": false, "displayMode": "list", "placement": "bottom" },
            "tooltip": { "mode": "single", "sort": "none" },
        }),
        Kind::Table => json!({
            "showHeader": true,
            "cellHeight": "sm",
            "footer": { "show": false, "reducer": ["sum"], "countRows": false, "fields": "" },
        }),
        Kind::Heatmap => json!({
            "calculate": false,
            "cellGap": 1,
            "cellValues": { "unit": "short" },
            "color": { "mode": "scheme", "scheme": "Blues", "fill": "blue", "exponent": 0.5, "scale": "exponential",
                       "steps": 64, "reverse": false },
            "exemplars": { "color": "rgba(255,0,255,0.7)" },
            "filterValues": { "le": 1e-9 },
            "legend": { "show": true },
            "rowsFrame": { "layout": "auto" },
            "showValue": "never",
            "tooltip": { "mode": "single", "yHistogram": true, "showColorScale": false },
            "yAxis": { "axisPlacement": "left", "unit": panel.unit, "reverse": false },
        }),
    }
}

/// Several answers become one table: joined on their labels, the time left out, columns named and in order.
fn transformations(panel: &Panel) -> Value {
    if let Some(matrix) = &panel.matrix {
        let options = json!({
            "rowField": matrix.row, "columnField": matrix.column, "valueField": value_field(0, 1),
            "emptyValue": "null",
        });
        return json!([{ "id": "groupingToMatrix", "options": options }]);
    }
    let mut renamed = Map::new();
    let mut order = Map::new();
    for (index, label) in panel.labels.iter().enumerate() {
        order.insert(label.clone(), json!(index));
    }
    for (index, Query { column, .. }) in panel.queries.iter().enumerate() {
        let field = value_field(index, panel.queries.len());
        order.insert(field.clone(), json!(panel.labels.len() + index));
        column.as_ref().map(|column| renamed.insert(field, json!(column)));
    }
    json!([
        { "id": "merge", "options": {} },
        { "id": "organize", "options": {
            "excludeByName": { "Time": true }, "indexByName": order, "renameByName": renamed, "includeByName": {},
        } },
    ])
}

/// What Grafana calls the values of a table's query.
fn value_field(index: usize, count: usize) -> String {
    if count == 1 { "Value".to_owned() } else { format!("Value #{}", reference(index)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_go_beyond_z() {
        assert_eq!([0, 25, 26, 27, 52].map(reference), ["A", "Z", "AA", "AB", "BA"]);
    }
}
