//! Rules of good dashboards, in the manner of Grafana's dashboard-linter and beyond it, over what is generated.
//!
//! Tests only: they need no network and no Grafana. Whether a metric exists and every query returns data is checked
//! elsewhere, against the catalogue and a real Prometheus (`tests-stack`).
//! How it fails: every fault of every dashboard is listed, each with its dashboard and panel. That each rule bites is
//! shown by breaking a good dashboard in each way.

mod promql;
mod queries;
mod structure;
mod variables;

use std::collections::BTreeMap;

use serde_json::Value;

/// Dashboards by the name of their file.
type Dashboards = BTreeMap<String, Value>;

/// Every fault of every dashboard.
fn faults(dashboards: &Dashboards) -> Vec<String> {
    let mut found = Vec::new();
    for (file, dashboard) in dashboards {
        let mut told: Vec<String> = Vec::new();
        structure::check(file, dashboard, &mut told);
        variables::check(dashboard, dashboards, &mut told);
        queries::check(dashboard, &mut told);
        found.extend(told.into_iter().map(|fault| format!("{file}: {fault}")));
    }
    found
}

/// All panels but rows, those in closed rows included.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    let all =
        items(&dashboard["panels"]).flat_map(|panel| std::iter::once(panel).chain(items(&panel["panels"])));
    all.filter(|panel| panel["type"] != "row")
}

/// Every query of a dashboard and where it is: panels' and annotations'.
fn expressions(dashboard: &Value) -> impl Iterator<Item = (String, &str)> {
    let targets = panels(dashboard)
        .flat_map(|panel| items(&panel["targets"]).map(move |target| (name(panel), text(&target["expr"]))));
    let drawn = items(&dashboard["annotations"]["list"])
        .filter(|annotation| annotation["builtIn"] != 1)
        .map(|annotation| (format!("annotation {}", annotation["name"]), text(&annotation["expr"])));
    targets.chain(drawn)
}

fn name(panel: &Value) -> String {
    format!("panel {} {}", panel["id"], panel["title"])
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dashboards::description::Shared;

    fn rendered() -> Dashboards {
        crate::dashboards::render(&crate::workspace::root().unwrap()).unwrap()
    }

    #[test]
    fn our_dashboards_keep_every_rule() {
        let dashboards = rendered();
        assert_eq!(dashboards.len(), 6);
        assert_eq!(faults(&dashboards), [""; 0]);
    }

    #[test]
    fn one_thing_has_one_colour() {
        let root = crate::workspace::root().unwrap();
        let shared: Shared = crate::dashboards::read(&root.join("grafana/description/shared.toml")).unwrap();
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for thing in shared.colours.values().flatten() {
            for name in thing.name.split('|') {
                let before = seen.insert(name, &thing.colour);
                assert!(before.is_none_or(|colour| colour == thing.colour), "{name} has two colours");
            }
        }
    }

    /// A change to the dashboard of Locust, and the fault it must bring.
    #[test]
    fn each_rule_bites() {
        let broken = [
            ("/uid", json!("another"), "uid is the file's name"),
            ("/id", json!(7), "id is null"),
            ("/editable", json!(true), "editable is false"),
            ("/schemaVersion", json!(30), "schemaVersion is 39 to 41"),
            ("/tags", json!([]), "tag"),
            ("/__inputs", json!([]), "__inputs"),
            ("/refresh", json!(""), "refresh is 5s"),
            ("/panels/0/title", json!("State"), "a row asks a question"),
            ("/panels/1/id", json!(1), "id 1 is used twice"),
            ("/panels/1/type", json!("singlestat"), "no type of ours"),
            ("/panels/1/title", json!(""), "no title"),
            ("/panels/1/description", json!("Locust's state."), "what good looks like"),
            ("/panels/1/fieldConfig/defaults/unit", json!(""), "no unit"),
            ("/panels/1/fieldConfig/defaults/thresholds", json!(null), "no thresholds"),
            ("/panels/1/fieldConfig/defaults/thresholds/steps/0/color", json!("text"), "no thresholds"),
            ("/panels/1/gridPos/w", json!(5), "overlaps"),
            ("/panels/1/gridPos/x", json!(22), "outside the grid"),
            ("/panels/1/datasource/uid", json!("prometheus"), "data source"),
            ("/panels/1/targets", json!([]), "no query"),
            ("/panels/15/targets/1/refId", json!("A"), "refId A is used twice"),
            ("/panels/15/targets/1/expr", json!("sum(lb_build_info"), "unbalanced"),
            ("/panels/15/targets/1/expr", json!("sum(lb_build_info)"), "without $job and $instance"),
            ("/panels/15/targets/1/expr", json!("sum(x_total)"), "counter outside rate"),
            ("/panels/15/targets/1/expr", json!("sum(rate(x_total[5m]))"), "$__rate_interval"),
            (
                "/panels/15/targets/1/expr",
                json!("rate(sum(x_total)[$__rate_interval])"),
                "counter outside rate",
            ),
            ("/panels/15/targets/1/expr", json!("rate(x{a=\"$nowhere\"}[$__rate_interval])"), "$nowhere"),
            (
                "/panels/15/targets/1/expr",
                json!("histogram_quantile(0.5, sum by (a) (rate(x_bucket[$__rate_interval])))"),
                "needs le",
            ),
            ("/templating/list/1/refresh", json!(1), "asked again"),
            ("/templating/list/1/allValue", json!(""), "allValue"),
            ("/templating/list/1/name", json!("jobs"), "no variable job"),
            ("/templating/list/3/name", json!("unused"), "$unused is used nowhere"),
            ("/templating/list/0/type", json!("custom"), "no variable datasource"),
        ];
        for (pointer, value, fault) in broken {
            let mut dashboards = rendered();
            let dashboard = dashboards.get_mut("locust.json").unwrap();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match dashboard.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")) {
                Value::Array(array) => array[key.parse::<usize>().unwrap()] = value,
                object => object[key] = value,
            }
            let found = faults(&dashboards);
            assert!(found.iter().any(|found| found.contains(fault)), "{pointer}: {fault}: {found:#?}");
        }
    }

    #[test]
    fn a_link_to_nowhere_is_a_fault() {
        for (from, to, fault) in [
            ("/d/lb-algorithms?", "/d/lb-nowhere?", "no dashboard lb-nowhere"),
            ("var-algorithm=", "var-method=", "has no variable method"),
        ] {
            let mut dashboards = rendered();
            let text = dashboards["locust.json"].to_string();
            assert!(text.contains(from));
            dashboards
                .insert("locust.json".to_owned(), serde_json::from_str(&text.replace(from, to)).unwrap());
            assert!(faults(&dashboards).iter().any(|found| found.contains(fault)), "{fault}");
        }
    }

    #[test]
    fn a_large_file_is_a_fault() {
        let mut dashboards = rendered();
        dashboards.get_mut("locust.json").unwrap()["description"] = json!("x".repeat(250 * 1024));
        assert!(faults(&dashboards).iter().any(|found| found.contains("250 KiB")));
    }
}
