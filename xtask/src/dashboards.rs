//! Writes Grafana's dashboards from one description, so that a thing looks the same on all of them.
//!
//! `grafana/description/shared.toml` holds what they share (matchers, colours, variables, annotations, drill-downs);
//! each other file there is one dashboard as rows and panels, and becomes `grafana/dashboards/NAME.json`.
//! How it fails: a description that cannot be read, or names what does not exist, is an error with its file, and
//! nothing is written. With `--check` a file that differs from what would be written is named, and nothing is written.

mod description;
mod field;
mod frame;
mod layout;
#[cfg(test)]
mod lint;
mod panel;
mod query;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::written::{self, Options};
use description::{Dashboard, Shared};

const DESCRIPTION: &str = "grafana/description";
const SHARED: &str = "shared.toml";
const OUTPUT: &str = "grafana/dashboards";

/// Writes every dashboard, or compares it; `true` when there is nothing to complain of.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let rendered = render(root)?;
    let output = root.join(OUTPUT);
    let path = |name: &String| format!("{OUTPUT}/{name}");
    let stale: Vec<String> = stale(&output, &rendered)?.iter().map(path).collect();
    let texts: Result<_> = rendered.iter().map(|(name, board)| Ok((path(name), text(board)?))).collect();
    if !options.check {
        std::fs::create_dir_all(&output).with_context(|| format!("making {OUTPUT}"))?;
    }
    let names = ("dashboards", "not what the description says: run `make dashboards`");
    written::settle(root, options, names, &texts?, &stale)
}

/// Every dashboard by the name of its file.
fn render(root: &Path) -> Result<BTreeMap<String, Value>> {
    let directory = root.join(DESCRIPTION);
    let shared: Shared = read(&directory.join(SHARED))?;
    let mut rendered = BTreeMap::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("listing {DESCRIPTION}"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(".toml").filter(|_| name != SHARED) else { continue };
        let dashboard: Dashboard = read(&path)?;
        let value = frame::dashboard(stem, &dashboard, &shared).with_context(|| format!("in {name}"))?;
        rendered.insert(format!("{stem}.json"), value);
    }
    if rendered.is_empty() {
        bail!("{DESCRIPTION} describes no dashboard");
    }
    Ok(rendered)
}

/// The files that are missing, differ, or should not be there. Compared as data: the order of keys says nothing.
fn stale(output: &Path, rendered: &BTreeMap<String, Value>) -> Result<Vec<String>> {
    let mut present = BTreeMap::new();
    if output.is_dir() {
        for entry in std::fs::read_dir(output).with_context(|| format!("listing {OUTPUT}"))? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.ends_with(".json") {
                let text = std::fs::read_to_string(&path).with_context(|| format!("reading {name}"))?;
                present.insert(name.to_owned(), serde_json::from_str::<Value>(&text).ok());
            }
        }
    }
    let changed = rendered.iter().filter(|(name, value)| present.get(*name) != Some(&Some((*value).clone())));
    let surplus = present.keys().filter(|name| !rendered.contains_key(*name));
    Ok(changed.map(|(name, _)| name).chain(surplus).cloned().collect())
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("in {}", path.display()))
}

fn text(dashboard: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(dashboard)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dashboard_is_what_the_description_says() {
        let root = crate::workspace::root().unwrap();
        let rendered = render(&root).unwrap();
        assert_eq!(stale(&root.join(OUTPUT), &rendered).unwrap(), [""; 0], "run `make dashboards`");
    }

    #[test]
    fn a_file_that_is_missing_or_surplus_or_edited_is_stale() {
        let root = crate::workspace::root().unwrap();
        let mut rendered = render(&root).unwrap();
        rendered.insert("added.json".to_owned(), Value::Null);
        rendered.remove("lb-geo.json");
        rendered.get_mut("locust.json").unwrap()["title"] = Value::from("Another");
        let stale = stale(&root.join(OUTPUT), &rendered).unwrap();
        assert_eq!(stale, ["added.json", "locust.json", "lb-geo.json"]);
    }
}
