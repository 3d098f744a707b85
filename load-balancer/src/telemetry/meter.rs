//! One number out of an answer: what matches is gathered, made a rate where it is one, combined and scaled.
//!
//! Rates are made series by series, since a sum that loses a member looks like a counter that was reset. Time is the
//! sample's own where it has a timestamp (an exporter may show the same sample twice), else that of the scrape.

use std::collections::HashMap;

use lb_core::Tick;
use lb_core::hash::hash64;
use serde_json::Value;

use super::exposition::Sample;
use crate::config::{Combine, Measure, Of};

/// A measure at work.
#[derive(Debug)]
pub(super) struct Meter {
    measure: Measure,
    over: Option<Box<Meter>>,
    or: Option<Box<Meter>>,
    /// What this answer has brought.
    found: Vec<Point>,
    /// What rates are made from, by series.
    before: HashMap<u64, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    series: u64,
    value: f64,
    stamp: Option<f64>,
}

/// A counter as it was.
#[derive(Debug, Clone, Copy)]
struct Seen {
    value: f64,
    at: f64,
    stamped: bool,
    /// How fast it grew until then.
    rate: Option<f64>,
}

impl Meter {
    pub(super) fn new(measure: &Measure) -> Self {
        let own = |other: &Option<Box<Measure>>| other.as_deref().map(|m| Box::new(Meter::new(m)));
        Meter {
            over: own(&measure.over),
            or: own(&measure.or),
            measure: Measure { over: None, or: None, ..measure.clone() },
            found: Vec::new(),
            before: HashMap::new(),
        }
    }

    fn others(&mut self) -> impl Iterator<Item = &mut Meter> {
        [&mut self.over, &mut self.or].into_iter().filter_map(Option::as_deref_mut)
    }

    /// Takes a sample of an exposition, where it is one of its own.
    pub(super) fn take(&mut self, sample: Sample<'_>, backend: &str) {
        if let Of::Series { metric, labels } = &self.measure.of
            && metric == sample.name
            && labels.iter().all(|(name, matcher)| {
                let value = { sample.labels }.find(|(label, _)| label == name);
                matcher.fits(value.as_ref().map_or("", |(_, value)| value), backend)
            })
        {
            self.point(sample.series, sample.value, sample.stamp);
        }
        self.others().for_each(|other| other.take(sample, backend));
    }

    /// Takes what it wants out of a document.
    pub(super) fn look_at(&mut self, document: &Value, backend: &str) {
        if let Of::Pointer { pointer, keys } = &self.measure.of {
            let at = document.pointer(pointer);
            let one = at.and_then(Value::as_f64).map(|value| (String::new(), value));
            let members = at.and_then(Value::as_object).into_iter().flatten();
            let fitting = members.filter(|(key, _)| keys.fits(key, backend));
            let many = fitting.filter_map(|(key, value)| Some((key.clone(), value.as_f64()?)));
            let found: Vec<_> = one.into_iter().chain(many).collect();
            found.iter().for_each(|(key, value)| self.point(key, *value, None));
        }
        self.others().for_each(|other| other.look_at(document, backend));
    }

    fn point(&mut self, series: &str, value: f64, stamp: Option<f64>) {
        if value.is_finite() {
            self.found.push(Point { series: hash64(series.as_bytes()), value, stamp });
        }
    }

    /// What was found since the last time, as one number. `pending` turns true where a rate waits for a second scrape.
    pub(super) fn value(&mut self, now: Tick, pending: &mut bool) -> Option<f64> {
        let found = std::mem::take(&mut self.found);
        let own = match (&self.measure.of, self.measure.rate) {
            (Of::Number(number), _) => Some(*number),
            (_, false) => combined(self.measure.combine, found.iter().map(|point| point.value)),
            (_, true) => self.rate(&found, now, pending),
        };
        // Always all of them: rates must not miss a scrape.
        let over = self.over.as_mut().map(|over| over.value(now, pending));
        let or = self.or.as_mut().and_then(|or| or.value(now, pending));
        let share = match over {
            None => own,
            Some(over) => own.zip(over).filter(|(_, over)| *over > 0.0).map(|(own, over)| own / over),
        };
        let scaled = share.map(|share| share * self.measure.scale);
        let value = if self.measure.complement { scaled.map(|x| (1.0 - x).max(0.0)) } else { scaled };
        value.filter(|value| value.is_finite()).or(or)
    }

    /// Per second, over all series that were there before. A counter that went back gives no rate this time.
    fn rate(&mut self, found: &[Point], now: Tick, pending: &mut bool) -> Option<f64> {
        let mut reset = false;
        let scraped = now.nanos() as f64 / 1e9;
        let mut after = HashMap::with_capacity(found.len());
        for point in found {
            let (at, stamped) = (point.stamp.unwrap_or(scraped), point.stamp.is_some());
            let before = self.before.get(&point.series).filter(|seen| seen.stamped == stamped);
            let rate = match before {
                Some(seen) if at == seen.at => seen.rate,
                Some(seen) if point.value < seen.value || at < seen.at => {
                    reset = true;
                    None
                }
                Some(seen) => Some((point.value - seen.value) / (at - seen.at)),
                None => None,
            };
            after.insert(point.series, Seen { value: point.value, at, stamped, rate });
        }
        let rates = combined(self.measure.combine, after.values().filter_map(|seen| seen.rate));
        self.before = after;
        *pending |= !found.is_empty() && (reset || rates.is_none());
        rates.filter(|_| !reset)
    }
}

fn combined(how: Combine, values: impl Iterator<Item = f64>) -> Option<f64> {
    let (n, sum, max) = values
        .fold((0_u32, 0.0, f64::NEG_INFINITY), |(n, sum, max), value| (n + 1, sum + value, value.max(max)));
    (n > 0).then(|| match how {
        Combine::Sum => sum,
        Combine::Mean => sum / f64::from(n),
        Combine::Max => max,
    })
}
