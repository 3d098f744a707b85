//! The description as it is written: what the dashboards share, and one dashboard's rows and panels.
//!
//! How it fails: an unknown key is an error, so that a misspelt one is not passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What all dashboards share.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Shared {
    /// Label matchers by name: `%pool` in a query stands for the text of `pool`, which may hold others.
    pub(super) matchers: BTreeMap<String, String>,
    /// Sets of states as one number each: `%states` is a query made from `codes.states`.
    #[serde(default)]
    pub(super) codes: BTreeMap<String, Code>,
    /// Things by kind, in the order in which they are shown; the position is the number in state timelines.
    pub(super) colours: BTreeMap<String, Vec<Thing>>,
    /// Variables that dashboards choose from, in the order in which they are shown.
    pub(super) variables: Vec<Variable>,
    /// Annotations, on every dashboard.
    pub(super) annotations: Vec<Annotation>,
    /// Where a click on a series or a table's cell leads, by the label that it is about.
    pub(super) drills: BTreeMap<String, Drill>,
}

/// A gauge that is 1 for the state a backend is in, and whose states are numbered by a table of things.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Code {
    pub(super) metric: String,
    pub(super) label: String,
    pub(super) colours: String,
}

/// Something that has one colour everywhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Thing {
    pub(super) name: String,
    pub(super) colour: String,
    /// What `%each` stands for, where it is not the name.
    pub(super) pattern: Option<String>,
}

/// A dashboard variable, asked of Prometheus.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) query: String,
}

/// An event drawn over every panel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Annotation {
    pub(super) name: String,
    pub(super) expr: String,
    pub(super) colour: String,
    pub(super) title: String,
    pub(super) text: String,
}

/// A link to the dashboard that knows more; `%value` stands for what was clicked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drill {
    pub(super) title: String,
    pub(super) url: String,
}

/// One dashboard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dashboard {
    pub(super) title: String,
    pub(super) description: String,
    /// The shared variables that it has.
    pub(super) variables: Vec<String>,
    pub(super) row: Vec<Row>,
}

/// A row: one question, and the panels that answer it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) title: String,
    #[serde(default)]
    pub(super) collapsed: bool,
    pub(super) panel: Vec<Panel>,
}

/// A panel. What is left out has a default by its kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) kind: Kind,
    pub(super) description: String,
    pub(super) unit: String,
    pub(super) queries: Vec<Query>,
    /// A colour, then values and colours in turn: `["green", 0.01, "orange"]`.
    #[serde(default)]
    pub(super) thresholds: Vec<Step>,
    /// Whose colours the series have.
    pub(super) colours: Option<String>,
    /// Whose names the numbers have.
    pub(super) mappings: Option<String>,
    /// The label whose drill-down a click follows.
    pub(super) drill: Option<String>,
    #[serde(default)]
    pub(super) stack: Stack,
    #[serde(default)]
    pub(super) bars: bool,
    /// A logarithmic axis of this base.
    pub(super) log: Option<u8>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) decimals: Option<u8>,
    /// How a stat or gauge makes one value of a series.
    pub(super) calc: Option<String>,
    /// A stat shows the series' name instead of its value.
    #[serde(default)]
    pub(super) names: bool,
    /// The span that the panel looks back, whatever the dashboard shows.
    pub(super) span: Option<String>,
    /// One panel for each value of this variable.
    pub(super) repeat: Option<String>,
    /// A table's label columns, in order.
    #[serde(default)]
    pub(super) labels: Vec<String>,
    /// A table with one label down and one across.
    pub(super) matrix: Option<Matrix>,
    pub(super) w: Option<u16>,
    pub(super) h: Option<u16>,
}

/// Grafana's types of panel that we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Stat,
    Gauge,
    Timeseries,
    Bargauge,
    Table,
    Heatmap,
    StateTimeline,
}

/// A colour or a value.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Step {
    Colour(String),
    Value(f64),
}

/// Whether series lie on each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stack {
    #[default]
    None,
    Normal,
    Percent,
}

/// The labels of a matrix's rows and columns.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Matrix {
    pub(super) row: String,
    pub(super) column: String,
}

/// What is asked: one of `expr`, `rate`, `ratio`, `mean` or `percentiles`, which become PromQL.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// PromQL as it is.
    pub(super) expr: Option<String>,
    /// A counter: its rate, summed.
    pub(super) rate: Option<String>,
    /// A counter that is part of `of`.
    pub(super) ratio: Option<String>,
    pub(super) of: Option<String>,
    /// A histogram: its mean.
    pub(super) mean: Option<String>,
    /// A histogram, and the quantiles wanted.
    pub(super) percentiles: Option<String>,
    #[serde(default)]
    pub(super) q: Vec<f64>,
    /// The labels that are kept.
    #[serde(default)]
    pub(super) by: Vec<String>,
    /// Made from `by` where it is left out.
    pub(super) legend: Option<String>,
    /// One query for each thing of this kind, in order; `%each` stands for it.
    pub(super) each: Option<String>,
    /// What an empty answer is shown as, with the value 0: where nothing happened is not where nothing is known.
    pub(super) zero: Option<String>,
    /// The value now, no curve. Tables and bar gauges always.
    #[serde(default)]
    pub(super) instant: bool,
    /// A table's column, and how it looks.
    pub(super) column: Option<String>,
    pub(super) unit: Option<String>,
    #[serde(default)]
    pub(super) thresholds: Vec<Step>,
    pub(super) mappings: Option<String>,
}
