//! The section `[signals]`: how backends are asked about themselves, and where in their answers each number stands.
//!
//! Presets go through the same reading as a file's own `[signals.map]`, so they can say nothing that a file could not.

use std::sync::LazyLock;
use std::time::Duration;

use toml::{Table, Value};

use super::super::raw;
use super::super::signals::{Combine, Map, Matcher, Measure, Of, Pattern, Scrape, Signal, Signals, Source};
use super::{Checker, quoted};
use crate::telemetry;

/// The presets by their names; the last has nothing of its own.
const PRESETS: [&str; 4] = ["ballast", "node_exporter", "cadvisor", CUSTOM];
const CUSTOM: &str = "custom";
/// What they say; that it is a table in the right form is held by a test.
static PRESET_TABLE: LazyLock<Table> =
    LazyLock::new(|| include_str!("../presets.toml").parse().unwrap_or_default());

/// Between scrapes: below the least they would be load of their own, above the most they say nothing about now.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(300));
/// Bytes of an answer: the least is a handful of series; the most is what the control side reads without a pause that
/// its other duties would feel.
const MAX_BYTES: (u64, u64) = (1 << 10, 16 << 20);
/// Stands for `signals.container_label` as a label's name.
const CONTAINER: &str = "$container";
/// Stands for the backend's name as a label's value.
const BACKEND: &str = "$backend";

/// What a mapping is read for.
struct Form<'a> {
    source: Source,
    container: &'a str,
}

impl Checker {
    pub(super) fn signals(&mut self, raw: &raw::Signals) -> Signals {
        let faults = self.faults.0.len();
        self.unknown("signals", &raw.unknown, raw::Signals::KEYS);
        let source = self.one_of("signals.source", raw.source.as_ref(), &["off", "metrics", "stats"]);
        let form = if source == 2 { Source::Stats } else { Source::Metrics };
        let default = if form == Source::Stats { "/stats" } else { "/metrics" };
        let path = Some(self.text("signals.path", raw.path.as_ref(), "")).filter(|path| !path.is_empty());
        let path = path.unwrap_or_else(|| default.to_owned());
        if !path.starts_with('/') || path.contains(char::is_whitespace) {
            self.faults.add("signals.path", &quoted(&path), "must begin with / and have no spaces");
        }
        let port = self.int("signals.port", raw.port.as_ref(), 0, 0, 65_535) as u16;
        let interval = self.time("signals.interval", raw.interval.as_ref(), "2s");
        if !(INTERVAL.0..=INTERVAL.1).contains(&interval) {
            let text = quoted(&format!("{interval:?}"));
            self.faults.add("signals.interval", &text, "must be from \"250ms\" to \"5m\"");
        }
        let timeout = self.time("signals.timeout", raw.timeout.as_ref(), "1s");
        if timeout >= interval && self.faults.0.len() == faults {
            let remedy = "must be shorter than signals.interval: an answer that late says nothing about now";
            self.faults.add("signals.timeout", &quoted(&format!("{timeout:?}")), remedy);
        }
        let (least, most) = MAX_BYTES;
        let max_bytes = self.size("signals.max_bytes", raw.max_bytes.as_ref(), 1 << 20, least, most);
        let scrape = Scrape {
            source: form,
            path,
            port: (port > 0).then_some(port),
            interval,
            timeout,
            max_bytes: max_bytes as usize,
            map: self.map(raw, form),
        };
        if source > 0 && scrape.map.is_empty() && self.faults.0.len() == faults {
            let remedy = "must say where at least one signal stands: cpu = \"my_cpu_ratio\"";
            self.faults.add("signals.map", "", remedy);
        }
        Signals {
            scrape: (source > 0).then_some(scrape),
            headers: self.flag("signals.headers", raw.headers.as_ref(), true),
        }
    }

    /// The preset with the file's own table over it.
    fn map(&mut self, raw: &raw::Signals, source: Source) -> Map {
        let container = self.text("signals.container_label", raw.container_label.as_ref(), "name");
        let form = Form { source, container: &container };
        let preset = PRESETS[self.one_of("signals.preset", raw.preset.as_ref(), &PRESETS)];
        let mut map = preset_of(preset, &form).unwrap_or_else(|| {
            let remedy = "knows no JSON: write signals.source = \"metrics\", or the preset ballast or custom";
            self.faults.add("signals.preset", &quoted(preset), remedy);
            Map::new()
        });
        match &raw.map {
            None => {}
            Some(Value::Table(table)) => {
                map.extend(self.measures("signals.map", table, &form));
                if table.contains_key("connections") && !map.contains_key(&Signal::ConnectionsLimit) {
                    let remedy =
                        "are a share of something: say of what by connections_limit (1 for a share as it is)";
                    self.faults.add("signals.map.connections", "", remedy);
                }
            }
            Some(other) => {
                let remedy = "must be a table: [signals.map] with cpu = \"my_cpu_ratio\" below it";
                self.faults.add("signals.map", &other.to_string(), remedy);
            }
        }
        map
    }

    fn measures(&mut self, section: &str, table: &Table, form: &Form<'_>) -> Map {
        let mut map = Map::new();
        for (key, value) in table {
            let field = format!("{section}.{key}");
            let Some((_, signal)) = Signal::ALL.iter().find(|(name, _)| name == key) else {
                let known: Vec<_> = Signal::ALL.iter().map(|(name, _)| *name).collect();
                let remedy = format!("is no signal; known: {}", known.join(", "));
                self.faults.add(&field, &value.to_string(), remedy);
                continue;
            };
            let limit = matches!(signal, Signal::MemoryLimit | Signal::ConnectionsLimit);
            match self.measure(&field, value, form) {
                Some(measure) if matches!(measure.of, Of::Number(_)) && !limit => {
                    self.faults.add(
                        &field,
                        &value.to_string(),
                        "must be measured: only limits are plain numbers",
                    );
                }
                Some(measure) => {
                    map.insert(*signal, measure);
                }
                None => {}
            }
        }
        map
    }

    /// A number, a text that says where a number stands, or a table with more.
    fn measure(&mut self, field: &str, value: &Value, form: &Form<'_>) -> Option<Measure> {
        match value {
            Value::Integer(n) => Some(Measure::plain(Of::Number(*n as f64))),
            Value::Float(x) if x.is_finite() => Some(Measure::plain(Of::Number(*x))),
            Value::String(text) => self.place(field, text, form).map(Measure::plain),
            Value::Table(table) => self.measure_table(field, table, form),
            other => {
                let remedy = match form.source {
                    Source::Metrics => {
                        "must be a metric like 'name{label=\"value\"}' or { metric = \"name\", … }"
                    }
                    Source::Stats => {
                        "must be a JSON pointer like \"/cpu/ratio\" or { pointer = \"/cpu/ratio\", … }"
                    }
                };
                self.faults.add(field, &other.to_string(), remedy);
                None
            }
        }
    }

    fn measure_table(&mut self, field: &str, table: &Table, form: &Form<'_>) -> Option<Measure> {
        let [at, narrowed] = match form.source {
            Source::Metrics => ["metric", "labels"],
            Source::Stats => ["pointer", "keys"],
        };
        let known = [at, narrowed, "as", "combine", "over", "scale", "complement", "or"];
        for (key, value) in table.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            let remedy = format!("is unknown here; known: {}", known.join(", "));
            self.faults.add(&format!("{field}.{key}"), &value.to_string(), remedy);
        }
        let leaf = |name: &str| (format!("{field}.{name}"), table.get(name));
        let (of_field, of) = leaf(at);
        let mut of = match of {
            Some(Value::String(text)) => self.place(&of_field, text, form),
            other => {
                let found = other.map(Value::to_string).unwrap_or_default();
                self.faults.add(&of_field, &found, format!("must be there, in quotes: {at} = \"…\""));
                None
            }
        };
        if let ((field, Some(value)), Some(of)) = (leaf(narrowed), &mut of) {
            match of {
                Of::Series { labels, .. } => labels.extend(self.labels(&field, value, form)),
                Of::Pointer { keys, .. } => *keys = self.matcher(&field, value),
                Of::Number(_) => {}
            }
        }
        let (field, value) = leaf("as");
        let rate = self.one_of(&field, value, &["gauge", "rate"]) == 1;
        let (field, value) = leaf("combine");
        let combine = [Combine::Sum, Combine::Mean, Combine::Max];
        let combine = combine[self.one_of(&field, value, &["sum", "mean", "max"])];
        let (field, value) = leaf("scale");
        let scale = self.float(&field, value, 1.0, -1e12, 1e12);
        let (field, value) = leaf("complement");
        let complement = self.flag(&field, value, false);
        let mut other = |name| {
            let (field, value) = leaf(name);
            value.and_then(|value| self.measure(&field, value, form)).map(Box::new)
        };
        let (over, or) = (other("over"), other("or"));
        Some(Measure { of: of?, rate, combine, over, scale, complement, or })
    }

    /// Where a number stands, in short.
    fn place(&mut self, field: &str, text: &str, form: &Form<'_>) -> Option<Of> {
        let place = match form.source {
            Source::Metrics => telemetry::series(text).map(|(name, labels)| {
                let label = |(name, value): (&str, String)| {
                    let name = if name == CONTAINER { form.container } else { name };
                    (name.to_owned(), matcher([value.as_str()]))
                };
                Of::Series { metric: name.to_owned(), labels: labels.map(label).collect() }
            }),
            Source::Stats => (text.starts_with('/') && text.len() > 1)
                .then(|| Of::Pointer { pointer: text.to_owned(), keys: Matcher::default() }),
        };
        if place.is_none() {
            let remedy = match form.source {
                Source::Metrics => "is no metric: write name or 'name{label=\"value\"}'",
                Source::Stats => "is no JSON pointer: write \"/cpu/ratio\"",
            };
            self.faults.add(field, &quoted(text), remedy);
        }
        place
    }

    fn labels(&mut self, field: &str, value: &Value, form: &Form<'_>) -> Vec<(String, Matcher)> {
        let Some(table) = value.as_table() else {
            self.faults.add(field, &value.to_string(), "must be a table: { mode = \"idle\" }");
            return Vec::new();
        };
        let label = |(name, value): (&String, &Value)| {
            let matcher = self.matcher(&format!("{field}.{name}"), value);
            (if name == CONTAINER { form.container } else { name }.to_owned(), matcher)
        };
        table.iter().map(label).collect()
    }

    /// One pattern or a list of them.
    fn matcher(&mut self, field: &str, value: &Value) -> Matcher {
        match value {
            Value::String(text) => matcher([text.as_str()]),
            list => matcher(self.texts(field, Some(list), &[]).iter().map(String::as_str)),
        }
    }
}

fn matcher<'a>(texts: impl IntoIterator<Item = &'a str>) -> Matcher {
    let mut matcher = Matcher::default();
    for text in texts {
        match text.strip_prefix('!') {
            Some(text) => matcher.none.push(pattern(text)),
            None => matcher.any.push(pattern(text)),
        }
    }
    matcher
}

fn pattern(text: &str) -> Pattern {
    match text.strip_suffix('*') {
        Some(prefix) => Pattern::Prefix(prefix.to_owned()),
        None if text == BACKEND => Pattern::Backend,
        None => Pattern::Exact(text.to_owned()),
    }
}

/// What a preset says about a source; `None` where it knows none of that form.
fn preset_of(name: &str, form: &Form<'_>) -> Option<Map> {
    if name == CUSTOM {
        return Some(Map::new());
    }
    let source = if form.source == Source::Stats { "stats" } else { "metrics" };
    let own = PRESET_TABLE.get(name)?.get(source)?.as_table()?;
    Some(Checker::default().measures(name, own, form))
}

#[cfg(test)]
mod tests;
