//! Figures over a run's records.
//!
//! Percentiles are HdrHistogram's over microseconds with three digits: exact enough for a tail, small enough to write down.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Record;

/// The longest latency told apart, in microseconds: an hour.
const LONGEST_US: u64 = 3_600_000_000;
/// Significant digits of a percentile.
const DIGITS: u8 = 3;

/// Figures over all records of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Summary {
    /// All of them.
    pub(crate) requests: u64,
    /// Those without a whole answer, or with a status of 400 and above.
    pub(crate) failed: u64,
    /// From the first request due to the last end, in seconds.
    pub(crate) seconds: f64,
    /// Answers a second, failures left out.
    pub(crate) throughput: f64,
    /// How many answers had each status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Why there was no answer, and how often.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Who answered how often.
    pub(crate) instances: BTreeMap<String, u64>,
    /// From when a request was due to its end, good ones only.
    pub(crate) latency_ms: Quantiles,
    /// From sending to its end, good ones only.
    pub(crate) service_ms: Quantiles,
    /// In the client's own queue.
    pub(crate) queued_ms: Quantiles,
}

/// Percentiles, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Quantiles {
    /// The mean.
    pub(crate) mean: f64,
    /// Half are below.
    pub(crate) p50: f64,
    /// Nine of ten are below.
    pub(crate) p90: f64,
    /// 99 of 100 are below.
    pub(crate) p99: f64,
    /// 999 of 1,000 are below.
    pub(crate) p999: f64,
    /// The longest.
    pub(crate) max: f64,
}

impl Summary {
    /// Over `records`.
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut summary = Summary { requests: records.len() as u64, ..Summary::default() };
        for record in records {
            summary.failed += u64::from(!record.good());
            if let Some(status) = record.status {
                *summary.statuses.entry(status).or_default() += 1;
            }
            if let Some(error) = &record.error {
                *summary.errors.entry(error.clone()).or_default() += 1;
            }
            if let Some(instance) = &record.instance {
                *summary.instances.entry(instance.clone()).or_default() += 1;
            }
        }
        let first = records.iter().map(Record::due).fold(f64::INFINITY, f64::min);
        let last = records.iter().map(|record| record.resp_rcv_time).fold(f64::NEG_INFINITY, f64::max);
        summary.seconds = if records.is_empty() { 0.0 } else { (last - first).max(0.0) };
        let good = (summary.requests - summary.failed) as f64;
        summary.throughput = if summary.seconds > 0.0 { good / summary.seconds } else { 0.0 };
        summary.latency_ms = Quantiles::of(records.iter().filter(|r| r.good()).map(Record::latency));
        summary.service_ms = Quantiles::of(records.iter().filter(|r| r.good()).map(Record::service));
        summary.queued_ms = Quantiles::of(records.iter().map(Record::queued));
        summary
    }
}

impl Quantiles {
    /// Of durations in seconds; all zero where there are none.
    pub(crate) fn of(seconds: impl Iterator<Item = f64>) -> Self {
        // The bounds are constants that HdrHistogram takes.
        let Ok(mut histogram) = Histogram::<u64>::new_with_max(LONGEST_US, DIGITS) else {
            return Quantiles::default();
        };
        seconds.for_each(|s| histogram.saturating_record((s * 1e6).round() as u64));
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Quantiles {
            mean: if histogram.is_empty() { 0.0 } else { histogram.mean() / 1e3 },
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(due: f64, sent: f64, end: f64, status: Option<u16>) -> Record {
        let error = status.is_none().then(|| "timeout".to_owned());
        let instance = status.map(|_| "S1".to_owned());
        Record {
            instance,
            req_due_time: Some(due),
            req_snd_time: sent,
            resp_rcv_time: end,
            status,
            error,
            ..Record::default()
        }
    }

    #[test]
    fn failures_count_and_do_not_shorten_latencies() {
        let records = [
            record(10.0, 10.001, 10.011, Some(200)),
            record(10.5, 10.5, 10.502, Some(503)),
            record(11.0, 11.0, 12.0, None),
        ];
        let summary = Summary::of(&records);
        assert_eq!((summary.requests, summary.failed), (3, 2));
        assert!((summary.seconds - 2.0).abs() < 1e-9);
        assert!((summary.throughput - 0.5).abs() < 1e-9);
        assert_eq!(summary.errors["timeout"], 1);
        assert_eq!(summary.instances["S1"], 2);
        assert!((summary.latency_ms.p99 - 11.0).abs() < 0.02, "{summary:?}");
        assert!((summary.service_ms.max - 10.0).abs() < 0.02, "{summary:?}");
        assert!((summary.queued_ms.max - 1.0).abs() < 0.02, "{summary:?}");
    }

    #[test]
    fn nothing_sent_is_all_zero() {
        assert_eq!(Summary::of(&[]), Summary::default());
    }
}
