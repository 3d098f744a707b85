//! Chart 1: each request as a bar from sending to its end, in its instance's band.
//!
//! Requests at once lie in lanes above one another, so the height of a band is how much an instance had at once. Neighbours
//! with one outcome that together are thinner than a column are one bar.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;

use serde::Serialize;

use super::{Seen, Window, micros};

/// Columns that bars are told apart in: two pixels each, since a bar and a gap need one.
const COLUMNS: f64 = 600.0;

/// All bars, with the bands that they lie in.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Timeline {
    /// The lowest lane of each instance, and how many it has.
    bands: Vec<(usize, usize)>,
    /// Good answers, by instance.
    good: Vec<Bars>,
    /// All others, of every instance.
    failed: Bars,
}

/// Bars, one an index.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Bars {
    start: Vec<f64>,
    end: Vec<f64>,
    lane: Vec<usize>,
    /// The status, or why there is none.
    outcome: Vec<String>,
    /// Requests that are drawn as one.
    count: Vec<usize>,
}

/// Lanes of one instance: which are free, and when the others will be.
#[derive(Default)]
struct Lanes {
    free: BinaryHeap<Reverse<usize>>,
    taken: BinaryHeap<Reverse<(u64, usize)>>,
    count: usize,
}

impl Lanes {
    /// The lowest lane that is free from `start` to `end`. Starts never go back.
    fn take(&mut self, start: f64, end: f64) -> usize {
        // Nanoseconds compare as integers do.
        let tick = |seconds: f64| (seconds * 1e9) as u64;
        while let Some(&Reverse((until, lane))) = self.taken.peek()
            && until <= tick(start)
        {
            self.taken.pop();
            self.free.push(Reverse(lane));
        }
        let lane = self.free.pop().map_or_else(
            || {
                self.count += 1;
                self.count - 1
            },
            |Reverse(lane)| lane,
        );
        self.taken.push(Reverse((tick(end), lane)));
        lane
    }
}

impl Timeline {
    /// Of `seen`, which is in the order of sending.
    pub(super) fn of(seen: &[Seen<'_>], instances: usize, window: Window) -> Self {
        let mut lanes: Vec<Lanes> = Vec::new();
        lanes.resize_with(instances, Lanes::default);
        let taken: Vec<usize> = seen.iter().map(|one| lanes[one.instance].take(one.sent, one.end)).collect();
        let mut timeline = Timeline { good: vec![Bars::default(); instances], ..Timeline::default() };
        let mut first = 0;
        for lanes in &lanes {
            timeline.bands.push((first, lanes.count));
            first += lanes.count;
        }
        let column = window.length() / COLUMNS;
        // Bars that may still grow, each the last of its lane and outcome.
        let mut last = HashMap::new();
        for (one, lane) in seen.iter().zip(taken) {
            if one.end < window.from || one.sent > window.to {
                continue;
            }
            let lane = timeline.bands[one.instance].0 + lane;
            let good = one.record.good();
            let bars = if good { &mut timeline.good[one.instance] } else { &mut timeline.failed };
            let key = (lane, one.record.status, one.record.error.as_deref());
            if let Some(&at) = last.get(&key)
                && one.end - bars.start[at] <= column
            {
                bars.end[at] = micros(one.end);
                bars.count[at] += 1;
                continue;
            }
            last.insert(key, bars.start.len());
            let outcome = one.record.status.map(|status| status.to_string());
            bars.push(one, lane, outcome.or_else(|| one.record.error.clone()).unwrap_or_default());
        }
        timeline
    }
}

impl Bars {
    fn push(&mut self, one: &Seen<'_>, lane: usize, outcome: String) {
        self.start.push(micros(one.sent));
        self.end.push(micros(one.end));
        self.lane.push(lane);
        self.outcome.push(outcome);
        self.count.push(1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Charts, record};

    #[test]
    fn requests_at_once_lie_above_one_another_and_a_free_lane_is_used_again() {
        let records = [
            record("A", 0.0, 2.0, 200),
            record("A", 1.0, 3.0, 200),
            record("A", 2.0, 4.0, 503),
            record("B", 0.0, 1.0, 200),
        ];
        let timeline = Charts::of(&records, None, None).timeline;
        assert_eq!(timeline.bands, [(0, 2), (2, 1)]);
        assert_eq!(timeline.good[0].lane, [0, 1]);
        assert_eq!(
            (&timeline.failed.lane[..], &timeline.failed.outcome[..]),
            (&[0][..], &["503".to_owned()][..])
        );
        assert_eq!((timeline.good[1].lane[0], timeline.good[1].end[0]), (2, 1.0));
    }

    #[test]
    fn what_is_thinner_than_a_column_is_one_bar_and_zooming_takes_it_apart() {
        let mut records: Vec<_> =
            (0..100).map(|n| record("A", f64::from(n) * 1e-5, f64::from(n + 1) * 1e-5, 200)).collect();
        records.push(record("A", 0.0, 10.0, 200));
        let whole = Charts::of(&records, None, None).timeline;
        assert_eq!(whole.good[0].start.len(), 2);
        assert_eq!(whole.good[0].count.iter().sum::<usize>(), 101);
        let part = Charts::of(&records, Some(0.0), Some(1e-3)).timeline;
        assert_eq!(part.good[0].start.len(), 101);
    }

    #[test]
    fn failures_of_one_kind_are_one_bar_too_and_keep_their_outcome() {
        let at = |n: u32| f64::from(n) * 1e-5;
        let statuses = [200, 500, 503, 500];
        let mut records: Vec<_> =
            (0..4_000).map(|n| record("A", at(n), at(n + 1), statuses[n as usize % 4])).collect();
        records.push(record("A", 0.0, 40.0, 200));
        let failed = Charts::of(&records, None, None).timeline.failed;
        assert_eq!(failed.outcome, ["500", "503"]);
        assert_eq!(failed.count, [2_000, 1_000]);
        let part = Charts::of(&records, Some(0.0), Some(1e-3)).timeline.failed;
        assert!(part.count.iter().all(|count| *count == 1), "zooming takes them apart");
    }
}
