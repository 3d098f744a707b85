//! A worker's own buffers: plain cells on the request path, added to the shared families about once a second and
//! before every scrape, and a last time when the worker ends.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use lb_core::Algorithm;
use prometheus::IntGauge;
use prometheus::local::{LocalHistogram, LocalIntCounter};

use super::codes;
use super::http2::Http2Meters;
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

/// The label at a position.
#[must_use]
pub fn method_name(index: u8) -> &'static str {
    METHODS.get(usize::from(index)).copied().unwrap_or("other")
}

/// A gauge that several workers add to: each adds only what changed since its last flush.
#[derive(Debug)]
pub struct LocalGauge {
    shared: Option<IntGauge>,
    now: Cell<i64>,
    flushed: Cell<i64>,
}

impl LocalGauge {
    /// In front of `shared`; without one it goes nowhere.
    pub(super) fn new(shared: impl Into<Option<IntGauge>>) -> Self {
        LocalGauge { shared: shared.into(), now: Cell::new(0), flushed: Cell::new(0) }
    }
    /// Adds `n`, which may be negative.
    pub fn add(&self, n: i64) {
        self.now.set(self.now.get() + n);
    }
    /// Sets it to `n`.
    pub fn set(&self, n: i64) {
        self.now.set(n);
    }
    pub(super) fn flush(&self) {
        let more = self.now.get() - self.flushed.replace(self.now.get());
        if let Some(shared) = &self.shared {
            shared.add(more);
        }
    }
}

/// Counters by a small key that grows on first use: a handful of entries, so a linear search beats a hash.
#[derive(Debug)]
pub(super) struct ByKey<K>(RefCell<Vec<(K, LocalIntCounter)>>);

impl<K> Default for ByKey<K> {
    fn default() -> Self {
        ByKey(RefCell::default())
    }
}

impl<K: PartialEq> ByKey<K> {
    /// Where nothing can be made, nothing is counted.
    pub(super) fn inc(&self, key: K, make: impl FnOnce() -> Option<LocalIntCounter>) {
        let mut all = self.0.borrow_mut();
        if let Some((_, counter)) = all.iter().find(|(k, _)| *k == key) {
            counter.inc();
            return;
        }
        if let Some(counter) = make() {
            counter.inc();
            all.push((key, counter));
        }
    }
    pub(super) fn flush(&self) {
        self.0.borrow().iter().for_each(|(_, c)| c.flush());
    }
}

#[derive(Debug)]
struct PerAlgorithm {
    name: &'static str,
    duration: LocalHistogram,
    answers: ByKey<(u8, u16)>,
    /// `None` where there are no picks: before an algorithm is chosen.
    picks: Option<Picks>,
}

/// What is measured about one algorithm's picks.
#[derive(Debug)]
struct Picks {
    overhead: LocalHistogram,
    decision: LocalHistogram,
    regret: LocalHistogram,
    /// Picks until the next one that is timed.
    untimed: Cell<u32>,
}

/// One pick in so many is timed: two readings of the clock take longer than most picks.
const TIMED: u32 = 16;

/// What one worker counts beyond single backends.
#[derive(Debug)]
#[allow(missing_docs, reason = "fields are named after their families in the catalogue")]
pub struct WorkerMeters {
    shared: std::sync::Arc<Metrics>,
    algorithms: Vec<PerAlgorithm>,
    aborts: ByKey<&'static str>,
    refused: ByKey<&'static str>,
    retries: ByKey<(&'static str, &'static str)>,
    pub retries_same_backend: LocalIntCounter,
    pub in_flight: LocalGauge,
    pub connections: LocalGauge,
    pub parked: LocalGauge,
    pub accepted: LocalIntCounter,
    pub accept_failures: LocalIntCounter,
    pub request_bytes: LocalIntCounter,
    pub response_bytes: LocalIntCounter,
    queue_wait: LocalHistogram,
    http2: Http2Meters,
    budget: [LocalGauge; 2],
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
            picks: (name != NONE).then(|| Picks {
                overhead: shared.request_overhead.with_label_values(&[pool, name]).local(),
                decision: shared.decision_duration.with_label_values(&[pool, name]).local(),
                regret: shared.regret.with_label_values(&[pool, name]).local(),
                untimed: Cell::new(0),
            }),
        });
        WorkerMeters {
            algorithms: algorithms.collect(),
            aborts: ByKey::default(),
            refused: ByKey::default(),
            retries: ByKey::default(),
            retries_same_backend: shared.retries_same_backend.with_label_values(&[pool]).local(),
            in_flight: LocalGauge::new(shared.requests_in_flight.with_label_values(&[pool])),
            connections: LocalGauge::new(shared.downstream.with_label_values(&["traffic"])),
            parked: LocalGauge::new(shared.parked.with_label_values(&["traffic"])),
            accepted: shared.accepted.with_label_values(&["traffic"]).local(),
            accept_failures: shared.accept_failures.with_label_values(&["traffic"]).local(),
            request_bytes: shared.request_bytes.with_label_values(&[pool]).local(),
            response_bytes: shared.response_bytes.with_label_values(&[pool]).local(),
            queue_wait: shared.queue_wait.with_label_values(&[pool]).local(),
            http2: Http2Meters::new(&shared.http2),
            budget: [&shared.budget_left, &shared.budget_whole].map(|sum| LocalGauge::new(sum.clone())),
            shared,
        }
    }

    /// A request has been answered.
    pub fn answered(&self, algorithm: Option<Algorithm>, method: u8, code: u16, took: Duration) {
        let of = &self.algorithms[algorithm.map_or(Algorithm::ALL.len(), |a| a as usize)];
        of.duration.observe(took.as_secs_f64());
        let code = codes::key(code);
        of.answers.inc((method, code), || {
            let labels =
                [self.shared.pool.as_str(), of.name, METHODS[usize::from(method)], &codes::label(code)];
            Some(self.shared.requests.with_label_values(&labels).local())
        });
    }

    fn picks(&self, algorithm: Algorithm) -> Option<&Picks> {
        self.algorithms[algorithm as usize].picks.as_ref()
    }

    /// A request that was sent to a backend has ended: so much of its time was the balancer's.
    pub fn overhead(&self, algorithm: Algorithm, time: Duration) {
        self.picks(algorithm).inspect(|of| of.overhead.observe(time.as_secs_f64()));
    }

    /// Whether the next pick is to be timed.
    pub fn times(&self, algorithm: Algorithm) -> bool {
        self.picks(algorithm).is_some_and(|of| {
            let left = of.untimed.get();
            of.untimed.set(left.checked_sub(1).unwrap_or(TIMED - 1));
            left == 0
        })
    }

    /// A pick that was timed took so long.
    pub fn decided(&self, algorithm: Algorithm, time: Duration) {
        self.picks(algorithm).inspect(|of| of.decision.observe(time.as_secs_f64()));
    }

    /// An answer came `seconds` later than the best backend's was expected.
    pub fn regretted(&self, algorithm: Algorithm, seconds: f64) {
        self.picks(algorithm).inspect(|of| of.regret.observe(seconds));
    }

    /// So many retries this worker can still afford, of so many.
    pub fn affords(&self, (left, whole): (f64, f64)) {
        for (sum, retries) in self.budget.iter().zip([left, whole]) {
            sum.set((retries * 1e3) as i64);
        }
    }

    /// A request was refused, failed or cut off.
    pub fn aborted(&self, reason: &'static str) {
        self.aborts.inc(reason, || {
            Some(self.shared.aborts.with_label_values(&[self.shared.pool.as_str(), reason]).local())
        });
    }

    /// A request has waited so long for a backend with room, or in vain.
    pub fn queued(&self, time: Duration) {
        self.queue_wait.observe(time.as_secs_f64());
    }

    /// A connection was closed before anything was read of it.
    pub fn refused(&self, reason: &'static str) {
        self.refused.inc(reason, || {
            Some(self.shared.connections_refused.with_label_values(&["traffic", reason]).local())
        });
    }

    /// An attempt that failed for `reason` could be repeated; `outcome` tells what came of it.
    pub fn retry(&self, reason: &'static str, outcome: &'static str) {
        self.retries.inc((reason, outcome), || {
            let labels = [self.shared.pool.as_str(), reason, outcome];
            Some(self.shared.retries.with_label_values(&labels).local())
        });
    }

    /// What only HTTP/2 has.
    pub fn http2(&self) -> &Http2Meters {
        &self.http2
    }

    /// An HTTP/2 stream of a client was reset by either side.
    pub fn reset(&self, by: &'static str, code: u32) {
        self.http2.reset(&self.shared.http2, by, code);
    }

    /// An HTTP/2 connection was ended because it only made work.
    pub fn flooded(&self, kind: &'static str) {
        self.http2.flooded(&self.shared.http2, kind);
    }

    /// Adds everything buffered to the shared families.
    pub fn flush(&self) {
        for a in &self.algorithms {
            a.duration.flush();
            a.answers.flush();
            if let Some(picks) = &a.picks {
                [&picks.overhead, &picks.decision, &picks.regret].into_iter().for_each(LocalHistogram::flush);
            }
        }
        self.budget.iter().for_each(LocalGauge::flush);
        self.aborts.flush();
        self.refused.flush();
        self.queue_wait.flush();
        self.retries.flush();
        self.retries_same_backend.flush();
        self.in_flight.flush();
        self.connections.flush();
        self.parked.flush();
        self.accepted.flush();
        self.accept_failures.flush();
        self.request_bytes.flush();
        self.response_bytes.flush();
        self.http2.flush();
    }
}
