//! Variables and the links that carry them: each is asked for rightly, used, and known where a link leads.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Dashboards, expressions, items, panels, text};

/// Checks a dashboard's variables and its drill-downs into the others.
pub(super) fn check(dashboard: &Value, all: &Dashboards, told: &mut Vec<String>) {
    let variables: Vec<&Value> = items(&dashboard["templating"]["list"]).collect();
    let defined: BTreeSet<&str> = variables.iter().map(|variable| text(&variable["name"])).collect();
    for needed in ["job", "instance"] {
        if !defined.contains(needed) {
            told.push(format!("there is no variable {needed}"));
        }
    }
    let source = variables.iter().find(|variable| variable["name"] == "datasource");
    if source
        .is_none_or(|source| source["type"] != "datasource" || source["current"]["value"] != "prometheus")
    {
        told.push("there is no variable datasource whose default is the provisioned one".to_owned());
    }
    let mut used = BTreeSet::new();
    for variable in variables.iter().filter(|variable| variable["type"] == "query") {
        let rules = [
            (variable["multi"] == true && variable["includeAll"] == true, "takes several values, and all"),
            (variable["allValue"] == ".+", "has the allValue .+"),
            (variable["refresh"] == 2, "is asked again when the time changes"),
            (variable["datasource"]["uid"] == "${datasource}", "asks the variable's data source"),
            (text(&variable["query"]["query"]).starts_with("label_values("), "is made of label values"),
        ];
        let broken = rules.into_iter().filter(|(holds, _)| !holds);
        told.extend(broken.map(|(_, rule)| format!("a variable {rule}: {}", variable["name"])));
        used.extend(names(text(&variable["query"]["query"])));
    }
    for (place, expr) in expressions(dashboard) {
        for name in names(expr) {
            if !name.starts_with("__") && !defined.contains(name) {
                told.push(format!("{place}: ${name} is no variable of this dashboard"));
            }
            used.insert(name);
        }
    }
    for name in defined.iter().filter(|name| **name != "datasource" && !used.contains(*name)) {
        told.push(format!("${name} is used nowhere"));
    }
    for url in panels(dashboard).flat_map(urls) {
        link(&url, all, told);
    }
}

/// The names after every `$`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).map(|rest| {
        let rest = rest.trim_start_matches('{');
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// Every data link of a panel, in its defaults and its overrides.
fn urls(panel: &Value) -> Vec<String> {
    let config = &panel["fieldConfig"];
    let overridden = items(&config["overrides"])
        .flat_map(|one| items(&one["properties"]))
        .filter(|property| property["id"] == "links")
        .flat_map(|property| items(&property["value"]));
    items(&config["defaults"]["links"]).chain(overridden).map(|link| text(&link["url"]).to_owned()).collect()
}

fn link(url: &str, all: &Dashboards, told: &mut Vec<String>) {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let uid = path.strip_prefix("/d/").unwrap_or_default();
    let Some(target) = all.values().find(|dashboard| dashboard["uid"] == uid) else {
        told.push(format!("there is no dashboard {uid} for {url}"));
        return;
    };
    for part in query.split('&') {
        let carried = part.strip_prefix("var-").and_then(|part| part.split('=').next());
        let carried = carried.or_else(|| part.strip_prefix("${")?.strip_suffix(":queryparam}"));
        let Some(name) = carried else { continue };
        if !items(&target["templating"]["list"]).any(|variable| variable["name"] == name) {
            told.push(format!("{uid} has no variable {name}, which {url} carries"));
        }
    }
}
