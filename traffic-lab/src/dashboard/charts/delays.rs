//! Charts 4 and 5: how long each request took, by when it was sent. Service delay is the client's view, from sending to
//! the last byte; processing delay the server's, from its receiving to its answering.
//!
//! Dots that would lie on one another are one: a column of the screen wide, a hundredth of the value high, so that it holds
//! for linear and logarithmic axes alike. Where that leaves too many for a browser, both grow.

use std::collections::HashSet;

use serde::Serialize;

use super::{Seen, Window, micros};
use crate::results::Record;

/// Columns that dots are told apart in.
const COLUMNS: f64 = 600.0;
/// By what share values differ that are told apart.
const SHARE: f64 = 0.01;
/// Most dots of a chart: measured, what a browser without a graphics card redraws in a blink.
const MOST: usize = 2_000;
/// Multiples of it spread evenly over the parts of 1.
const GOLDEN: f64 = 0.618_034;
/// Shorter delays are told apart from each other no more, in milliseconds.
const SHORTEST_MS: f64 = 0.001;

/// Dots by instance, and those that failed.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Delays {
    good: Vec<Dots>,
    failed: Dots,
    /// Requests in the window that have this delay.
    requests: usize,
    /// Dots that they are drawn as.
    drawn: usize,
}

/// Dots, one an index.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Dots {
    time: Vec<f64>,
    ms: Vec<f64>,
}

impl Delays {
    /// Of `seen`, with the delay in seconds that `delay` tells.
    pub(super) fn of(
        seen: &[Seen<'_>],
        instances: usize,
        window: Window,
        delay: impl Fn(&Record) -> Option<f64>,
    ) -> Self {
        let all: Vec<(&Seen<'_>, f64)> = seen
            .iter()
            .filter(|one| window.has(one.sent))
            .filter_map(|one| Some((one, delay(one.record)? * 1e3)))
            .collect();
        let (mut width, mut share) = (window.length() / COLUMNS, SHARE);
        let mut delays = Self::thinned(&all, instances, window, width, share);
        while delays.drawn > MOST && width < window.length() {
            (width, share) = (width * 1.4, share * 1.4);
            delays = Self::thinned(&all, instances, window, width, share);
        }
        delays
    }

    fn thinned(all: &[(&Seen<'_>, f64)], instances: usize, window: Window, width: f64, share: f64) -> Self {
        let mut delays =
            Delays { good: vec![Dots::default(); instances], requests: all.len(), ..Delays::default() };
        let mut taken = HashSet::new();
        for (one, ms) in all {
            let good = one.record.good();
            let row = (ms.max(SHORTEST_MS).ln() / share).floor();
            // Columns begin elsewhere in each row: the first dot of each would make stripes otherwise.
            let column = ((one.sent - window.from) / width + (row * GOLDEN).rem_euclid(1.0)) as i64;
            // A failure is never hidden by a good answer, nor one instance by another.
            if taken.insert((good.then_some(one.instance), column, row as i64)) {
                let dots = if good { &mut delays.good[one.instance] } else { &mut delays.failed };
                dots.time.push(micros(one.sent));
                dots.ms.push(micros(*ms));
                delays.drawn += 1;
            }
        }
        delays
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Charts, record};
    use super::MOST;
    use crate::results::Record;

    #[test]
    fn few_are_all_drawn_and_failures_apart() {
        let timed =
            Record { req_rcv_time: Some(7.0), resp_snd_time: Some(7.004), ..record("A", 1.0, 1.01, 200) };
        let records = [timed, record("B", 1.5, 1.6, 200), record("B", 1.5, 1.6, 500)];
        let charts = Charts::of(&records, None, None);
        assert_eq!(
            (&charts.service.good[0].time[..], &charts.service.good[0].ms[..]),
            (&[0.0][..], &[10.0][..])
        );
        assert_eq!((charts.service.good[1].ms.len(), charts.service.failed.ms.len()), (1, 1));
        assert_eq!((charts.service.requests, charts.service.drawn), (3, 3));
        assert_eq!((charts.processing.requests, charts.processing.good[0].ms[0]), (1, 4.0));
    }

    #[test]
    fn many_are_bounded_and_the_slowest_is_among_them() {
        let delay = |n: u32| 0.001 + f64::from(n * 7_919 % 10_007) * 1e-5;
        let mut records: Vec<Record> = (0..20_000u32)
            .map(|n| record("A", f64::from(n) * 1e-3, f64::from(n) * 1e-3 + delay(n), 200))
            .collect();
        records.push(record("A", 10.0, 12.0, 200));
        let whole = Charts::of(&records, None, None).service;
        assert_eq!(whole.requests, 20_001);
        assert!(whole.drawn <= MOST && whole.drawn > MOST / 3, "{}", whole.drawn);
        assert!(whole.good[0].ms.iter().any(|&ms| ms > 1_999.0));
        let part = Charts::of(&records, Some(1.0), Some(1.5)).service;
        assert_eq!((part.requests, part.drawn), (501, 501));
    }
}
