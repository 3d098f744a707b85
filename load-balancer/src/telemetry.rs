//! From a backend's own words to a [`Report`]: scraped answers and load reports in headers. Pure; who asks is `control`.
//!
//! [`Reader`] keeps, for one backend, what rates need from one scrape to the next. Whatever is wrong with an answer, it
//! ends as a [`Miss`] that names it; a number that is missing or cannot be true is unknown, and never zero.

use lb_core::Tick;
use lb_core::signal::Report;

use crate::config::{Measure, Of, Scrape, Signal, Source};

mod exposition;
mod header;
mod meter;

pub use header::{Taken, take_report};
use meter::Meter;

/// The values of the label `result` of scrapes.
pub const RESULTS: [&str; 7] = ["ok", "timeout", "refused", "status", "too_large", "unreadable", "empty"];

/// Why a scrape brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// Not all of it came in time.
    #[error("no whole answer within signals.timeout")]
    Timeout,
    /// No connection, or none that lasted to the answer's head.
    #[error("{0}")]
    Refused(String),
    /// Another status than 200.
    #[error("status {0}")]
    Status(u16),
    /// The body goes on beyond the limit, in bytes.
    #[error("the answer is longer than signals.max_bytes ({0})")]
    TooLarge(usize),
    /// It is not in the form that was asked for.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
    /// It is, but none of the numbers wanted is there, or none that can be true.
    #[error("none of the signals wanted is in the answer")]
    Empty,
}

impl Miss {
    /// The label `result`.
    #[must_use]
    pub fn result(&self) -> &'static str {
        match self {
            Miss::Timeout => "timeout",
            Miss::Refused(_) => "refused",
            Miss::Status(_) => "status",
            Miss::TooLarge(_) => "too_large",
            Miss::Unreadable(_) => "unreadable",
            Miss::Empty => "empty",
        }
    }
}

/// The name and labels in `name{label="value"}`, as a configuration may write a series.
pub(crate) fn series(text: &str) -> Option<(&str, impl Iterator<Item = (&str, String)>)> {
    let (name, labels, rest) = exposition::series(text.trim())?;
    let owned = |(name, value): (_, std::borrow::Cow<'_, str>)| (name, value.into_owned());
    rest.is_empty().then(|| (name, labels.map(owned)))
}

/// Reads one backend's answers, one after the other.
#[derive(Debug)]
pub struct Reader {
    backend: String,
    source: Source,
    meters: Vec<(Signal, Meter)>,
    /// Names of all metrics wanted: other lines are not looked at.
    wanted: Vec<String>,
}

impl Reader {
    /// For the answers of the backend of this name.
    #[must_use]
    pub fn new(settings: &Scrape, backend: &str) -> Self {
        let meters: Vec<_> = settings.map.iter().map(|(signal, m)| (*signal, Meter::new(m))).collect();
        let mut wanted = Vec::new();
        settings.map.values().for_each(|measure| names(measure, &mut wanted));
        wanted.sort();
        wanted.dedup();
        Reader { backend: backend.to_owned(), source: settings.source, meters, wanted }
    }

    /// What `body`, which came at `now`, says. A report without any number is not a miss where rates are still to come,
    /// at the second scrape.
    ///
    /// # Errors
    /// Where it says nothing.
    pub fn read(&mut self, body: &[u8], now: Tick) -> Result<Report, Miss> {
        match self.source {
            Source::Metrics => self.read_metrics(body)?,
            Source::Stats => {
                let document = serde_json::from_slice(body).map_err(|e| Miss::Unreadable(e.to_string()))?;
                self.meters.iter_mut().for_each(|(_, meter)| meter.look_at(&document, &self.backend));
            }
        }
        let mut pending = false;
        let mut found = [None; Signal::ALL.len()];
        for (signal, meter) in &mut self.meters {
            found[*signal as usize] = meter.value(now, &mut pending);
        }
        let value = |signal| found[signal as usize];
        let report = Report {
            utilization: value(Signal::Utilization),
            cpu: value(Signal::Cpu),
            memory: self.share(&found, Signal::Memory, Signal::MemoryLimit),
            connections: self.share(&found, Signal::Connections, Signal::ConnectionsLimit),
            in_flight: value(Signal::InFlight),
            good: value(Signal::Good),
        };
        let report = report.credible();
        if report.is_empty() && !pending { Err(Miss::Empty) } else { Ok(report) }
    }

    fn read_metrics(&mut self, body: &[u8]) -> Result<(), Miss> {
        // Bytes that are no UTF-8 spoil the lines they are in, not the answer.
        let text = String::from_utf8_lossy(body);
        if !exposition::looks_right(&text) {
            return Err(Miss::Unreadable("it is no Prometheus text".to_owned()));
        }
        let read = exposition::each(&text, &self.wanted, |sample| {
            self.meters.iter_mut().for_each(|(_, meter)| meter.take(sample, &self.backend));
        });
        if read.good == 0 && read.bad > 0 {
            return Err(Miss::Unreadable(format!("{} lines are no samples", read.bad)));
        }
        Ok(())
    }

    /// A number over its limit, where there is one.
    fn share(&self, found: &[Option<f64>], of: Signal, limit: Signal) -> Option<f64> {
        let value = found[of as usize]?;
        match self.meters.iter().any(|(signal, _)| *signal == limit) {
            true => found[limit as usize].filter(|limit| *limit > 0.0).map(|limit| value / limit),
            // A share as it is told. A few connections would pass for one.
            false => (of == Signal::Memory).then_some(value),
        }
    }
}

/// The names of the metrics that a measure wants.
fn names(measure: &Measure, wanted: &mut Vec<String>) {
    if let Of::Series { metric, .. } = &measure.of {
        wanted.push(metric.clone());
    }
    for other in [&measure.over, &measure.or].into_iter().flatten() {
        names(other, wanted);
    }
}

#[cfg(test)]
mod tests;
