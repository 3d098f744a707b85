//! From what is asked to PromQL: the five forms of a query, `%matchers`, `%each`, and what stands for nothing.
//!
//! Written once here because it is written wrongly so often: a ratio that is 0 without errors and absent without
//! traffic, never NaN; percentiles from summed buckets; rates over Grafana's own interval.
//! How it fails: an unknown matcher or a query of no form, or of two, is an error.

use anyhow::{Context as _, Result, bail};

use super::description::{Code, Query, Shared};

/// The window of every rate.
const WINDOW: &str = "$__rate_interval";
/// Matchers may hold others, so deep.
const NESTING_MAX: usize = 5;

/// A query as Grafana sends it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) expr: String,
    pub(super) legend: String,
}

/// Every target of a query: one, or one for each quantile or thing.
pub(super) fn targets(query: &Query, shared: &Shared) -> Result<Vec<Target>> {
    let mut targets = forms(query)?;
    if let Some(kind) = &query.each {
        let things = shared.colours.get(kind).with_context(|| format!("`each` names no colours: {kind}"))?;
        let template = targets.swap_remove(0).expr;
        targets = things
            .iter()
            .map(|thing| Target {
                expr: template.replace("%each", thing.pattern.as_ref().unwrap_or(&thing.name)),
                legend: thing.name.clone(),
            })
            .collect();
    }
    for target in &mut targets {
        if let Some(name) = &query.zero {
            target.expr = format!("{} or on() {}", target.expr, nothing(&target.legend, name));
        }
        target.expr = expand(&target.expr, shared)?;
    }
    Ok(targets)
}

/// The query's form as PromQL, matchers not yet expanded.
fn forms(query: &Query) -> Result<Vec<Target>> {
    let by = by(&query.by);
    let legend = query.legend.clone().unwrap_or_else(|| {
        query.by.iter().map(|label| format!("{{{{{label}}}}}")).collect::<Vec<_>>().join(" ")
    });
    let one = |expr: String| Ok(vec![Target { expr, legend: legend.clone() }]);
    match (&query.expr, &query.rate, &query.ratio, &query.mean, &query.percentiles) {
        (Some(expr), None, None, None, None) => one(expr.split_whitespace().collect::<Vec<_>>().join(" ")),
        (None, Some(counter), None, None, None) => one(rate(&by, counter)),
        (None, None, Some(part), None, None) => {
            let whole = rate(&by, query.of.as_deref().context("a ratio needs `of`")?);
            one(format!("({} or 0 * {whole}) / ({whole} > 0)", rate(&by, part)))
        }
        (None, None, None, Some(histogram), None) => {
            let (sum, count) = (suffixed(histogram, "_sum"), suffixed(histogram, "_count"));
            one(format!("{} / ({} > 0)", rate(&by, &sum), rate(&by, &count)))
        }
        (None, None, None, None, Some(histogram)) => Ok(percentiles(query, histogram, &legend)),
        _ => bail!("a query has one of expr, rate, ratio, mean, percentiles"),
    }
}

fn percentiles(query: &Query, histogram: &str, legend: &str) -> Vec<Target> {
    let labels: Vec<String> = query.by.iter().cloned().chain(["le".to_owned()]).collect();
    let buckets = rate(&by(&labels), &suffixed(histogram, "_bucket"));
    let name = |q: f64| match (query.q.len(), legend) {
        (_, "") => percent(q),
        (1, _) => legend.to_owned(),
        _ => format!("{legend} {}", percent(q)),
    };
    // Without traffic a quantile is NaN, and what is compared with NaN is absent.
    query
        .q
        .iter()
        .map(|&q| Target { expr: format!("histogram_quantile({q}, {buckets}) >= 0"), legend: name(q) })
        .collect()
}

/// `p95` for 0.95.
fn percent(q: f64) -> String {
    format!("p{}", (q * 1000.0).round() / 10.0)
}

fn rate(by: &str, counter: &str) -> String {
    format!("sum{by} (rate({counter}[{WINDOW}]))")
}

fn by(labels: &[String]) -> String {
    if labels.is_empty() { String::new() } else { format!(" by ({})", labels.join(", ")) }
}

/// `name{…}` as `name_suffix{…}`.
fn suffixed(selector: &str, suffix: &str) -> String {
    match selector.split_once('{') {
        Some((name, rest)) => format!("{name}{suffix}{{{rest}"),
        None => format!("{selector}{suffix}"),
    }
}

/// Zero, with the first label of the legend saying what it stands for.
fn nothing(legend: &str, name: &str) -> String {
    let label = legend.split_once("{{").and_then(|(_, rest)| rest.split_once("}}"));
    match label {
        Some((label, _)) => format!("label_replace(vector(0), \"{label}\", \"{name}\", \"\", \"\")"),
        None => "vector(0)".to_owned(),
    }
}

/// Replaces every `%name`, by a matcher or a coded set of states.
pub(super) fn expand(text: &str, shared: &Shared) -> Result<String> {
    let mut text = text.to_owned();
    for _ in 0..NESTING_MAX {
        let Some(next) = expand_once(&text, shared)? else { return Ok(text) };
        text = next;
    }
    bail!("matchers hold each other: {text}");
}

fn expand_once(text: &str, shared: &Shared) -> Result<Option<String>> {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    let mut found = false;
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(part.len());
        let (name, rest) = part.split_at(end);
        if name.is_empty() {
            out.push('%');
        } else if let Some(code) = shared.codes.get(name) {
            out.push_str(&coded(code, shared)?);
            found = true;
        } else {
            out.push_str(shared.matchers.get(name).with_context(|| format!("no matcher is named %{name}"))?);
            found = true;
        }
        out.push_str(rest);
    }
    Ok(found.then_some(out))
}

/// One series per backend, whose value is the position of its state in the table. Of several balancers the worse counts.
fn coded(code: &Code, shared: &Shared) -> Result<String> {
    let Code { metric, label, colours } = code;
    let states = shared.colours.get(colours).with_context(|| format!("no colours are named {colours}"))?;
    let coded = states
        .iter()
        .enumerate()
        .map(|(index, state)| format!("{index} * ({metric}{{%backend,{label}=\"{}\"}} == 1)", state.name));
    Ok(format!("max by (pool, backend) ({})", coded.collect::<Vec<_>>().join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        toml::from_str(
            r#"
            variables = []
            annotations = []
            [matchers]
            lb = 'job="j"'
            pool = '%lb,pool="p"'
            loop = '%loop'
            [colours]
            class = [{ name = "2xx", colour = "green", pattern = "2.." }, { name = "rest", colour = "red" }]
            [drills]
            "#,
        )
        .unwrap()
    }

    fn made(toml: &str) -> Vec<(String, String)> {
        let query: Query = toml::from_str(toml).unwrap();
        targets(&query, &shared()).unwrap().into_iter().map(|target| (target.expr, target.legend)).collect()
    }

    #[test]
    fn a_rate_and_a_ratio_keep_their_labels() {
        let (expr, legend) = made("rate = 'x_total{%pool}'\nby = ['a', 'b']").remove(0);
        assert_eq!(expr, "sum by (a, b) (rate(x_total{job=\"j\",pool=\"p\"}[$__rate_interval]))");
        assert_eq!(legend, "{{a}} {{b}}");
        let (expr, _) = made("ratio = 'x_total{c=\"5\"}'\nof = 'x_total'").remove(0);
        let whole = "sum (rate(x_total[$__rate_interval]))";
        assert_eq!(
            expr,
            format!("(sum (rate(x_total{{c=\"5\"}}[$__rate_interval])) or 0 * {whole}) / ({whole} > 0)")
        );
    }

    #[test]
    fn percentiles_are_named_and_never_nan() {
        let made = made("percentiles = 'x_seconds{%lb}'\nq = [0.5, 0.999]");
        assert_eq!(
            made[0].0,
            "histogram_quantile(0.5, sum by (le) (rate(x_seconds_bucket{job=\"j\"}[$__rate_interval]))) >= 0"
        );
        assert_eq!([&made[0].1[..], &made[1].1[..]], ["p50", "p99.9"]);
    }

    #[test]
    fn each_thing_is_a_target_and_nothing_is_a_zero() {
        let made = made("expr = 'sum(x{code=~\"%each\"})'\neach = 'class'\nzero = 'none'");
        assert_eq!(made[0], ("sum(x{code=~\"2..\"}) or on() vector(0)".to_owned(), "2xx".to_owned()));
        assert_eq!(made[1].0, "sum(x{code=~\"rest\"}) or on() vector(0)");
        assert_eq!(
            nothing("{{code}} {{x}}", "none"),
            "label_replace(vector(0), \"code\", \"none\", \"\", \"\")"
        );
    }

    #[test]
    fn faults_are_told() {
        for bad in
            ["expr = '%nowhere'", "expr = '%loop'", "by = ['a']", "expr = 'a'\nrate = 'b'", "ratio = 'a'"]
        {
            let query: Query = toml::from_str(bad).unwrap();
            assert!(targets(&query, &shared()).is_err(), "{bad}");
        }
        let plain: Query = toml::from_str("expr = 'a % b'").unwrap();
        assert_eq!(targets(&plain, &shared()).unwrap()[0].expr, "a % b");
    }
}
