//! Chart 3: good answers a second, since the beginning (cumulative) and of late (windowed), and failures of late.
//!
//! The width of "of late" is a fortieth of what is drawn, made round: wide enough for a calm line, narrow enough to show a
//! dip.

use serde::Serialize;

use super::{Seen, Window, micros};

/// Points of a line.
const POINTS: u32 = 400;
/// Windows in what is drawn, at most.
const WINDOWS: f64 = 40.0;

/// Three lines over the same times.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Rates {
    /// How long "of late" is, in seconds.
    width: f64,
    time: Vec<f64>,
    cumulative: Vec<f64>,
    windowed: Vec<f64>,
    /// Absent where nothing failed.
    failed: Option<Vec<f64>>,
}

impl Rates {
    /// Of these records.
    pub(super) fn of(seen: &[Seen<'_>], window: Window) -> Self {
        let ends = |good: bool| {
            let mut ends: Vec<f64> =
                seen.iter().filter(|one| one.record.good() == good).map(|one| one.end).collect();
            ends.sort_by(f64::total_cmp);
            ends
        };
        let (good, failed) = (ends(true), ends(false));
        let width = round(window.length() / WINDOWS);
        let times: Vec<f64> = (1..=POINTS)
            .map(|n| window.from + window.length() * f64::from(n) / f64::from(POINTS))
            .filter(|&at| at > 0.0)
            .collect();
        let late = |ends: &[f64]| -> Vec<f64> {
            times
                .iter()
                .map(|&at| (until(ends, at) - until(ends, at - width)) / width.min(at))
                .map(tenth)
                .collect()
        };
        Rates {
            width,
            cumulative: times.iter().map(|&at| tenth(until(&good, at) / at)).collect(),
            windowed: late(&good),
            failed: (!failed.is_empty()).then(|| late(&failed)),
            time: times.iter().map(|&at| micros(at)).collect(),
        }
    }
}

/// How many of `ends`, which are in order, are not after `at`.
fn until(ends: &[f64], at: f64) -> f64 {
    // The last grid point is the last end, give or take a rounding.
    ends.partition_point(|&end| end <= at + 1e-9) as f64
}

fn tenth(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// The next of …, 0.1, 0.2, 0.5, 1, 2, 5, … that is not below.
fn round(seconds: f64) -> f64 {
    let decade = 10f64.powf(seconds.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * decade >= seconds * 0.999_999);
    factor.unwrap_or(10.0) * decade
}

#[cfg(test)]
mod tests {
    use super::super::{Charts, record};
    use super::round;

    #[test]
    fn a_steady_rate_is_one_line_and_a_pause_shows_in_the_window_only() {
        // 100 a second for 4 s, nothing for 4 s, and one failure at the end.
        let at = |n: i32| f64::from(n) / 100.0;
        let mut records: Vec<_> = (0..400).map(|n| record("A", at(n), at(n + 1), 200)).collect();
        records.push(record("A", 4.0, 8.0, 500));
        let rates = Charts::of(&records, None, None).rates;
        assert!((rates.width - 0.2).abs() < 1e-9);
        let index = |at: f64| rates.time.iter().position(|&time| (time - at).abs() < 1e-6).unwrap();
        assert_eq!((rates.cumulative[index(4.0)], rates.windowed[index(4.0)]), (100.0, 100.0));
        assert_eq!((rates.cumulative[index(8.0)], rates.windowed[index(8.0)]), (50.0, 0.0));
        assert_eq!(rates.failed.unwrap()[399], 5.0);
        assert_eq!(Charts::of(&records[..400], None, None).rates.failed, None);
    }

    #[test]
    fn widths_are_round() {
        for (asked, is) in [(0.11, 0.2), (0.1, 0.1), (0.3, 0.5), (7.0, 10.0), (1.0, 1.0)] {
            assert!((round(asked) - is).abs() < 1e-9, "{asked}");
        }
    }
}
