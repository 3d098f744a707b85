//! What is measured of a run, by name: one table for scenario files, tables, charts and JSON.

use serde::Deserialize;

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Latency percentiles and mean (ms), from arrival to the end of the answer; a missed deadline counts as the deadline,
    /// a failure not at all (see `p99_mapped`).
    P50,
    P90,
    P99,
    P999,
    Max,
    Mean,
    /// The same with every failure as a missed deadline.
    P99Mapped,
    /// Share of requests that failed.
    ErrorShare,
    /// Share of requests that missed their deadline.
    MissedShare,
    /// Share of requests answered well within a second.
    WithinSecond,
    /// Most used server over the mean.
    UtilMaxOverMean,
    /// Jain's fairness of the servers' utilisations: 1 is even.
    UtilJain,
    /// Share of requests served in another zone.
    CrossShare,
    /// Utilisation of the busiest zone.
    ZoneUtilMax,
    /// Share of the servers' work that nobody waited for any more.
    WastedShare,
    /// Work answered in time over the capacity, in the focus period.
    Goodput,
    /// Probes and pushed messages per request.
    MessagesPerRequest,
    /// Share of attempts sent to the faulty servers.
    FaultyShare,
    /// Share of attempts sent to the faulty servers in the focus period, over their fair share.
    FaultyFocus,
    /// The largest of several: each faulty server's share in the focus period, over its own fair share.
    FaultyFocusMax,
    /// Seconds from the fault until p99 is near what it was.
    RecoverS,
    /// p99 in the focus period (ms).
    FocusP99,
    /// The same over p99 before the fault.
    FocusRise,
    /// Share of requests failed or late in the focus period.
    FocusBad,
    /// Requests at the fullest server over the mean, by core: the mean of all ticks.
    HeldMaxOverMean,
    /// Share of the newcomers' attempts sent to the faulty servers in the focus period, over their fair share.
    NewcomerFocus,
    /// p99 in the focus period of requests that came to newcomers, over that of all.
    NewcomerRise,
}

impl Metric {
    /// All of them with the names that files use.
    pub(crate) const ALL: [(Metric, &'static str); COUNT] = [
        (Metric::P50, "p50"),
        (Metric::P90, "p90"),
        (Metric::P99, "p99"),
        (Metric::P999, "p999"),
        (Metric::Max, "max"),
        (Metric::Mean, "mean"),
        (Metric::P99Mapped, "p99_mapped"),
        (Metric::ErrorShare, "error_share"),
        (Metric::MissedShare, "missed_share"),
        (Metric::WithinSecond, "within_second"),
        (Metric::UtilMaxOverMean, "util_max_over_mean"),
        (Metric::UtilJain, "util_jain"),
        (Metric::CrossShare, "cross_share"),
        (Metric::ZoneUtilMax, "zone_util_max"),
        (Metric::WastedShare, "wasted_share"),
        (Metric::Goodput, "goodput"),
        (Metric::MessagesPerRequest, "messages_per_request"),
        (Metric::FaultyShare, "faulty_share"),
        (Metric::FaultyFocus, "faulty_focus"),
        (Metric::FaultyFocusMax, "faulty_focus_max"),
        (Metric::RecoverS, "recover_s"),
        (Metric::FocusP99, "focus_p99"),
        (Metric::FocusRise, "focus_rise"),
        (Metric::FocusBad, "focus_bad"),
        (Metric::HeldMaxOverMean, "held_max_over_mean"),
        (Metric::NewcomerFocus, "newcomer_focus"),
        (Metric::NewcomerRise, "newcomer_rise"),
    ];

    /// Its name in files.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// How many there are.
const COUNT: usize = 27;

/// The measurements of one run; those that mean nothing in it are not numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Numbers([f64; COUNT]);

impl Default for Numbers {
    fn default() -> Self {
        Numbers([f64::NAN; COUNT])
    }
}

impl Numbers {
    /// One of them.
    pub(crate) fn get(&self, metric: Metric) -> f64 {
        self.0[metric as usize]
    }

    /// Sets one.
    pub(crate) fn set(&mut self, metric: Metric, value: f64) {
        self.0[metric as usize] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_speaks_as_files_do() {
        for (at, (metric, name)) in Metric::ALL.into_iter().enumerate() {
            assert_eq!((metric as usize, metric.name()), (at, name));
            let read: Metric = serde_json::from_value(name.into()).unwrap();
            assert_eq!(read, metric);
        }
    }
}
