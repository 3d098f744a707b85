//! Every metric the balancer exposes, once: name, type, labels, help, buckets.
//!
//! `/metrics` is registered from this table and `docs/METRICS.md` is written from it, so neither can drift. Label values
//! come from configuration or a closed set, never from a request.

mod backends;
mod geo;
mod http2;
mod picks;
mod pool;
mod process;
mod reports;
mod requests;
mod store;
mod tls;
mod upstream;
mod weights;

pub use backends::*;
pub use geo::*;
pub use http2::*;
pub use picks::*;
pub use pool::*;
pub use process::*;
pub use reports::*;
pub use requests::*;
pub use store::*;
pub use tls::*;
pub use upstream::*;
pub use weights::*;

/// Seconds: request latency. The SLO bound 0.25 and the Apdex bounds 0.1 and 0.4 are among them; none is a whole number,
/// so that every Prometheus spells them alike.
pub const REQUEST_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1.5, 2.5, 5.5, 10.5];

/// Seconds: what the balancer itself does in microseconds.
pub const FAST_BUCKETS: &[f64] = &[1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3];

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Type {
    /// Only grows.
    Counter,
    /// Goes both ways.
    Gauge,
    /// Counts observations by bucket (upper bounds).
    Histogram(&'static [f64]),
}

/// One row of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Family {
    /// The name in `/metrics`.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// Label names, in order.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Type::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Type::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    buckets: &'static [f64],
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, kind: Type::Histogram(buckets), labels, help }
}

const POOL: &[&str] = &["pool"];
const POOL_ALGORITHM: &[&str] = &["pool", "algorithm"];
const POOL_BACKEND: &[&str] = &["pool", "backend"];

/// Every family of the balancer's own; the standard `process_*` ones come on top.
pub const ALL: &[Family] = &[
    REQUESTS,
    REQUEST_DURATION,
    REQUEST_OVERHEAD,
    REQUESTS_IN_FLIGHT,
    ABORTS,
    RATE_LIMITED,
    QUEUE_WAITING,
    QUEUE_WAIT,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    DOWNSTREAM,
    PARKED,
    DOWNSTREAM_LIMIT,
    ACCEPTED,
    CONNECTIONS_REFUSED,
    ACCEPT_FAILURES,
    PROTOCOLS,
    STREAMS,
    RESETS,
    FLOODS,
    TLS_HANDSHAKES,
    TLS_ENDS,
    TLS_RELOAD_OK,
    TLS_UNVERIFIED,
    UPSTREAM_REQUESTS,
    UPSTREAM_DURATION,
    UPSTREAM_IN_FLIGHT,
    UPSTREAM_CONNECTIONS,
    CONNECTS,
    RETRIES,
    RETRIES_SAME_BACKEND,
    RETRY_BUDGET,
    DECISIONS,
    DECISION_DURATION,
    REGRET,
    DECISION_RECORDS,
    ALGORITHM_ACTIVE,
    ALGORITHM_SWITCHES,
    BACKEND_HEALTHY,
    BACKEND_STATE,
    BACKENDS,
    BACKEND_INFO,
    BACKEND_WEIGHT,
    BACKEND_WARMTH,
    BACKEND_LATENCY,
    BACKEND_ERRORS,
    EJECTIONS,
    HEALTH_CHECKS,
    HEALTH_CHECK_DURATION,
    SCORE_COMPONENT,
    CAPACITY,
    CAPACITY_MEASURED,
    CAPACITY_RATE,
    CAPACITY_GATE,
    CAPACITY_TRUST,
    SIGNAL_MODE,
    SIGNAL_AGE,
    LATENCY_RATIO,
    ERROR_FACTOR,
    PRICE,
    OTHERS_IN_FLIGHT,
    WEIGHT_UPDATES,
    WEIGHT_UPDATED,
    SCRAPES,
    SCRAPE_DURATION,
    SCRAPE_AGE,
    REPORTED_CPU,
    REPORTED_MEMORY,
    REPORTED_CONNECTIONS,
    REPORTED_UTILIZATION,
    BACKEND_REPORTED_IN_FLIGHT,
    LOAD_REPORTS,
    REGION_FACTOR,
    REGION_BUSY,
    GEO_LOOKUPS,
    GEO_REQUESTS,
    GEO_SPILLOVER,
    GEO_DURATION,
    GEO_BUILT,
    PANIC,
    FAILING,
    FACTS,
    REPLICAS_MISSING,
    DISCOVERY_ENDPOINTS,
    DISCOVERY_EVENTS,
    DISCOVERY_UP,
    DISCOVERY_ERRORS,
    DISCOVERY_SYNCED,
    DISCOVERY_LEFT_OUT,
    RELOADS,
    RELOAD_OK,
    RELOAD_AT,
    STATE_SAVED,
    CONTROL_REQUESTS,
    READS_DENIED,
    STORE_UP,
    STORE_OPERATIONS,
    STORE_DURATION,
    BALANCERS_LIVE,
    NAME_TAKEN,
    TURNS_LOCAL,
    DRAINING,
    TRACE_SPANS,
    ACCESS_LOG_LINES,
    FOLDED,
    MEMORY_LIMIT,
    WORKERS,
    RUNTIME_TASKS,
    RUNTIME_QUEUE,
    RUNTIME_BUSY,
    BUILD,
];

/// The catalogue as `docs/METRICS.md`.
#[must_use]
pub fn markdown() -> String {
    let spelt = |buckets: &[f64]| buckets.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
    let mut text = String::from(
        "# Metrics\n\nWritten by `load-balancer metrics` from the catalogue in the code; a test holds both together. Label \
         values come from the\nconfiguration or a closed set, never from a request. Histograms of requests have buckets up to (seconds) ",
    );
    text.push_str(&spelt(REQUEST_BUCKETS));
    text.push_str(";\nthose of what the balancer itself does (fast histogram) up to ");
    text.push_str(&spelt(FAST_BUCKETS));
    text.push_str(
        ".\nThe standard `process_*` metrics (CPU, memory, descriptors, start time) come on top.\n\n",
    );
    text.push_str("| Name | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n");
    for f in ALL {
        let kind = match f.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
            Type::Histogram(buckets) if buckets == FAST_BUCKETS => "fast histogram",
            Type::Histogram(_) => "histogram",
        };
        let labels = if f.labels.is_empty() { "–".to_owned() } else { f.labels.join(", ") };
        text.push_str(&format!("| `{}` | {kind} | {labels} | {} |\n", f.name, f.help));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_the_catalogue() {
        let document = include_str!("../../../docs/METRICS.md");
        assert_eq!(document, markdown(), "run: cargo run -p load-balancer -- metrics > docs/METRICS.md");
    }

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = std::collections::BTreeSet::new();
        for f in ALL {
            assert!(seen.insert(f.name), "{} twice", f.name);
            assert!(f.name.starts_with("lb_"));
            assert_eq!(f.kind == Type::Counter, f.name.ends_with("_total"), "{}", f.name);
            assert_eq!(
                matches!(f.kind, Type::Histogram(_)),
                f.kind != Type::Gauge && f.name.ends_with("_seconds"),
                "{}",
                f.name
            );
            assert!(f.help.ends_with('.'), "{}", f.name);
        }
        for buckets in [REQUEST_BUCKETS, FAST_BUCKETS] {
            assert!(buckets.is_sorted());
            assert!(buckets.iter().all(|b| b.fract() != 0.0));
        }
    }
}
