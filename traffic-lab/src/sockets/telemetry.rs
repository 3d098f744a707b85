//! What a backend measures of itself, and what it says of it: the names of Ballast's own backend service on `/metrics`,
//! and a load report on each response. Use is the share of busy slots over the last second.
//!
//! How it fails: as the scenario wants; see [`Telemetry`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use super::timeline::Telemetry;

/// How often use is looked at.
pub(crate) const LOOK_S: f64 = 0.1;
/// How many looks make the window of one second.
const WINDOW: usize = 10;
/// Memory shown: it plays no part here, but a backend that shows none would be told apart.
const MEMORY: f64 = 0.3;
/// What is no metric: a number that is none, a brace that never closes, and no line end.
const GARBAGE: &str = "backend_cpu_usage_ratio banana\n{{{ 1e999 NaN\n<html>";

/// What a backend counts.
#[derive(Debug)]
pub(crate) struct Meter {
    slots: f64,
    /// Slots busy now.
    pub(crate) busy: Cell<usize>,
    /// Requests being answered, waiting ones included.
    pub(crate) in_flight: Cell<usize>,
    /// Open connections.
    pub(crate) connections: Cell<usize>,
    codes: RefCell<BTreeMap<u16, u64>>,
    looks: RefCell<VecDeque<(usize, u64)>>,
    frozen: RefCell<Option<String>>,
}

impl Meter {
    /// Of a backend with so many slots.
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            slots: slots as f64,
            busy: Cell::default(),
            in_flight: Cell::default(),
            connections: Cell::default(),
            codes: RefCell::new(BTreeMap::from([(200, 0)])),
            looks: RefCell::default(),
            frozen: RefCell::default(),
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, code: u16) {
        *self.codes.borrow_mut().entry(code).or_default() += 1;
    }

    /// To be called each [`LOOK_S`].
    pub(crate) fn look(&self) {
        let mut looks = self.looks.borrow_mut();
        looks.push_back((self.busy.get(), self.codes.borrow().values().sum()));
        if looks.len() > WINDOW {
            looks.pop_front();
        }
    }

    /// Share of the slots busy, over the last second.
    pub(crate) fn utilisation(&self) -> f64 {
        let looks = self.looks.borrow();
        let busy: usize = looks.iter().map(|(busy, _)| busy).sum();
        busy as f64 / (looks.len().max(1) as f64 * self.slots)
    }

    /// Answers per second, over the last second.
    fn rate(&self) -> f64 {
        let looks = self.looks.borrow();
        let (Some((_, first)), Some((_, last))) = (looks.front(), looks.back()) else { return 0.0 };
        (last - first) as f64 / ((looks.len().max(2) - 1) as f64 * LOOK_S)
    }

    /// The body of `/metrics`; none where there is no such thing.
    pub(crate) fn metrics(&self, telemetry: Telemetry) -> Option<String> {
        let text = match telemetry {
            Telemetry::Off => return None,
            Telemetry::Garbage => return Some(GARBAGE.to_owned()),
            Telemetry::Frozen => {
                return Some(self.frozen.borrow_mut().get_or_insert_with(|| self.text(1.0)).clone());
            }
            Telemetry::Lie(factor) => self.text(factor),
            Telemetry::Truth => self.text(1.0),
        };
        Some(text)
    }

    fn text(&self, factor: f64) -> String {
        let gauges = [
            ("backend_cpu_usage_ratio", self.utilisation() * factor),
            ("backend_memory_usage_ratio", MEMORY * factor),
            ("backend_connections", self.connections.get() as f64),
            ("backend_requests_in_flight", self.in_flight.get() as f64),
        ];
        let mut text = String::new();
        for (name, value) in gauges {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# TYPE {name} gauge\n{name} {value}");
        }
        text.push_str("# TYPE backend_requests_total counter\n");
        for (code, count) in self.codes.borrow().iter() {
            let _ = writeln!(text, "backend_requests_total{{code=\"{code}\"}} {count}");
        }
        text
    }

    /// The header line of the load report on each response, its line end included; empty where there is none.
    pub(crate) fn report(&self, telemetry: Telemetry) -> String {
        let factor = match telemetry {
            Telemetry::Off | Telemetry::Frozen => return String::new(),
            Telemetry::Garbage => return "endpoint-load-metrics: TEXT cpu_utilization=banana\r\n".to_owned(),
            Telemetry::Lie(factor) => factor,
            Telemetry::Truth => 1.0,
        };
        let cpu = self.utilisation() * factor;
        let rate = self.rate();
        format!("endpoint-load-metrics: TEXT cpu_utilization={cpu:.3},rps_fractional={rate:.1}\r\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_busy() -> Meter {
        let meter = Meter::new(4);
        for busy in [1, 3].into_iter().cycle().take(10) {
            meter.busy.set(busy);
            meter.answered(200);
            meter.look();
        }
        meter
    }

    #[test]
    fn use_is_the_share_of_busy_slots() {
        let meter = half_busy();
        let text = meter.metrics(Telemetry::Truth).unwrap();
        assert!(text.contains("\nbackend_cpu_usage_ratio 0.5\n"), "{text}");
        assert!(text.contains("backend_requests_total{code=\"200\"} 10"), "{text}");
        let report = meter.report(Telemetry::Truth);
        assert_eq!(report, "endpoint-load-metrics: TEXT cpu_utilization=0.500,rps_fractional=10.0\r\n");
    }

    #[test]
    fn each_fault_shows() {
        let meter = half_busy();
        assert_eq!(meter.metrics(Telemetry::Off), None);
        assert!(meter.metrics(Telemetry::Garbage).unwrap().contains("banana"));
        assert!(meter.metrics(Telemetry::Lie(0.1)).unwrap().contains("backend_cpu_usage_ratio 0.05\n"));
        let frozen = meter.metrics(Telemetry::Frozen);
        meter.busy.set(4);
        meter.look();
        assert_eq!(meter.metrics(Telemetry::Frozen), frozen);
        assert_ne!(meter.metrics(Telemetry::Truth), frozen);
    }

    #[test]
    fn a_backend_that_has_not_looked_yet_is_idle() {
        assert!(Meter::new(2).utilisation().abs() < f64::EPSILON);
    }
}
