//! The catalogue, registered: one handle a family, shared by the control side and the workers' buffers.

use std::collections::{HashMap, HashSet};

use prometheus::core::{Collector, MetricVec, MetricVecBuilder};
use prometheus::{
    CounterVec, Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::catalog::{self, Family, Type};
use super::http2;
use super::series::Ledger;

/// All registered families. Cloning a handle out of a vector costs a look-up: keep what the hot path uses.
#[derive(Debug)]
#[allow(missing_docs, reason = "each field is the catalogue's family of that name, documented there")]
pub struct Metrics {
    pub pool: String,
    /// Which backends have series of their own.
    pub series: Ledger,
    /// Thousandths of retries that all workers together can still afford, and could at most.
    pub budget_left: IntGauge,
    pub budget_whole: IntGauge,
    registry: Registry,
    pub requests: IntCounterVec,
    pub request_duration: HistogramVec,
    pub request_overhead: HistogramVec,
    pub requests_in_flight: IntGaugeVec,
    pub aborts: IntCounterVec,
    pub rate_limited: IntCounterVec,
    pub queue_waiting: IntGaugeVec,
    pub queue_wait: HistogramVec,
    pub request_bytes: IntCounterVec,
    pub response_bytes: IntCounterVec,
    pub downstream: IntGaugeVec,
    pub parked: IntGaugeVec,
    pub downstream_limit: IntGaugeVec,
    pub accepted: IntCounterVec,
    pub connections_refused: IntCounterVec,
    pub accept_failures: IntCounterVec,
    pub http2: http2::Families,
    pub tls_handshakes: IntCounterVec,
    pub tls_ends: IntGaugeVec,
    pub tls_reload_ok: IntGaugeVec,
    pub tls_unverified: IntGaugeVec,
    pub upstream_requests: IntCounterVec,
    pub upstream_duration: HistogramVec,
    pub upstream_in_flight: IntGaugeVec,
    pub upstream_connections: IntGaugeVec,
    pub connects: IntCounterVec,
    pub retries: IntCounterVec,
    pub retries_same_backend: IntCounterVec,
    pub retry_budget: GaugeVec,
    pub decisions: IntCounterVec,
    pub decision_duration: HistogramVec,
    pub regret: HistogramVec,
    pub decision_records: IntCounterVec,
    pub algorithm_active: IntGaugeVec,
    pub algorithm_switches: IntCounterVec,
    pub backend_healthy: IntGaugeVec,
    pub backend_state: IntGaugeVec,
    pub backends: IntGaugeVec,
    pub backend_info: IntGaugeVec,
    pub backend_weight: GaugeVec,
    pub backend_warmth: GaugeVec,
    pub score_component: GaugeVec,
    pub capacity: GaugeVec,
    pub capacity_measured: GaugeVec,
    pub capacity_rate: GaugeVec,
    pub capacity_gate: GaugeVec,
    pub capacity_trust: GaugeVec,
    pub signal_mode: IntGaugeVec,
    pub signal_age: GaugeVec,
    pub latency_ratio: GaugeVec,
    pub error_factor: GaugeVec,
    pub price: GaugeVec,
    pub others_in_flight: GaugeVec,
    pub weight_updates: IntCounterVec,
    pub weight_updated: GaugeVec,
    pub region_factor: GaugeVec,
    pub region_busy: GaugeVec,
    pub ejections: IntCounterVec,
    pub panic: IntGaugeVec,
    pub failing: IntGaugeVec,
    pub facts: IntCounterVec,
    pub replicas_missing: IntGaugeVec,
    pub discovery_endpoints: IntGaugeVec,
    pub discovery_events: IntCounterVec,
    pub discovery_up: IntGaugeVec,
    pub discovery_errors: IntCounterVec,
    pub discovery_synced: GaugeVec,
    pub discovery_left_out: IntGaugeVec,
    pub reloads: IntCounterVec,
    pub reload_ok: IntGaugeVec,
    pub reload_at: GaugeVec,
    pub state_saved: IntGaugeVec,
    pub control_requests: IntCounterVec,
    pub reads_denied: IntCounterVec,
    pub store_up: IntGaugeVec,
    pub store_operations: IntCounterVec,
    pub store_duration: HistogramVec,
    pub balancers_live: IntGaugeVec,
    pub name_taken: IntGaugeVec,
    pub turns_local: IntCounterVec,
    pub backend_latency: GaugeVec,
    pub backend_errors: GaugeVec,
    pub health_checks: IntCounterVec,
    pub health_check_duration: HistogramVec,
    pub geo_lookups: IntCounterVec,
    pub geo_requests: IntCounterVec,
    pub geo_spillover: IntCounterVec,
    pub geo_duration: HistogramVec,
    pub geo_built: IntGaugeVec,
    pub scrapes: IntCounterVec,
    pub scrape_duration: HistogramVec,
    pub scrape_age: GaugeVec,
    pub reported_cpu: GaugeVec,
    pub reported_memory: GaugeVec,
    pub reported_connections: GaugeVec,
    pub reported_utilization: GaugeVec,
    pub backend_reported_in_flight: GaugeVec,
    pub load_reports: IntCounterVec,
    pub draining: IntGaugeVec,
    pub trace_spans: IntCounterVec,
    pub access_log_lines: IntCounterVec,
    pub folded: IntGaugeVec,
    pub memory_limit: IntGaugeVec,
    pub workers: IntGaugeVec,
    pub runtime_tasks: IntGaugeVec,
    pub runtime_queue: IntGaugeVec,
    pub runtime_busy: CounterVec,
    pub build: IntGaugeVec,
}

impl Metrics {
    /// Registers every family for the pool named `pool`.
    ///
    /// # Errors
    /// Where two families collide, which the catalogue's tests exclude.
    pub fn new(pool: &str) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Metrics {
            pool: pool.to_owned(),
            series: Ledger::default(),
            budget_left: IntGauge::new("left", "Not exposed.")?,
            budget_whole: IntGauge::new("whole", "Not exposed.")?,
            requests: counter(r, &catalog::REQUESTS)?,
            request_duration: histogram(r, &catalog::REQUEST_DURATION)?,
            request_overhead: histogram(r, &catalog::REQUEST_OVERHEAD)?,
            requests_in_flight: gauge(r, &catalog::REQUESTS_IN_FLIGHT)?,
            aborts: counter(r, &catalog::ABORTS)?,
            queue_waiting: gauge(r, &catalog::QUEUE_WAITING)?,
            queue_wait: histogram(r, &catalog::QUEUE_WAIT)?,
            rate_limited: counter(r, &catalog::RATE_LIMITED)?,
            request_bytes: counter(r, &catalog::REQUEST_BYTES)?,
            response_bytes: counter(r, &catalog::RESPONSE_BYTES)?,
            downstream: gauge(r, &catalog::DOWNSTREAM)?,
            parked: gauge(r, &catalog::PARKED)?,
            downstream_limit: gauge(r, &catalog::DOWNSTREAM_LIMIT)?,
            accepted: counter(r, &catalog::ACCEPTED)?,
            connections_refused: counter(r, &catalog::CONNECTIONS_REFUSED)?,
            accept_failures: counter(r, &catalog::ACCEPT_FAILURES)?,
            http2: http2::Families::new(r)?,
            tls_handshakes: counter(r, &catalog::TLS_HANDSHAKES)?,
            tls_ends: gauge(r, &catalog::TLS_ENDS)?,
            tls_reload_ok: gauge(r, &catalog::TLS_RELOAD_OK)?,
            tls_unverified: gauge(r, &catalog::TLS_UNVERIFIED)?,
            upstream_requests: counter(r, &catalog::UPSTREAM_REQUESTS)?,
            upstream_duration: histogram(r, &catalog::UPSTREAM_DURATION)?,
            upstream_in_flight: gauge(r, &catalog::UPSTREAM_IN_FLIGHT)?,
            upstream_connections: gauge(r, &catalog::UPSTREAM_CONNECTIONS)?,
            connects: counter(r, &catalog::CONNECTS)?,
            retries: counter(r, &catalog::RETRIES)?,
            retries_same_backend: counter(r, &catalog::RETRIES_SAME_BACKEND)?,
            retry_budget: ratio(r, &catalog::RETRY_BUDGET)?,
            decisions: counter(r, &catalog::DECISIONS)?,
            decision_duration: histogram(r, &catalog::DECISION_DURATION)?,
            regret: histogram(r, &catalog::REGRET)?,
            decision_records: counter(r, &catalog::DECISION_RECORDS)?,
            algorithm_active: gauge(r, &catalog::ALGORITHM_ACTIVE)?,
            algorithm_switches: counter(r, &catalog::ALGORITHM_SWITCHES)?,
            backend_healthy: gauge(r, &catalog::BACKEND_HEALTHY)?,
            backend_state: gauge(r, &catalog::BACKEND_STATE)?,
            backends: gauge(r, &catalog::BACKENDS)?,
            backend_info: gauge(r, &catalog::BACKEND_INFO)?,
            backend_weight: ratio(r, &catalog::BACKEND_WEIGHT)?,
            backend_warmth: ratio(r, &catalog::BACKEND_WARMTH)?,
            score_component: ratio(r, &catalog::SCORE_COMPONENT)?,
            capacity: ratio(r, &catalog::CAPACITY)?,
            capacity_measured: ratio(r, &catalog::CAPACITY_MEASURED)?,
            capacity_rate: ratio(r, &catalog::CAPACITY_RATE)?,
            capacity_gate: ratio(r, &catalog::CAPACITY_GATE)?,
            capacity_trust: ratio(r, &catalog::CAPACITY_TRUST)?,
            signal_mode: gauge(r, &catalog::SIGNAL_MODE)?,
            signal_age: ratio(r, &catalog::SIGNAL_AGE)?,
            latency_ratio: ratio(r, &catalog::LATENCY_RATIO)?,
            error_factor: ratio(r, &catalog::ERROR_FACTOR)?,
            price: ratio(r, &catalog::PRICE)?,
            others_in_flight: ratio(r, &catalog::OTHERS_IN_FLIGHT)?,
            weight_updates: counter(r, &catalog::WEIGHT_UPDATES)?,
            weight_updated: ratio(r, &catalog::WEIGHT_UPDATED)?,
            region_factor: ratio(r, &catalog::REGION_FACTOR)?,
            region_busy: ratio(r, &catalog::REGION_BUSY)?,
            ejections: counter(r, &catalog::EJECTIONS)?,
            panic: gauge(r, &catalog::PANIC)?,
            failing: gauge(r, &catalog::FAILING)?,
            facts: counter(r, &catalog::FACTS)?,
            replicas_missing: gauge(r, &catalog::REPLICAS_MISSING)?,
            discovery_endpoints: gauge(r, &catalog::DISCOVERY_ENDPOINTS)?,
            discovery_events: counter(r, &catalog::DISCOVERY_EVENTS)?,
            discovery_up: gauge(r, &catalog::DISCOVERY_UP)?,
            discovery_errors: counter(r, &catalog::DISCOVERY_ERRORS)?,
            discovery_synced: ratio(r, &catalog::DISCOVERY_SYNCED)?,
            discovery_left_out: gauge(r, &catalog::DISCOVERY_LEFT_OUT)?,
            reloads: counter(r, &catalog::RELOADS)?,
            reload_ok: gauge(r, &catalog::RELOAD_OK)?,
            reload_at: ratio(r, &catalog::RELOAD_AT)?,
            state_saved: gauge(r, &catalog::STATE_SAVED)?,
            control_requests: counter(r, &catalog::CONTROL_REQUESTS)?,
            reads_denied: counter(r, &catalog::READS_DENIED)?,
            store_up: gauge(r, &catalog::STORE_UP)?,
            store_operations: counter(r, &catalog::STORE_OPERATIONS)?,
            store_duration: histogram(r, &catalog::STORE_DURATION)?,
            balancers_live: gauge(r, &catalog::BALANCERS_LIVE)?,
            name_taken: gauge(r, &catalog::NAME_TAKEN)?,
            turns_local: counter(r, &catalog::TURNS_LOCAL)?,
            backend_latency: ratio(r, &catalog::BACKEND_LATENCY)?,
            backend_errors: ratio(r, &catalog::BACKEND_ERRORS)?,
            health_checks: counter(r, &catalog::HEALTH_CHECKS)?,
            health_check_duration: histogram(r, &catalog::HEALTH_CHECK_DURATION)?,
            geo_lookups: counter(r, &catalog::GEO_LOOKUPS)?,
            geo_requests: counter(r, &catalog::GEO_REQUESTS)?,
            geo_spillover: counter(r, &catalog::GEO_SPILLOVER)?,
            geo_duration: histogram(r, &catalog::GEO_DURATION)?,
            geo_built: gauge(r, &catalog::GEO_BUILT)?,
            scrapes: counter(r, &catalog::SCRAPES)?,
            scrape_duration: histogram(r, &catalog::SCRAPE_DURATION)?,
            scrape_age: ratio(r, &catalog::SCRAPE_AGE)?,
            reported_cpu: ratio(r, &catalog::REPORTED_CPU)?,
            reported_memory: ratio(r, &catalog::REPORTED_MEMORY)?,
            reported_connections: ratio(r, &catalog::REPORTED_CONNECTIONS)?,
            reported_utilization: ratio(r, &catalog::REPORTED_UTILIZATION)?,
            backend_reported_in_flight: ratio(r, &catalog::BACKEND_REPORTED_IN_FLIGHT)?,
            load_reports: counter(r, &catalog::LOAD_REPORTS)?,
            draining: gauge(r, &catalog::DRAINING)?,
            trace_spans: counter(r, &catalog::TRACE_SPANS)?,
            access_log_lines: counter(r, &catalog::ACCESS_LOG_LINES)?,
            folded: gauge(r, &catalog::FOLDED)?,
            memory_limit: gauge(r, &catalog::MEMORY_LIMIT)?,
            workers: gauge(r, &catalog::WORKERS)?,
            runtime_tasks: gauge(r, &catalog::RUNTIME_TASKS)?,
            runtime_queue: gauge(r, &catalog::RUNTIME_QUEUE)?,
            runtime_busy: seconds(r, &catalog::RUNTIME_BUSY)?,
            build: gauge(r, &catalog::BUILD)?,
            registry,
        };
        let process = prometheus::process_collector::ProcessCollector::for_self();
        metrics.registry.register(Box::new(process))?;
        let revision = option_env!("BALLAST_REVISION").unwrap_or("unknown");
        metrics.build.with_label_values(&[env!("CARGO_PKG_VERSION"), revision]).set(1);
        metrics.draining.with_label_values::<&str>(&[]).set(0);
        metrics.state_saved.with_label_values::<&str>(&[]).set(1);
        for result in ["exported", "dropped", "failed"] {
            metrics.trace_spans.with_label_values(&[result]);
        }
        for result in ["written", "dropped"] {
            metrics.access_log_lines.with_label_values(&[result]);
        }
        Ok(metrics)
    }

    /// What backends report as shares: cpu, memory, connections, utilization.
    pub fn reported(&self) -> [&GaugeVec; 4] {
        [&self.reported_cpu, &self.reported_memory, &self.reported_connections, &self.reported_utilization]
    }

    /// Takes away what says when certificates end at `place`: others are in force.
    pub fn forget_certificates(&self, place: &str) {
        forget_by(&self.tls_ends, "place", |name| name == place);
    }

    /// The text exposition, as `text/plain; version=0.0.4`.
    ///
    /// # Errors
    /// Where a family cannot be written as text.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let whole = self.budget_whole.get().max(1) as f64;
        self.retry_budget.with_label_values(&[&self.pool]).set(self.budget_left.get() as f64 / whole);
        self.folded.with_label_values(&[&self.pool]).set(self.series.folded() as i64);
        let mut text = Vec::with_capacity(32 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// The registered families' names, for the tests that hold catalogue and exposition together.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.registry.gather().iter().map(|f| f.name().to_owned()).collect()
    }
}

/// Takes away what says how a backend is: it is no more.
pub fn forget_gauges(metrics: &Metrics, backend: &str) {
    gauges(metrics, |name| name == backend);
}

fn gauges(m: &Metrics, is: impl Fn(&str) -> bool + Copy) {
    for gauges in [&m.upstream_in_flight, &m.upstream_connections, &m.backend_healthy, &m.backend_state] {
        forget(gauges, is);
    }
    for gauges in [&m.backend_weight, &m.backend_warmth, &m.backend_latency, &m.backend_errors] {
        forget(gauges, is);
    }
    for gauges in [&m.capacity, &m.capacity_measured, &m.capacity_rate, &m.capacity_gate, &m.capacity_trust] {
        forget(gauges, is);
    }
    for gauges in [&m.signal_age, &m.latency_ratio, &m.error_factor, &m.price, &m.others_in_flight] {
        forget(gauges, is);
    }
    forget(&m.signal_mode, is);
    forget(&m.score_component, is);
    signals(m, is);
    forget(&m.backend_info, is);
}

/// Takes away what a backend said about itself: it says so no more.
pub fn forget_signals(metrics: &Metrics, backend: &str) {
    signals(metrics, |name| name == backend);
}

fn signals(m: &Metrics, is: impl Fn(&str) -> bool + Copy) {
    // The age stays where it is still being asked: it is written anew at each look.
    for gauges in m.reported().into_iter().chain([&m.backend_reported_in_flight, &m.scrape_age]) {
        forget(gauges, is);
    }
}

/// Takes away what says where a backend is: it is elsewhere, or no more.
pub fn forget_info(metrics: &Metrics, backend: &str) {
    forget(&metrics.backend_info, |name| name == backend);
}

/// Takes away what says how much these backends have done, and whatever of their gauges is there again.
pub fn forget_all(metrics: &Metrics, backends: &HashSet<String>) {
    let (m, is) = (metrics, |name: &str| backends.contains(name));
    gauges(m, is);
    for counters in [&m.upstream_requests, &m.connects, &m.decisions, &m.ejections, &m.health_checks] {
        forget(counters, is);
    }
    for counters in [&m.scrapes, &m.load_reports] {
        forget(counters, is);
    }
    forget(&m.upstream_duration, is);
}

fn forget<B: MetricVecBuilder>(family: &MetricVec<B>, is: impl Fn(&str) -> bool) {
    forget_by(family, "backend", is);
}

fn forget_by<B: MetricVecBuilder>(family: &MetricVec<B>, label: &str, is: impl Fn(&str) -> bool) {
    for series in family.collect().iter().flat_map(|f| f.get_metric()) {
        let labels: HashMap<&str, &str> = series.get_label().iter().map(|l| (l.name(), l.value())).collect();
        if labels.get(label).is_some_and(|name| is(name)) {
            // Listed a moment ago; if it is gone already, so much the better.
            let _ = family.remove(&labels);
        }
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn opts(family: &Family) -> Opts {
    Opts::new(family.name, family.help)
}

pub(super) fn counter(r: &Registry, family: &Family) -> prometheus::Result<IntCounterVec> {
    add(r, IntCounterVec::new(opts(family), family.labels)?)
}

pub(super) fn gauge(r: &Registry, family: &Family) -> prometheus::Result<IntGaugeVec> {
    add(r, IntGaugeVec::new(opts(family), family.labels)?)
}

fn seconds(r: &Registry, family: &Family) -> prometheus::Result<CounterVec> {
    add(r, CounterVec::new(opts(family), family.labels)?)
}

fn ratio(r: &Registry, family: &Family) -> prometheus::Result<GaugeVec> {
    add(r, GaugeVec::new(opts(family), family.labels)?)
}

fn histogram(r: &Registry, family: &Family) -> prometheus::Result<HistogramVec> {
    let buckets = match family.kind {
        Type::Histogram(buckets) => buckets.to_vec(),
        _ => return Err(prometheus::Error::Msg(format!("{} is no histogram in the catalogue", family.name))),
    };
    let opts = HistogramOpts { common_opts: opts(family), buckets };
    add(r, HistogramVec::new(opts, family.labels)?)
}
