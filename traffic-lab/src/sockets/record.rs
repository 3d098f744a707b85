//! What the generator saw, request by request, and the figures made of it.
//!
//! Errors are counted apart from latencies: an instant failure would otherwise improve a percentile. A second set of
//! percentiles maps every failure to the deadline, which is what a client makes of it.
//! How it fails: a run without answers has no percentiles: they are those of the deadline.

use std::collections::BTreeMap;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use super::generator::DEADLINE;

/// Significant digits of every histogram.
const DIGITS: u8 = 3;
/// The largest latency that a histogram keeps, in microseconds: twice the deadline, so that none is cut off.
const LONGEST_US: u64 = 2 * DEADLINE.as_micros() as u64;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// With 200.
    Answered,
    /// With another code.
    Status(u16),
    /// Without an answer: the connection broke.
    Broken,
    /// Without an answer: the deadline passed.
    Deadline,
}

/// One request as the generator saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    /// Due, in seconds of measured time.
    pub(crate) due_s: f64,
    /// From when it was due until it ended, in microseconds.
    pub(crate) latency_us: u64,
    /// From when it was due until the generator took it up, in microseconds.
    pub(crate) late_us: u64,
    /// How it ended.
    pub(crate) end: End,
}

/// One second of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Second {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) p99_ms: f64,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    /// Figures by name.
    pub(crate) figures: BTreeMap<&'static str, f64>,
    /// Failures by kind.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Second by second, by when requests were due.
    pub(crate) seconds: Vec<Second>,
}

/// Sums up a run.
pub(crate) fn summary(records: &[Record]) -> Result<Summary> {
    let answered = || records.iter().filter(|record| record.end == End::Answered);
    let deadline_us = DEADLINE.as_micros() as u64;
    let mapped = |record: &Record| if record.end == End::Answered { record.latency_us } else { deadline_us };
    let latencies = histogram(answered().map(|record| record.latency_us))?;
    let with_failures = histogram(records.iter().map(mapped))?;
    let late = histogram(records.iter().map(|record| record.late_us))?;
    let failed = records.len() - answered().count();
    let ms = |histogram: &Histogram<u64>, quantile: f64| {
        if histogram.is_empty() {
            DEADLINE.as_secs_f64() * 1e3
        } else {
            histogram.value_at_quantile(quantile) as f64 / 1e3
        }
    };
    let figures = BTreeMap::from([
        ("requests", records.len() as f64),
        ("p50_ms", ms(&latencies, 0.5)),
        ("p99_ms", ms(&latencies, 0.99)),
        ("p999_ms", ms(&latencies, 0.999)),
        ("max_ms", ms(&latencies, 1.0)),
        ("p99_failed_ms", ms(&with_failures, 0.99)),
        ("p999_failed_ms", ms(&with_failures, 0.999)),
        ("error_percent", 100.0 * failed as f64 / records.len().max(1) as f64),
        ("late_p999_ms", ms(&late, 0.999)),
        ("late_max_ms", ms(&late, 1.0)),
    ]);
    let mut errors = BTreeMap::new();
    for record in records.iter().filter(|record| record.end != End::Answered) {
        let kind = match record.end {
            End::Status(code) => code.to_string(),
            other => format!("{other:?}").to_lowercase(),
        };
        *errors.entry(kind).or_default() += 1;
    }
    Ok(Summary { figures, errors, seconds: seconds(records)? })
}

fn seconds(records: &[Record]) -> Result<Vec<Second>> {
    let mut by_second: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
    for record in records {
        by_second.entry(record.due_s as u64).or_default().push(record);
    }
    let second = |records: &Vec<&Record>| {
        let answered = records.iter().filter(|record| record.end == End::Answered);
        let latencies = histogram(answered.map(|record| record.latency_us))?;
        let requests = records.len() as u64;
        let p99_ms = latencies.value_at_quantile(0.99) as f64 / 1e3;
        Ok(Second { requests, errors: requests - latencies.len(), p99_ms })
    };
    by_second.values().map(second).collect()
}

fn histogram(values_us: impl Iterator<Item = u64>) -> Result<Histogram<u64>> {
    let mut histogram = Histogram::new_with_bounds(1, LONGEST_US, DIGITS)?;
    values_us.for_each(|value| histogram.saturating_record(value.max(1)));
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(latency_us: u64, end: End) -> Record {
        Record { due_s: latency_us as f64 / 1e6, latency_us, late_us: 100, end }
    }

    #[test]
    fn errors_are_no_latencies() {
        let mut records: Vec<Record> = (1..=950).map(|n| record(n * 1000, End::Answered)).collect();
        records.extend((0..50).map(|_| record(1, End::Status(500))));
        let summary = summary(&records).unwrap();
        let about = |name: &str, expected: f64| {
            let value = summary.figures[name];
            assert!((value / expected - 1.0).abs() < 2e-3, "{name}: {value}");
        };
        about("p50_ms", 475.0);
        about("p99_ms", 941.0);
        about("max_ms", 950.0);
        about("p99_failed_ms", 5000.0);
        about("error_percent", 5.0);
        about("late_p999_ms", 0.1);
        assert_eq!(summary.errors, BTreeMap::from([("500".to_owned(), 50)]));
        assert_eq!((summary.seconds.len(), summary.seconds[0].errors), (1, 50));
    }

    #[test]
    fn a_run_without_answers_is_all_deadline() {
        let figures = summary(&[record(5_000_000, End::Deadline)]).unwrap().figures;
        assert_eq!((figures["p50_ms"], figures["error_percent"]), (5000.0, 100.0));
    }
}
