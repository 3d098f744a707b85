//! A worker's own buffers about one backend, under the label that the ledger of series gives it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lb_core::Algorithm;
use prometheus::local::{LocalHistogram, LocalIntCounter};

use super::codes;
use super::local::{ByKey, LocalGauge};
use super::metrics::Metrics;
use super::series::Series;

/// What one worker counts about one backend.
#[derive(Debug)]
#[allow(missing_docs, reason = "fields are named after their families in the catalogue")]
pub struct LaneMeters {
    shared: Arc<Metrics>,
    series: Arc<Series>,
    /// None where its series are closed: a worker that is late with a snapshot must not bring them back.
    counted: Option<Counted>,
    attempts: ByKey<Attempt>,
    connects: ByKey<&'static str>,
    pub active: LocalGauge,
    pub idle: LocalGauge,
}

/// What is there from the start.
#[derive(Debug)]
struct Counted {
    decisions: Vec<LocalIntCounter>,
    reports: LocalIntCounter,
    duration: LocalHistogram,
}

/// How an attempt ended, as the label `code` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// With a response head of this status.
    Answered(u16),
    /// Without one: `error`.
    Failed,
    /// The client gave up first: `canceled`.
    Canceled,
}

impl LaneMeters {
    /// Buffers for `backend`.
    #[must_use]
    pub fn new(shared: Arc<Metrics>, backend: &str) -> Rc<Self> {
        let (pool, series) = (shared.pool.as_str(), shared.series.of(backend));
        let state = |s| {
            let gauge = |backend: &str| shared.upstream_connections.with_label_values(&[pool, backend, s]);
            LocalGauge::new(series.make_gauge(gauge))
        };
        let decisions = |backend: &str| {
            let of = |a: &Algorithm| shared.decisions.with_label_values(&[pool, a.name(), backend]).local();
            Algorithm::ALL.iter().map(of).collect()
        };
        let counted = series.make(|backend| Counted {
            decisions: decisions(backend),
            reports: shared.load_reports.with_label_values(&[pool, backend, "header"]).local(),
            duration: shared.upstream_duration.with_label_values(&[pool, backend]).local(),
        });
        Rc::new(LaneMeters {
            counted,
            attempts: ByKey::default(),
            connects: ByKey::default(),
            active: state("active"),
            idle: state("idle"),
            series,
            shared,
        })
    }

    /// The backend was picked.
    pub fn picked(&self, algorithm: Algorithm) {
        if let Some(counted) = &self.counted {
            counted.decisions[algorithm as usize].inc();
        }
    }

    /// An answer brought a load report.
    pub fn reported(&self) {
        if let Some(counted) = &self.counted {
            counted.reports.inc();
        }
    }

    /// An attempt took so long.
    pub fn took(&self, time: Duration) {
        if let Some(counted) = &self.counted {
            counted.duration.observe(time.as_secs_f64());
        }
    }

    /// An attempt ended.
    pub fn ended(&self, attempt: Attempt) {
        let key = match attempt {
            Attempt::Answered(code) => Attempt::Answered(codes::key(code)),
            other => other,
        };
        self.attempts.inc(key, || {
            let code = match key {
                Attempt::Answered(code) => codes::label(code),
                Attempt::Failed => "error".to_owned(),
                Attempt::Canceled => "canceled".to_owned(),
            };
            let make = |backend: &str| {
                let labels = [self.shared.pool.as_str(), backend, code.as_str()];
                self.shared.upstream_requests.with_label_values(&labels).local()
            };
            self.series.make(make)
        });
    }

    /// A connection was opened, or was not.
    pub fn connected(&self, result: &'static str) {
        let make = |backend: &str| {
            let labels = [self.shared.pool.as_str(), backend, result];
            self.shared.connects.with_label_values(&labels).local()
        };
        self.connects.inc(result, || self.series.make(make));
    }

    /// Adds everything buffered to the shared families.
    pub fn flush(&self) {
        if let Some(counted) = &self.counted {
            counted.decisions.iter().for_each(LocalIntCounter::flush);
            counted.reports.flush();
            counted.duration.flush();
        }
        self.attempts.flush();
        self.connects.flush();
        self.active.flush();
        self.idle.flush();
    }
}

/// A backend that leaves takes nothing with it that was not flushed.
impl Drop for LaneMeters {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use lb_core::Tick;

    use super::*;
    use crate::observe::metrics::{forget_all, forget_gauges};

    fn series(metrics: &Metrics, backend: &str) -> usize {
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let series = text.lines().filter(|line| !line.starts_with('#'));
        series.filter(|line| line.contains(&format!("backend=\"{backend}\""))).count()
    }

    #[test]
    fn a_request_that_outlives_its_backend_brings_no_series_back() {
        let metrics = Arc::new(Metrics::new("p").unwrap());
        metrics.series.join("b1");
        let lane = LaneMeters::new(Arc::clone(&metrics), "b1");
        lane.ended(Attempt::Answered(200));
        lane.flush();
        assert_eq!(metrics.upstream_requests.with_label_values(&["p", "b1", "200"]).get(), 1);
        metrics.series.leave("b1", Tick::ZERO);
        forget_gauges(&metrics, "b1");
        let gone = metrics.series.close(Tick::ZERO, 1);
        forget_all(&metrics, &gone);
        assert_eq!(series(&metrics, "b1"), 0);
        // The long one ends: with a status that was there before, with a new one, and with the last of the buffers.
        lane.ended(Attempt::Answered(200));
        lane.ended(Attempt::Answered(504));
        lane.ended(Attempt::Canceled);
        lane.connected("refused");
        lane.picked(Algorithm::Adaptive);
        lane.took(Duration::from_secs(60));
        lane.active.add(-1);
        lane.flush();
        drop(lane);
        assert_eq!(series(&metrics, "b1"), 0);
        let late = LaneMeters::new(Arc::clone(&metrics), "b1");
        late.picked(Algorithm::Adaptive);
        late.ended(Attempt::Answered(200));
        late.idle.add(1);
        drop(late);
        assert_eq!(series(&metrics, "b1"), 0, "nor does a worker that is late");
        assert_eq!(series(&metrics, "overflow"), 0, "it is not one of the folded");
    }

    #[test]
    fn a_worker_that_is_late_brings_no_gauges_back() {
        let metrics = Arc::new(Metrics::new("p").unwrap());
        metrics.series.join("b1");
        metrics.series.leave("b1", Tick::ZERO);
        forget_gauges(&metrics, "b1");
        let late = LaneMeters::new(Arc::clone(&metrics), "b1");
        late.active.add(1);
        late.ended(Attempt::Answered(200));
        late.flush();
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(!text.contains("lb_upstream_connections{"), "{text}");
        assert_eq!(metrics.upstream_requests.with_label_values(&["p", "b1", "200"]).get(), 1);
    }

    #[test]
    fn closing_takes_gauges_away_too() {
        let metrics = Metrics::new("p").unwrap();
        metrics.backend_weight.with_label_values(&["p", "b1"]).set(1.0);
        metrics.backend_weight.with_label_values(&["p", "b2"]).set(1.0);
        forget_all(&metrics, &["b1".to_owned()].into());
        assert_eq!((series(&metrics, "b1"), series(&metrics, "b2")), (0, 1));
    }

    #[test]
    fn folded_backends_add_up() {
        let metrics = Arc::new(Metrics::new("p").unwrap());
        metrics.series.set_budget(1);
        let lanes = ["b1", "b2", "b3"].map(|name| {
            metrics.series.join(name);
            LaneMeters::new(Arc::clone(&metrics), name)
        });
        for (n, lane) in lanes.iter().enumerate() {
            (0..=n).for_each(|_| lane.ended(Attempt::Answered(200)));
            lane.idle.add(1);
            lane.flush();
        }
        let count = |backend: &str| metrics.upstream_requests.with_label_values(&["p", backend, "200"]).get();
        assert_eq!((count("b1"), count("overflow")), (1, 5));
        assert_eq!(metrics.upstream_connections.with_label_values(&["p", "overflow", "idle"]).get(), 2);
        assert_eq!(series(&metrics, "b3"), 0);
    }
}
