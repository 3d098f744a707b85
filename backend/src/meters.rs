//! What the service counts, in its own Prometheus registry.
//!
//! Why an own registry: several backends may live in one process (tests, a demo) and must not add up. On the request
//! path nothing is looked up by label: the counter of each status code is kept in a table after its first use, so a
//! request costs a few atomic additions. Names are listed in [`NAMES`]; a test holds the list and `/metrics` together.
//! How it fails: only at the start, when a name is registered twice.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::StatusCode;
use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder, core::Collector,
};

use crate::clock;
use crate::config::Config;
use crate::usage::{Limits, Sample};

/// Every family of `/metrics`.
pub const NAMES: [&str; 14] = [
    "backend_connections",
    "backend_connections_total",
    "backend_cpu_limit_cores",
    "backend_cpu_usage_ratio",
    "backend_healthy",
    "backend_info",
    "backend_memory_bytes",
    "backend_memory_limit_bytes",
    "backend_memory_usage_ratio",
    "backend_request_duration_seconds",
    "backend_requests_in_flight",
    "backend_requests_total",
    "process_cpu_seconds_total",
    "process_start_time_seconds",
];

/// Upper bounds in seconds: from an answer out of memory (0.1 ms) through the lognormal's body (1..50 ms) to faults.
const LATENCY_BOUNDS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Label of a request whose client left before the answer began.
const LEFT: &str = "client_closed";

/// Status codes are 100..=999 by construction of [`StatusCode`]; the table is indexed by them, and 0 is [`LEFT`].
const CODES: usize = 1000;

/// The counters and gauges, and the registry that shows them.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    requests: IntCounterVec,
    by_code: Box<[OnceLock<IntCounter>]>,
    /// Request head read to last byte of the answer handed over.
    pub duration: Histogram,
    /// Requests between those two points.
    pub in_flight: IntGauge,
    /// Open client connections, upgraded ones among them.
    pub connections: IntGauge,
    /// Client connections ever accepted.
    pub connections_total: IntCounter,
    /// 1 while `/health` says healthy.
    pub healthy: IntGauge,
    /// Start of the service, Unix seconds.
    pub started: Gauge,
    cpu_ratio: Gauge,
    cpu_limit: Gauge,
    cpu_seconds: Counter,
    memory_bytes: IntGauge,
    memory_limit: IntGauge,
    memory_ratio: Gauge,
}

impl Meters {
    /// Registers every family.
    pub fn new(config: &Config) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let bounds = HistogramOpts::new(
            "backend_request_duration_seconds",
            "Time from the request's head to the last byte of its answer.",
        )
        .buckets(LATENCY_BOUNDS.to_vec());
        let meters = Self {
            requests: IntCounterVec::new(
                Opts::new("backend_requests_total", "Requests answered, by status code."),
                &["code"],
            )?,
            by_code: (0..CODES).map(|_| OnceLock::new()).collect(),
            duration: Histogram::with_opts(bounds)?,
            in_flight: IntGauge::new("backend_requests_in_flight", "Requests being answered.")?,
            connections: IntGauge::new("backend_connections", "Open client connections.")?,
            connections_total: IntCounter::new("backend_connections_total", "Client connections accepted.")?,
            healthy: IntGauge::new("backend_healthy", "1 while /health says healthy.")?,
            started: Gauge::new("process_start_time_seconds", "Start of the service, Unix seconds.")?,
            cpu_ratio: Gauge::new("backend_cpu_usage_ratio", "CPU used, as a share of the cores allowed.")?,
            cpu_limit: Gauge::new("backend_cpu_limit_cores", "Cores this process may use.")?,
            cpu_seconds: Counter::new("process_cpu_seconds_total", "CPU time used, in seconds.")?,
            memory_bytes: IntGauge::new("backend_memory_bytes", "Resident memory.")?,
            memory_limit: IntGauge::new("backend_memory_limit_bytes", "Memory this process may use.")?,
            memory_ratio: Gauge::new("backend_memory_usage_ratio", "Memory used, as a share of the limit.")?,
            registry,
        };
        let info = Opts::new("backend_info", "Always 1; who this is.")
            .const_label("server", config.name.as_str())
            .const_label("region", config.region.as_str())
            .const_label("weight", config.weight.to_string());
        let info = IntGauge::with_opts(info)?;
        info.set(1);
        meters.register_all(info)?;
        // From the first scrape on at zero: `increase()` cannot see a counter's first step.
        meters.code_counter(StatusCode::OK.as_u16());
        meters.healthy.set(1);
        meters.started.set(clock::unix_seconds());
        Ok(meters)
    }

    fn register_all(&self, info: IntGauge) -> prometheus::Result<()> {
        let families: [Box<dyn Collector>; 14] = [
            Box::new(info),
            Box::new(self.requests.clone()),
            Box::new(self.duration.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.connections_total.clone()),
            Box::new(self.healthy.clone()),
            Box::new(self.started.clone()),
            Box::new(self.cpu_ratio.clone()),
            Box::new(self.cpu_limit.clone()),
            Box::new(self.cpu_seconds.clone()),
            Box::new(self.memory_bytes.clone()),
            Box::new(self.memory_limit.clone()),
            Box::new(self.memory_ratio.clone()),
        ];
        families.into_iter().try_for_each(|family| self.registry.register(family))
    }

    /// A request begins.
    pub fn begin(&self) {
        self.in_flight.inc();
    }

    /// A request ended; `None`: the client left before the answer began.
    pub fn end(&self, code: Option<StatusCode>, took: Duration) {
        self.in_flight.dec();
        self.duration.observe(took.as_secs_f64());
        if let Some(counter) = self.code_counter(code.map_or(0, |code| code.as_u16())) {
            counter.inc();
        }
    }

    fn code_counter(&self, code: u16) -> Option<&IntCounter> {
        let slot = self.by_code.get(usize::from(code))?;
        Some(slot.get_or_init(|| match code {
            0 => self.requests.with_label_values(&[LEFT]),
            code => self.requests.with_label_values(&[&code.to_string()]),
        }))
    }

    /// Requests so far by code, in order of code; the ones whose client left come first.
    pub fn codes(&self) -> impl Iterator<Item = (String, u64)> {
        self.by_code.iter().enumerate().filter_map(|(code, slot)| {
            let label = if code == 0 { LEFT.to_owned() } else { code.to_string() };
            slot.get().map(|counter| (label, counter.get()))
        })
    }

    /// Cumulative counts of the latency histogram: upper bound in seconds, requests at most that long.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let families = self.duration.collect();
        let metrics = families.iter().flat_map(|family| family.get_metric());
        let buckets = metrics.flat_map(|metric| metric.get_histogram().get_bucket());
        buckets.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).collect()
    }

    /// Takes over one look at the process.
    pub fn usage(&self, sample: Sample) {
        self.cpu_ratio.set(sample.cpu_ratio);
        self.cpu_seconds.inc_by(sample.cpu_seconds);
        self.memory_bytes.set(gauge_of(sample.memory_bytes));
        self.memory_ratio.set(sample.memory_ratio);
    }

    /// Takes over what the process may use.
    pub fn limits(&self, limits: Limits) {
        self.cpu_limit.set(limits.cores);
        self.memory_limit.set(gauge_of(limits.memory_bytes));
    }

    /// CPU: share used, cores allowed.
    pub fn cpu(&self) -> (f64, f64) {
        (self.cpu_ratio.get(), self.cpu_limit.get())
    }

    /// Memory: bytes used, bytes allowed, share.
    pub fn memory(&self) -> (i64, i64, f64) {
        (self.memory_bytes.get(), self.memory_limit.get(), self.memory_ratio.get())
    }

    /// The text of `/metrics`.
    pub fn text(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Gauges are signed; no machine has 2^63 bytes.
fn gauge_of(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meters() -> Meters {
        Meters::new(&Config::default()).unwrap()
    }

    #[test]
    fn shows_exactly_the_names_listed() {
        let mut shown: Vec<String> =
            meters().registry.gather().iter().map(|family| family.name().to_owned()).collect();
        shown.sort();
        assert_eq!(shown, NAMES);
    }

    #[test]
    fn counts_by_code_and_the_client_that_left() {
        let meters = meters();
        for code in [Some(StatusCode::OK), Some(StatusCode::OK), Some(StatusCode::NOT_FOUND), None] {
            meters.begin();
            meters.end(code, Duration::from_millis(3));
        }
        let codes: Vec<_> = meters.codes().collect();
        let expected = [("client_closed", 1), ("200", 2), ("404", 1)];
        assert_eq!(codes, expected.map(|(code, count)| (code.to_owned(), count)));
        assert_eq!(meters.in_flight.get(), 0);
        assert_eq!(meters.duration.get_sample_count(), 4);
        assert!(meters.text().unwrap().contains("backend_requests_total{code=\"client_closed\"} 1"));
    }

    #[test]
    fn usage_reaches_the_text() {
        let meters = meters();
        meters.limits(Limits { cores: 0.5, memory_bytes: 1000 });
        meters.usage(Sample { cpu_ratio: 0.25, cpu_seconds: 2.0, memory_bytes: 100, memory_ratio: 0.1 });
        let text = meters.text().unwrap();
        for line in
            ["backend_cpu_limit_cores 0.5", "backend_cpu_usage_ratio 0.25", "backend_memory_bytes 100"]
        {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
