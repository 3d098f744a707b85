//! Writes the Kubernetes manifests that hold files of this repository, so that rules and dashboards have one source.
//!
//! `kubectl apply -f` knows no files beside manifests: what Prometheus and Grafana mount from the repository under compose
//! stands inside ConfigMaps here. Dashboards are made compact and get one each, since an apply keeps a copy of an object in
//! an annotation of 256 KiB at most. How it fails: a source that cannot be read is an error with its path, and nothing is
//! written. With `--check` a manifest that differs from what would be written, or whose source is gone, is named.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::written::{self, Options};

/// What `kubectl apply -f` takes.
const FOLDER: &str = "k8s";
/// Rules about whatever the same Prometheus scrapes, which an operator's Prometheus shares with everybody else's services.
const OF_ALL: &str = "platform.yml";
/// What is applied by those who want it.
const EXTRAS: &str = "deploy/kubernetes";
/// How a manifest of ours is told from one that was written by hand. Lines are as long as in the source.
const HEAD: &str =
    "# Written by `cargo xtask manifests`; edit what it is made from.\n# yamllint disable rule:line-length\n";

/// Writes every manifest, or compares it; `true` when there is nothing to complain of.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let rendered = render(root)?;
    let stale = stale(root, &rendered)?;
    let names = ("manifests", "not what its source says: run `make manifests`");
    written::settle(root, options, names, &rendered, &stale)
}

/// Every manifest by its path.
fn render(root: &Path) -> Result<BTreeMap<String, String>> {
    let rules = files(root, "monitoring/rules", "yml")?;
    let mut rendered = BTreeMap::new();
    rendered.insert(
        format!("{FOLDER}/51-prometheus-rules.yaml"),
        config_map("prometheus-rules", "prometheus", &rules),
    );
    for (name, text) in rules.iter().filter(|(name, _)| name != OF_ALL) {
        let stem = name.trim_end_matches(".yml");
        rendered.insert(format!("{EXTRAS}/operator/rules-{stem}.yaml"), prometheus_rule(stem, text));
    }
    let mut provisioning = files(root, "grafana/provisioning/datasources", "yml")?;
    provisioning.extend(files(root, "grafana/provisioning/dashboards", "yml")?);
    rendered.insert(
        format!("{FOLDER}/61-grafana-provisioning.yaml"),
        config_map("grafana-provisioning", "grafana", &provisioning),
    );
    for (name, text) in files(root, "grafana/dashboards", "json")? {
        let dashboard: Value = serde_json::from_str(&text).with_context(|| format!("in {name}"))?;
        let own = format!("grafana-{}", name.trim_end_matches(".json"));
        let compact = [(name, format!("{dashboard}\n"))];
        rendered.insert(format!("{FOLDER}/62-{own}.yaml"), config_map(&own, "grafana", &compact));
    }
    let locustfile = [("locustfile.py".to_owned(), read(&root.join("locustfile.py"))?)];
    rendered
        .insert(format!("{EXTRAS}/locust/locustfile.yaml"), config_map("locustfile", "locust", &locustfile));
    Ok(rendered)
}

/// Name and text of each file of a directory with this ending, by name.
fn files(root: &Path, directory: &str, ending: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root.join(directory)).with_context(|| format!("listing {directory}"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|own| own == ending) {
            found.push((name.to_owned(), read(&path)?));
        }
    }
    if found.is_empty() {
        bail!("{directory} has no .{ending} file");
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// A ConfigMap of `files`, for the pods that are called `app`.
fn config_map(name: &str, app: &str, files: &[(String, String)]) -> String {
    let mut text = format!(
        "{HEAD}apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: ballast\n  \
         labels: {{app.kubernetes.io/part-of: ballast, app.kubernetes.io/name: {app}}}\ndata:\n"
    );
    for (file, content) in files {
        text += &format!("  {file}: |\n{}", indented(content, 4));
    }
    text
}

/// A file of rules as Prometheus's operator wants it.
fn prometheus_rule(stem: &str, rules: &str) -> String {
    format!(
        "{HEAD}apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: ballast-{stem}\n  namespace: ballast\n  \
         labels: {{app.kubernetes.io/part-of: ballast}}\nspec:\n{}",
        indented(rules, 2)
    )
}

/// The lines of `text`, further right; empty ones stay empty.
fn indented(text: &str, by: usize) -> String {
    let margin = " ".repeat(by);
    text.trim_end()
        .lines()
        .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("{margin}{line}\n") })
        .collect()
}

/// The manifests that are missing or differ, and those of ours whose source is gone.
fn stale(root: &Path, rendered: &BTreeMap<String, String>) -> Result<Vec<String>> {
    let text_at = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let mut stale: Vec<String> = rendered
        .iter()
        .filter(|(path, text)| text_at(path).as_ref() != Some(*text))
        .map(|(path, _)| path.clone())
        .collect();
    for directory in [FOLDER.to_owned(), format!("{EXTRAS}/operator"), format!("{EXTRAS}/locust")] {
        for (name, text) in files(root, &directory, "yaml")? {
            let path = format!("{directory}/{name}");
            if text.starts_with(HEAD) && !rendered.contains_key(&path) {
                stale.push(path);
            }
        }
    }
    Ok(stale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_manifest_is_what_its_source_says() {
        let root = crate::workspace::root().unwrap();
        let rendered = render(&root).unwrap();
        assert_eq!(stale(&root, &rendered).unwrap(), [""; 0], "run `make manifests`");
    }

    #[test]
    fn a_manifest_that_is_missing_or_edited_or_without_source_is_stale() {
        let root = crate::workspace::root().unwrap();
        let mut rendered = render(&root).unwrap();
        rendered.insert("k8s/59-more.yaml".to_owned(), String::new());
        rendered.get_mut("k8s/51-prometheus-rules.yaml").unwrap().push('#');
        rendered.remove("k8s/62-grafana-lb-geo.yaml");
        let stale = stale(&root, &rendered).unwrap();
        assert_eq!(stale, ["k8s/51-prometheus-rules.yaml", "k8s/59-more.yaml", "k8s/62-grafana-lb-geo.yaml"]);
    }

    #[test]
    fn empty_lines_have_no_margin_and_the_end_is_one_line_end() {
        assert_eq!(indented("a:\n\n  b\n\n", 2), "  a:\n\n    b\n");
    }
}
