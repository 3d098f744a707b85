//! A dashboard around its panels: rows, variables, links, annotations, and what all dashboards have alike.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::description::{Annotation, Dashboard, Shared, Variable};
use super::layout::{self, COLUMNS, Place};
use super::panel::{self, datasource};
use super::query;

/// What every dashboard is tagged with and links are made by.
const TAG: &str = "lb";
/// Classic JSON of Grafana 11 to 13.
const SCHEMA: u8 = 41;

/// A dashboard whose uid is the name of its file.
pub(super) fn dashboard(uid: &str, dashboard: &Dashboard, shared: &Shared) -> Result<Value> {
    Ok(json!({
        "id": null,
        "uid": uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": false,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": { "from": "now-15m", "to": "now" },
        "timepicker": {},
        "timezone": "browser",
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "liveNow": false,
        "preload": false,
        "links": [{
            "type": "dashboards", "title": "Ballast", "tags": [TAG], "asDropdown": false, "icon": "external link",
            "includeVars": true, "keepTime": true, "targetBlank": false, "tooltip": "", "url": "",
        }],
        "annotations": { "list": annotations(shared)? },
        "templating": { "list": variables(dashboard, shared)? },
        "panels": panels(dashboard, shared)?,
    }))
}

fn panels(dashboard: &Dashboard, shared: &Shared) -> Result<Vec<Value>> {
    let mut made = Vec::new();
    let mut id = 0;
    let mut next_id = || {
        id += 1;
        id
    };
    let mut top = 0;
    for row in &dashboard.row {
        let row_id = next_id();
        let sizes: Vec<_> = row.panel.iter().map(layout::size).collect();
        let (places, below) = layout::places(&sizes, top + 1);
        let mut inside = Vec::new();
        for (described, place) in row.panel.iter().zip(places) {
            inside.push(panel::panel(described, next_id(), place, shared)?);
        }
        let place = Place { x: 0, y: top, w: COLUMNS, h: 1 };
        let (held, shown) = if row.collapsed { (inside, Vec::new()) } else { (Vec::new(), inside) };
        made.push(json!({
            "id": row_id, "type": "row", "title": row.title, "collapsed": row.collapsed,
            "gridPos": panel::grid(place), "panels": held,
        }));
        made.extend(shown);
        // What a closed row holds takes no room until it is opened.
        top = if row.collapsed { top + 1 } else { below };
    }
    Ok(made)
}

fn variables(dashboard: &Dashboard, shared: &Shared) -> Result<Vec<Value>> {
    let mut made = vec![json!({
        "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus", "regex": "",
        "current": { "selected": true, "text": "Prometheus", "value": "prometheus" },
        "hide": 0, "includeAll": false, "multi": false, "options": [], "refresh": 1, "skipUrlSync": false,
    })];
    for name in &dashboard.variables {
        let variable = shared.variables.iter().find(|variable| variable.name == *name);
        made.push(variable_of(variable.with_context(|| format!("no variable is named {name}"))?, shared)?);
    }
    Ok(made)
}

fn variable_of(variable: &Variable, shared: &Shared) -> Result<Value> {
    let query = query::expand(&variable.query, shared)?;
    Ok(json!({
        "type": "query", "name": variable.name, "label": variable.label, "datasource": datasource(),
        "definition": query,
        "query": { "qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery" },
        "regex": "", "sort": 1, "refresh": 2, "hide": 0, "skipUrlSync": false,
        "multi": true, "includeAll": true, "allValue": ".+",
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "options": [],
    }))
}

fn annotations(shared: &Shared) -> Result<Vec<Value>> {
    let mut made = vec![json!({
        "builtIn": 1, "datasource": { "type": "grafana", "uid": "-- Grafana --" }, "enable": true, "hide": true,
        "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
    })];
    for Annotation { name, expr, colour, title, text } in &shared.annotations {
        made.push(json!({
            "name": name, "datasource": datasource(), "enable": true, "hide": false, "iconColor": colour,
            "expr": query::expand(expr, shared)?, "step": "15s", "titleFormat": title, "textFormat": text,
            "tagKeys": "", "useValueForTime": false,
        }));
    }
    Ok(made)
}
