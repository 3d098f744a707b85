//! What a backend is asked about itself, and where in its answer each number stands.
//!
//! One small closed form, [`Measure`], for both kinds of answers (metrics and JSON): presets are written in it
//! (`presets.toml`) and a file's own `[signals.map]` is laid over them. It fails by naming what is not there: a number
//! that cannot be found is unknown, never zero.

use std::collections::BTreeMap;
use std::time::Duration;

/// What is believed about a backend from itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Signals {
    /// How it is asked; `None` asks nobody.
    pub scrape: Option<Scrape>,
    /// Whether load reports in response headers are read, and kept from clients.
    pub headers: bool,
}

/// How backends are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Scrape {
    /// What they answer.
    pub source: Source,
    /// What to GET.
    pub path: String,
    /// Where, on the backend's host; `None` is the backend's own port.
    pub port: Option<u16>,
    /// Between two scrapes, ± 15 %.
    pub interval: Duration,
    /// For one scrape, its body included; shorter than the interval.
    pub timeout: Duration,
    /// Longest body that is read.
    pub max_bytes: usize,
    /// Where each signal stands.
    pub map: Map,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A Prometheus text exposition.
    Metrics,
    /// One JSON document.
    Stats,
}

/// Where each signal stands; one that is not here is not known.
pub type Map = BTreeMap<Signal, Measure>;

/// What can be known about a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "named as in lb_core::signal::Report; a limit divides what it limits")]
pub enum Signal {
    Utilization,
    Cpu,
    Memory,
    MemoryLimit,
    Connections,
    ConnectionsLimit,
    InFlight,
    Good,
}

impl Signal {
    /// All of them by their names in the configuration.
    pub const ALL: [(&'static str, Signal); 8] = [
        ("utilization", Signal::Utilization),
        ("cpu", Signal::Cpu),
        ("memory", Signal::Memory),
        ("memory_limit", Signal::MemoryLimit),
        ("connections", Signal::Connections),
        ("connections_limit", Signal::ConnectionsLimit),
        ("in_flight", Signal::InFlight),
        ("good", Signal::Good),
    ];
}

/// How one number is made: `of`, per second if it is a rate, combined over all that match, divided by `over`, times
/// `scale`, taken from 1 if it is a complement; or what `or` makes, where that gives no number.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// Where it stands.
    pub of: Of,
    /// How much it grows in a second, instead of how much it is.
    pub rate: bool,
    /// What becomes of several.
    pub combine: Combine,
    /// What it is divided by.
    pub over: Option<Box<Measure>>,
    /// A factor.
    pub scale: f64,
    /// 1 − x, never below 0.
    pub complement: bool,
    /// What serves instead.
    pub or: Option<Box<Measure>>,
}

impl Measure {
    /// The plain number that stands there, or the sum of all that match.
    #[must_use]
    pub fn plain(of: Of) -> Self {
        let combine = Combine::Sum;
        Measure { of, rate: false, combine, over: None, scale: 1.0, complement: false, or: None }
    }
}

/// Where numbers stand.
#[derive(Debug, Clone, PartialEq)]
pub enum Of {
    /// In the configuration: a limit that the backend does not tell.
    Number(f64),
    /// In all series of this name whose labels fit.
    Series {
        /// The metric's name.
        metric: String,
        /// Labels that must fit; one that is missing is empty, as Prometheus has it.
        labels: Vec<(String, Matcher)>,
    },
    /// At a JSON Pointer (RFC 6901): a number, or an object with some of its members.
    Pointer {
        /// The pointer.
        pointer: String,
        /// Which members of the object count.
        keys: Matcher,
    },
}

/// What becomes of several numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are what they are called")]
pub enum Combine {
    Sum,
    Mean,
    Max,
}

/// Patterns for one text. It fits where it fits one of `any` (or there are none) and none of `none`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matcher {
    /// One of these.
    pub any: Vec<Pattern>,
    /// None of these: written with `!` in front.
    pub none: Vec<Pattern>,
}

impl Matcher {
    /// Whether `text` fits; `backend` is the name that [`Pattern::Backend`] stands for.
    #[must_use]
    pub fn fits(&self, text: &str, backend: &str) -> bool {
        let one = |patterns: &[Pattern]| patterns.iter().any(|p| p.fits(text, backend));
        (self.any.is_empty() || one(&self.any)) && !one(&self.none)
    }
}

/// A pattern for one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This text.
    Exact(String),
    /// A text that begins like this: written with `*` behind.
    Prefix(String),
    /// The backend's name: written `$backend`.
    Backend,
}

impl Pattern {
    fn fits(&self, text: &str, backend: &str) -> bool {
        match self {
            Pattern::Exact(exact) => text == exact,
            Pattern::Prefix(prefix) => text.starts_with(prefix),
            Pattern::Backend => text == backend,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_want_one_and_refuse_others() {
        let exact = |text: &str| Pattern::Exact(text.to_owned());
        let prefix = |text: &str| Pattern::Prefix(text.to_owned());
        let good = Matcher { any: vec![prefix("2"), exact("404")], none: vec![exact("204")] };
        let fits: Vec<bool> = ["200", "404", "204", "500", ""].map(|t| good.fits(t, "b1")).into();
        assert_eq!(fits, [true, true, false, false, false]);
        assert!(Matcher::default().fits("", "b1"), "no pattern, no condition");
        let own = Matcher { any: vec![Pattern::Backend], none: Vec::new() };
        assert!(own.fits("b1", "b1") && !own.fits("b2", "b1") && !own.fits("", "b1"));
    }
}
