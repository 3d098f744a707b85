//! A worker's own buffers: plain cells on the request path, added to the shared families about once a second and
//! before every scrape, and a last time when the worker ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use lb_core::signal::Report;
use lb_core::{Algorithm, Load, PoolLoad, Tick};
use prometheus::local::{LocalHistogram, LocalIntCounter};
use prometheus::{GaugeVec, IntGauge};

use super::metrics::Metrics;

/// The `algorithm` label of a request that was refused before one was chosen.
const NONE: &str = "none";
/// The closed set of `method` labels.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];

/// Position of a method in the closed set of labels.
#[must_use]
pub fn method_index(method: &str) -> u8 {
    METHODS.iter().position(|m| *m == method).unwrap_or(METHODS.len() - 1) as u8
}

/// A gauge that several workers add to: each adds only what changed since its last flush.
#[derive(Debug)]
pub struct LocalGauge {
    shared: IntGauge,
    now: Cell<i64>,
    flushed: Cell<i64>,
}

impl LocalGauge {
    fn new(shared: IntGauge) -> Self {
        LocalGauge { shared, now: Cell::new(0), flushed: Cell::new(0) }
    }
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.now.set(self.now.get() + n);
    }
    fn flush(&self) {
        self.shared.add(self.now.get() - self.flushed.replace(self.now.get()));
    }
}

/// Counters by a small key that grows on first use: a handful of entries, so a linear search beats a hash.
#[derive(Debug)]
struct ByKey<K>(RefCell<Vec<(K, LocalIntCounter)>>);

impl<K> Default for ByKey<K> {
    fn default() -> Self {
        ByKey(RefCell::default())
    }
}

impl<K: PartialEq> ByKey<K> {
    fn inc(&self, key: K, make: impl FnOnce() -> LocalIntCounter) {
        let mut all = self.0.borrow_mut();
        if let Some((_, counter)) = all.iter().find(|(k, _)| *k == key) {
            counter.inc();
            return;
        }
        let counter = make();
        counter.inc();
        all.push((key, counter));
    }
    fn flush(&self) {
        self.0.borrow().iter().for_each(|(_, c)| c.flush());
    }
}

#[derive(Debug)]
struct PerAlgorithm {
    name: &'static str,
    duration: LocalHistogram,
    answers: ByKey<(u8, u16)>,
}

/// What one worker counts beyond single backends.
#[derive(Debug)]
#[allow(missing_docs, reason = "fields are named after their families in the catalogue")]
pub struct WorkerMeters {
    shared: std::sync::Arc<Metrics>,
    algorithms: Vec<PerAlgorithm>,
    aborts: ByKey<&'static str>,
    retries: ByKey<(&'static str, &'static str)>,
    pub retries_same_backend: LocalIntCounter,
    pub in_flight: LocalGauge,
    pub connections: LocalGauge,
    pub accepted: LocalIntCounter,
    pub request_bytes: LocalIntCounter,
    pub response_bytes: LocalIntCounter,
}

impl WorkerMeters {
    /// Buffers in front of `shared`.
    #[must_use]
    pub fn new(shared: std::sync::Arc<Metrics>) -> Self {
        let pool = shared.pool.as_str();
        let names = Algorithm::ALL.iter().map(|a| a.name()).chain([NONE]);
        let algorithms = names.map(|name| PerAlgorithm {
            name,
            duration: shared.request_duration.with_label_values(&[pool, name]).local(),
            answers: ByKey::default(),
        });
        WorkerMeters {
            algorithms: algorithms.collect(),
            aborts: ByKey::default(),
            retries: ByKey::default(),
            retries_same_backend: shared.retries_same_backend.with_label_values(&[pool]).local(),
            in_flight: LocalGauge::new(shared.requests_in_flight.with_label_values(&[pool])),
            connections: LocalGauge::new(shared.downstream.with_label_values(&["traffic"])),
            accepted: shared.accepted.with_label_values(&["traffic"]).local(),
            request_bytes: shared.request_bytes.with_label_values(&[pool]).local(),
            response_bytes: shared.response_bytes.with_label_values(&[pool]).local(),
            shared,
        }
    }

    /// A request has been answered.
    pub fn answered(&self, algorithm: Option<Algorithm>, method: u8, code: u16, took: Duration) {
        let of = &self.algorithms[algorithm.map_or(Algorithm::ALL.len(), |a| a as usize)];
        of.duration.observe(took.as_secs_f64());
        of.answers.inc((method, code), || {
            let labels =
                [self.shared.pool.as_str(), of.name, METHODS[usize::from(method)], &code.to_string()];
            self.shared.requests.with_label_values(&labels).local()
        });
    }

    /// A request was refused, failed or cut off.
    pub fn aborted(&self, reason: &'static str) {
        self.aborts.inc(reason, || {
            self.shared.aborts.with_label_values(&[self.shared.pool.as_str(), reason]).local()
        });
    }

    /// An attempt that failed for `reason` could be repeated; `outcome` tells what came of it.
    pub fn retry(&self, reason: &'static str, outcome: &'static str) {
        self.retries.inc((reason, outcome), || {
            self.shared.retries.with_label_values(&[self.shared.pool.as_str(), reason, outcome]).local()
        });
    }

    /// Adds everything buffered to the shared families.
    pub fn flush(&self) {
        for a in &self.algorithms {
            a.duration.flush();
            a.answers.flush();
        }
        self.aborts.flush();
        self.retries.flush();
        self.retries_same_backend.flush();
        self.in_flight.flush();
        self.connections.flush();
        self.accepted.flush();
        self.request_bytes.flush();
        self.response_bytes.flush();
    }
}

/// What one worker counts about one backend.
#[derive(Debug)]
#[allow(missing_docs, reason = "fields are named after their families in the catalogue")]
pub struct LaneMeters {
    shared: std::sync::Arc<Metrics>,
    backend: String,
    decisions: Vec<LocalIntCounter>,
    attempts: ByKey<Attempt>,
    connects: ByKey<&'static str>,
    pub reports: LocalIntCounter,
    pub duration: LocalHistogram,
    pub active: LocalGauge,
    pub idle: LocalGauge,
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
    pub fn new(shared: std::sync::Arc<Metrics>, backend: &str) -> Rc<Self> {
        let pool = shared.pool.as_str();
        let state = |s| LocalGauge::new(shared.upstream_connections.with_label_values(&[pool, backend, s]));
        let decisions =
            Algorithm::ALL.iter().map(|a| shared.decisions.with_label_values(&[pool, a.name(), backend]));
        Rc::new(LaneMeters {
            backend: backend.to_owned(),
            decisions: decisions.map(|c| c.local()).collect(),
            attempts: ByKey::default(),
            connects: ByKey::default(),
            reports: shared.load_reports.with_label_values(&[pool, backend, "header"]).local(),
            duration: shared.upstream_duration.with_label_values(&[pool, backend]).local(),
            active: state("active"),
            idle: state("idle"),
            shared,
        })
    }

    /// The backend was picked.
    pub fn picked(&self, algorithm: Algorithm) {
        self.decisions[algorithm as usize].inc();
    }

    /// An attempt ended.
    pub fn ended(&self, attempt: Attempt) {
        self.attempts.inc(attempt, || {
            let code = match attempt {
                Attempt::Answered(code) => code.to_string(),
                Attempt::Failed => "error".to_owned(),
                Attempt::Canceled => "canceled".to_owned(),
            };
            let labels = [self.shared.pool.as_str(), self.backend.as_str(), code.as_str()];
            self.shared.upstream_requests.with_label_values(&labels).local()
        });
    }

    /// A connection was opened, or was not.
    pub fn connected(&self, result: &'static str) {
        self.connects.inc(result, || {
            let labels = [self.shared.pool.as_str(), self.backend.as_str(), result];
            self.shared.connects.with_label_values(&labels).local()
        });
    }

    /// Adds everything buffered to the shared families.
    pub fn flush(&self) {
        self.decisions.iter().for_each(LocalIntCounter::flush);
        self.attempts.flush();
        self.connects.flush();
        self.reports.flush();
        self.duration.flush();
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

/// Writes what a backend's live numbers say at this moment.
pub fn publish_load(metrics: &Metrics, backend: &str, load: &Load, pool: &PoolLoad, now: Tick) {
    let labels = [metrics.pool.as_str(), backend];
    metrics.upstream_in_flight.with_label_values(&labels).set(i64::from(load.in_flight()));
    metrics.backend_latency.with_label_values(&labels).set(f64::from(load.latency()) / 1e6);
    metrics.backend_errors.with_label_values(&labels).set(f64::from(1.0 - load.success(now)));
    let terms = load.terms(now, pool);
    metrics.latency_ratio.with_label_values(&labels).set(f64::from(terms.anomaly));
    metrics.error_factor.with_label_values(&labels).set(f64::from(terms.errors));
    metrics.price.with_label_values(&labels).set(f64::from(load.price()));
    metrics.others_in_flight.with_label_values(&labels).set(f64::from(terms.others));
}

/// Writes what a backend last said about itself; what it did not say is taken away.
pub fn publish_report(metrics: &Metrics, backend: &str, report: &Report) {
    let pool = metrics.pool.as_str();
    let shares = [report.cpu, report.memory, report.connections, report.utilization];
    for (family, share) in metrics.reported().into_iter().zip(shares) {
        set_or_forget(family, &[pool, backend], share);
    }
    set_or_forget(&metrics.backend_reported_in_flight, &[pool, backend], report.in_flight);
}

fn set_or_forget(family: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => family.with_label_values(labels).set(value),
        // It was not there: so much the better.
        None => drop(family.remove_label_values(labels)),
    }
}

/// Writes how old a backend's word is: `scraped` is when it came, in nanoseconds, or 0 where nobody asks.
pub fn publish_age(metrics: &Metrics, backend: &str, scraped: u64, now: Tick) {
    if scraped > 0 {
        let age = now.since(Tick::from_nanos(scraped)).as_secs_f64();
        metrics.scrape_age.with_label_values(&[metrics.pool.as_str(), backend]).set(age);
    }
}
