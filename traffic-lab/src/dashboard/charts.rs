//! The five charts of a run, as series that are ready to be drawn: timeline, active requests, rates, and two kinds of delay.
//!
//! A screen has a thousand columns, a run may have a hundred thousand records. So each chart has a resolution, and what
//! would be drawn on the same spot is told once; between two moments that lie closer together, more is told. Times are
//! seconds since the first request was due.
//! How it fails: it does not; records without an instance have one that says so, and without times of the server there
//! are no processing delays.

mod active;
mod delays;
mod rates;
mod timeline;

use std::cmp::Ordering;

use serde::Serialize;

use crate::results::Record;

/// Who answered, where the answer does not say.
const UNNAMED: &str = "not named";
/// Who answered, where nobody did.
const NOBODY: &str = "no answer";

/// What is drawn, from and to when.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Window {
    from: f64,
    to: f64,
}

impl Window {
    fn length(self) -> f64 {
        self.to - self.from
    }

    fn has(self, at: f64) -> bool {
        self.from <= at && at <= self.to
    }
}

/// All five.
#[derive(Debug, Serialize)]
pub(super) struct Charts {
    /// The part that is drawn.
    window: Window,
    /// All there is.
    whole: Window,
    /// Everybody who answered, S2 before S10.
    instances: Vec<String>,
    timeline: timeline::Timeline,
    active: Vec<active::Active>,
    rates: rates::Rates,
    service: delays::Delays,
    processing: delays::Delays,
}

/// A record as charts see it.
#[derive(Clone, Copy, Debug)]
struct Seen<'a> {
    record: &'a Record,
    /// Which of the instances.
    instance: usize,
    sent: f64,
    end: f64,
}

impl Charts {
    /// Of these records, between two moments or as a whole.
    pub(super) fn of(records: &[Record], from: Option<f64>, to: Option<f64>) -> Self {
        let first = records.iter().map(Record::due).fold(f64::INFINITY, f64::min);
        let mut instances: Vec<String> = records.iter().map(|record| name(record).to_owned()).collect();
        instances.sort_by(|a, b| naturally(a, b));
        instances.dedup();
        let at = |record: &Record| {
            instances.binary_search_by(|known| naturally(known, name(record))).unwrap_or_default()
        };
        let mut seen: Vec<Seen<'_>> = records
            .iter()
            .map(|record| Seen {
                record,
                instance: at(record),
                sent: record.req_snd_time - first,
                end: record.resp_rcv_time - first,
            })
            .collect();
        seen.sort_by(|a, b| a.sent.total_cmp(&b.sent));
        let end = seen.iter().map(|seen| seen.end).fold(0.0, f64::max);
        let whole = Window { from: 0.0, to: if end > 0.0 { end } else { 1.0 } };
        let asked = Window { from: from.unwrap_or(whole.from), to: to.unwrap_or(whole.to) };
        let sound = asked.from.is_finite() && asked.to.is_finite() && asked.length() > 0.0;
        let window = if sound { asked } else { whole };
        Charts {
            window,
            whole,
            timeline: timeline::Timeline::of(&seen, instances.len(), window),
            active: active::all(&seen, instances.len(), window),
            rates: rates::Rates::of(&seen, window),
            service: delays::Delays::of(&seen, instances.len(), window, |r| Some(r.service())),
            processing: delays::Delays::of(&seen, instances.len(), window, Record::processing),
            instances,
        }
    }
}

fn name(record: &Record) -> &str {
    match &record.instance {
        Some(instance) => instance,
        None if record.status.is_some() => UNNAMED,
        None => NOBODY,
    }
}

/// By letters, with numbers at the end by value.
pub(in crate::dashboard) fn naturally(a: &str, b: &str) -> Ordering {
    let split = |text: &str| {
        let digits = text.bytes().rev().take_while(u8::is_ascii_digit).count();
        let (head, number) = text.split_at(text.len() - digits);
        (head.to_owned(), number.parse::<u64>().ok())
    };
    split(a).cmp(&split(b)).then_with(|| a.cmp(b))
}

/// To the microsecond: what is measured, and no digits beyond.
fn micros(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

#[cfg(test)]
fn record(instance: &str, sent: f64, end: f64, status: u16) -> Record {
    Record {
        instance: (!instance.is_empty()).then(|| instance.to_owned()),
        req_snd_time: sent,
        resp_rcv_time: end,
        status: (status != 0).then_some(status),
        ..Record::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_begins_with_the_first_request_and_instances_are_in_their_order() {
        let records = [
            record("S10", 100.5, 101.0, 200),
            record("S2", 100.0, 102.0, 200),
            record("", 100.1, 100.2, 0),
            record("", 100.1, 100.2, 200),
        ];
        let charts = Charts::of(&records, None, None);
        assert_eq!(charts.instances, ["S2", "S10", "no answer", "not named"]);
        assert_eq!((charts.window, charts.whole), (charts.whole, Window { from: 0.0, to: 2.0 }));
        let part = Charts::of(&records, Some(0.4), Some(0.6));
        assert_eq!(part.window, Window { from: 0.4, to: 0.6 });
        for (from, to) in [(2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY), (1.0, 1.0)] {
            assert_eq!(Charts::of(&records, Some(from), Some(to)).window, charts.whole);
        }
    }

    #[test]
    fn nothing_can_be_drawn_too() {
        let charts = Charts::of(&[], None, None);
        assert_eq!((charts.instances.len(), charts.whole.to), (0, 1.0));
    }
}
