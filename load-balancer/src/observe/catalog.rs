//! Every metric the balancer exposes, once: name, type, labels, help, buckets.
//!
//! `/metrics` is registered from this table and `docs/METRICS.md` is written from it, so neither can drift. Label values
//! come from configuration or a closed set, never from a request.

/// Seconds: request latency. The SLO bound 0.25 and the Apdex bounds 0.1 and 0.4 are among them; none is a whole number,
/// so that every Prometheus spells them alike.
pub const REQUEST_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1.5, 2.5, 5.5, 10.5];

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

const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Family {
    Family { name, kind: Type::Histogram(REQUEST_BUCKETS), labels, help }
}

const POOL: &[&str] = &["pool"];
const POOL_BACKEND: &[&str] = &["pool", "backend"];

/// Requests answered.
pub const REQUESTS: Family = counter(
    "lb_requests_total",
    &["pool", "algorithm", "method", "code"],
    "Requests answered to clients, also those the balancer answered itself (algorithm none: before one was chosen).",
);
/// Client-side latency.
pub const REQUEST_DURATION: Family = histogram(
    "lb_request_duration_seconds",
    &["pool", "algorithm"],
    "Time from a request's head to the last byte of its response, in seconds.",
);
/// Requests being handled.
pub const REQUESTS_IN_FLIGHT: Family = gauge("lb_requests_in_flight", POOL, "Requests being handled.");
/// Requests that were not proxied to the end.
pub const ABORTS: Family = counter(
    "lb_request_aborts_total",
    &["pool", "reason"],
    "Requests refused, failed or cut off by the balancer, or given up by the client (client_closed).",
);
/// Body bytes in.
pub const REQUEST_BYTES: Family =
    counter("lb_request_body_bytes_total", POOL, "Bytes of request bodies passed on to backends.");
/// Body bytes out.
pub const RESPONSE_BYTES: Family =
    counter("lb_response_body_bytes_total", POOL, "Bytes of response bodies passed on to clients.");
/// Client connections.
pub const DOWNSTREAM: Family = gauge("lb_downstream_connections", &["listener"], "Open client connections.");
/// Client connections accepted.
pub const ACCEPTED: Family =
    counter("lb_downstream_connections_accepted_total", &["listener"], "Client connections accepted.");
/// Attempts by status.
pub const UPSTREAM_REQUESTS: Family = counter(
    "lb_upstream_requests_total",
    &["pool", "backend", "code"],
    "Attempts by status code; error where no response head came, canceled where the client gave up before one.",
);
/// Attempt latency.
pub const UPSTREAM_DURATION: Family = histogram(
    "lb_upstream_request_duration_seconds",
    POOL_BACKEND,
    "Time from an attempt's beginning, connecting included, to its last byte or failure, in seconds.",
);
/// Attempts in flight.
pub const UPSTREAM_IN_FLIGHT: Family =
    gauge("lb_upstream_requests_in_flight", POOL_BACKEND, "Attempts in flight to a backend.");
/// Upstream connections.
pub const UPSTREAM_CONNECTIONS: Family = gauge(
    "lb_upstream_connections",
    &["pool", "backend", "state"],
    "Open connections to a backend: active ones carry a request, idle ones wait in a pool.",
);
/// Connects.
pub const CONNECTS: Family = counter(
    "lb_upstream_connects_total",
    &["pool", "backend", "result"],
    "Connections opened to a backend by result: ok, refused (or unreachable), timeout.",
);
/// Retries.
pub const RETRIES: Family = counter(
    "lb_retries_total",
    &["pool", "reason", "outcome"],
    "Failed attempts that could be repeated, by why they failed and what came of it: success or failure of the attempt that \
     followed, over_budget, or no_backend where none was left to ask.",
);
/// Retries to a backend that the request had been sent to.
pub const RETRIES_SAME_BACKEND: Family = counter(
    "lb_retries_same_backend_total",
    POOL,
    "Retries sent to a backend that the same request had already been sent to; must stay 0.",
);
/// Picks.
pub const DECISIONS: Family =
    counter("lb_decisions_total", &["pool", "algorithm", "backend"], "Picks by algorithm and backend.");
/// Decision records.
pub const DECISION_RECORDS: Family = counter(
    "lb_decision_records_total",
    POOL,
    "Requests whose decisions were recorded, for /decisions and /explain.",
);
/// Health.
pub const BACKEND_HEALTHY: Family =
    gauge("lb_backend_healthy", POOL_BACKEND, "1 while the backend may be picked, else 0.");
/// State set.
pub const BACKEND_STATE: Family = gauge(
    "lb_backend_state",
    &["pool", "backend", "state"],
    "1 for the state the backend is in: unknown (not checked yet), healthy, warming (slow start), saturated, ejected, \
     trial (one request may show whether it works again), unhealthy (fails its checks), draining.",
);
/// Count by state.
pub const BACKENDS: Family = gauge("lb_backends", &["pool", "state"], "Backends by state.");
/// Identity.
pub const BACKEND_INFO: Family = gauge(
    "lb_backend_info",
    &["pool", "backend", "address", "region"],
    "Always 1: where the backend is. Join on (pool, backend).",
);
/// Weight.
pub const BACKEND_WEIGHT: Family =
    gauge("lb_backend_weight_ratio", POOL_BACKEND, "Share of the pool's weight; sums to 1 over a pool.");
/// Slow start.
pub const BACKEND_WARMTH: Family = gauge(
    "lb_backend_warmth_ratio",
    POOL_BACKEND,
    "Share of its weight that a backend is given: below 1 during slow start and after saturation.",
);
/// Capacity.
pub const CAPACITY: Family = gauge(
    "lb_backend_capacity_ratio",
    POOL_BACKEND,
    "What the backend can do relative to the pool's median, as adaptive divides its cost by it: measured, then bounded, \
     aged, trusted and gated.",
);
/// Capacity before trust and gates.
pub const CAPACITY_MEASURED: Family = gauge(
    "lb_backend_capacity_measured_ratio",
    POOL_BACKEND,
    "The same as reports alone say, bounded and aged.",
);
/// The rate behind it.
pub const CAPACITY_RATE: Family = gauge(
    "lb_backend_capacity_requests_per_second",
    POOL_BACKEND,
    "Good answers a second at full use: the rate divided by the utilisation reported; NaN where it was never measured.",
);
/// Memory and connections.
pub const CAPACITY_GATE: Family = gauge(
    "lb_backend_capacity_gate_ratio",
    POOL_BACKEND,
    "What is left to a backend that runs out of memory or connections; else 1.",
);
/// Trust.
pub const CAPACITY_TRUST: Family = gauge(
    "lb_backend_capacity_trust_ratio",
    POOL_BACKEND,
    "How far the measured capacity is believed: falls while latency contradicts it.",
);
/// The ladder.
pub const SIGNAL_MODE: Family = gauge(
    "lb_backend_signal_mode",
    &["pool", "backend", "mode"],
    "1 for what the backend's capacity rests on: fresh reports, held (none of late), aged (fading), latency_only.",
);
/// Age.
pub const SIGNAL_AGE: Family = gauge(
    "lb_backend_signal_age_seconds",
    POOL_BACKEND,
    "Age of the last report that counted; NaN where there was none.",
);
/// Latency ratio.
pub const LATENCY_RATIO: Family = gauge(
    "lb_backend_latency_ratio",
    POOL_BACKEND,
    "Latency relative to the pool's, the way to its region taken off, inside the dead-band 1.",
);
/// Error factor.
pub const ERROR_FACTOR: Family = gauge(
    "lb_backend_error_factor",
    POOL_BACKEND,
    "How much dearer failures make a backend; 1 where there are none.",
);
/// Price.
pub const PRICE: Family = gauge(
    "lb_backend_price",
    POOL_BACKEND,
    "Latency ratio times error factor divided by capacity: what adaptive multiplies requests in flight with.",
);
/// Others.
pub const OTHERS_IN_FLIGHT: Family = gauge(
    "lb_backend_others_in_flight",
    POOL_BACKEND,
    "Requests of other balancers that are likely to be in flight, from what the backend reports.",
);
/// Region factor.
pub const REGION_FACTOR: Family = gauge(
    "lb_region_factor",
    &["client_region", "backend_region"],
    "How much dearer a backend of the one region is for clients of the other; 1 where it makes no difference.",
);
/// Region utilisation.
pub const REGION_BUSY: Family = gauge(
    "lb_region_busy_ratio",
    &["region"],
    "Utilisation of a region's backends by capacity; NaN where too little of it is known.",
);
/// Ejections.
pub const EJECTIONS: Family = counter(
    "lb_backend_ejections_total",
    &["pool", "backend", "reason"],
    "Ejections by what traffic showed: consecutive_connect, _reset, _timeout, _status, success_rate, or a failed trial.",
);
/// Panic.
pub const PANIC: Family = gauge(
    "lb_pool_panic",
    POOL,
    "1 while so few backends are without fault that ejections are ignored (ejection.panic).",
);
/// Failing.
pub const FAILING: Family = gauge(
    "lb_pool_failing",
    POOL,
    "1 while most of the pool's backends fail one request in twenty or more: answers of 500 and more eject nobody then.",
);
/// Facts.
pub const FACTS: Family = counter(
    "lb_facts_total",
    &["pool", "kind"],
    "Transitions of the pool by kind, each of them a log line and an entry of /decisions.",
);
/// Replicas to come.
pub const REPLICAS_MISSING: Family = gauge(
    "lb_replicas_missing",
    POOL,
    "Replicas that the pool is short of: starting, or waiting for the next try.",
);
/// Reloads.
pub const RELOADS: Family = counter(
    "lb_config_reloads_total",
    &["result"],
    "Configuration files read while running, by result: applied, refused.",
);
/// The last reload's result.
pub const RELOAD_OK: Family = gauge(
    "lb_config_last_reload_successful",
    &[],
    "1 while the last configuration read is the one in force, 0 after a refused one.",
);
/// When the last reload was applied.
pub const RELOAD_AT: Family = gauge(
    "lb_config_last_reload_timestamp_seconds",
    &[],
    "When the configuration in force was applied, in seconds since the Unix epoch.",
);
/// The state file.
pub const STATE_SAVED: Family = gauge(
    "lb_state_saved",
    &[],
    "1 while membership is saved as it is, 0 where the last attempt to write the state file failed.",
);
/// Control requests.
pub const CONTROL_REQUESTS: Family = counter(
    "lb_control_requests_total",
    &["endpoint", "code"],
    "Requests to control endpoints that change something, by status code; 401 and 403 were not allowed to.",
);
/// Latency estimate.
pub const BACKEND_LATENCY: Family = gauge(
    "lb_backend_latency_ewma_seconds",
    POOL_BACKEND,
    "Time to first byte as the algorithms estimate it, in seconds; 0 while nothing is known.",
);
/// Error estimate.
pub const BACKEND_ERRORS: Family = gauge(
    "lb_backend_error_ewma_ratio",
    POOL_BACKEND,
    "Share of attempts that fail, as the adaptive algorithm estimates it.",
);
/// Checks.
pub const HEALTH_CHECKS: Family = counter(
    "lb_health_checks_total",
    &["pool", "backend", "result"],
    "Active health checks by result: pass, fail.",
);
/// Check latency.
pub const HEALTH_CHECK_DURATION: Family =
    histogram("lb_health_check_duration_seconds", POOL, "Duration of active health checks, in seconds.");
/// Look-ups of clients.
pub const GEO_LOOKUPS: Family = counter(
    "lb_geo_lookups_total",
    &["result"],
    "Look-ups of clients' countries by result: hit, miss (no country, or one without region), private (not asked), error. A \
     connection remembers its last.",
);
/// Requests by region.
pub const GEO_REQUESTS: Family = counter(
    "lb_geo_requests_total",
    &["client_region", "backend_region", "match"],
    "Requests sent on, by the client's region and that of the first backend asked: local, spillover, or unknown where either \
     is.",
);
/// Requests that went elsewhere.
pub const GEO_SPILLOVER: Family = counter(
    "lb_geo_spillover_total",
    &["client_region", "reason"],
    "Requests that went to another region than the client's, by why: no_backends there, unavailable (none of them eligible), \
     load (the algorithm chose otherwise).",
);
/// Latency by region.
pub const GEO_DURATION: Family = histogram(
    "lb_geo_request_duration_seconds",
    &["client_region"],
    "Time from a request's head to the last byte of its response, by the client's region, in seconds.",
);
/// Age of the database.
pub const GEO_BUILT: Family = gauge(
    "lb_geo_db_build_timestamp_seconds",
    &[],
    "When the database of countries in force was built, in seconds since the Unix epoch.",
);
/// Scrapes.
pub const SCRAPES: Family = counter(
    "lb_scrapes_total",
    &["pool", "backend", "result"],
    "Scrapes of what a backend says about itself, by result: ok, timeout, refused (no connection, or a broken one), status \
     (not 200), too_large, unreadable, empty (none of the signals wanted).",
);
/// Scrape latency.
pub const SCRAPE_DURATION: Family =
    histogram("lb_scrape_duration_seconds", POOL, "Duration of scrapes, failed ones included, in seconds.");
/// Scrape age.
pub const SCRAPE_AGE: Family = gauge(
    "lb_scrape_age_seconds",
    POOL_BACKEND,
    "Time since a scrape last brought something, or since scraping began where none has, in seconds.",
);
/// Reported shares.
pub const BACKEND_REPORTED: Family = gauge(
    "lb_backend_reported_ratio",
    &["pool", "backend", "signal"],
    "What a backend said in its last scrape, as a share of what it has: cpu, memory, connections, utilization (its own \
     measure). Not there while unknown.",
);
/// Reported in-flight.
pub const BACKEND_REPORTED_IN_FLIGHT: Family = gauge(
    "lb_backend_reported_in_flight",
    POOL_BACKEND,
    "Requests that a backend said in its last scrape it was answering, of all balancers. Not there while unknown.",
);
/// Load reports.
pub const LOAD_REPORTS: Family = counter(
    "lb_load_reports_total",
    &["pool", "backend", "source"],
    "Load reports that could be believed, by source: header (of a response).",
);
/// Drain.
pub const DRAINING: Family = gauge("lb_draining", &[], "1 after the order to stop, while requests finish.");
/// Workers.
pub const WORKERS: Family = gauge("lb_runtime_workers", &[], "Data-plane threads.");
/// Build.
pub const BUILD: Family = gauge("lb_build_info", &["version", "revision"], "Always 1: what is running.");

/// Every family of the balancer's own; the standard `process_*` ones come on top.
pub const ALL: &[Family] = &[
    REQUESTS,
    REQUEST_DURATION,
    REQUESTS_IN_FLIGHT,
    ABORTS,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    DOWNSTREAM,
    ACCEPTED,
    UPSTREAM_REQUESTS,
    UPSTREAM_DURATION,
    UPSTREAM_IN_FLIGHT,
    UPSTREAM_CONNECTIONS,
    CONNECTS,
    RETRIES,
    RETRIES_SAME_BACKEND,
    DECISIONS,
    DECISION_RECORDS,
    BACKEND_HEALTHY,
    BACKEND_STATE,
    BACKENDS,
    BACKEND_INFO,
    BACKEND_WEIGHT,
    BACKEND_WARMTH,
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
    REGION_FACTOR,
    REGION_BUSY,
    EJECTIONS,
    PANIC,
    FAILING,
    FACTS,
    REPLICAS_MISSING,
    RELOADS,
    RELOAD_OK,
    RELOAD_AT,
    STATE_SAVED,
    CONTROL_REQUESTS,
    BACKEND_LATENCY,
    BACKEND_ERRORS,
    HEALTH_CHECKS,
    HEALTH_CHECK_DURATION,
    GEO_LOOKUPS,
    GEO_REQUESTS,
    GEO_SPILLOVER,
    GEO_DURATION,
    GEO_BUILT,
    SCRAPES,
    SCRAPE_DURATION,
    SCRAPE_AGE,
    BACKEND_REPORTED,
    BACKEND_REPORTED_IN_FLIGHT,
    LOAD_REPORTS,
    DRAINING,
    WORKERS,
    BUILD,
];

/// The catalogue as `docs/METRICS.md`.
#[must_use]
pub fn markdown() -> String {
    let buckets: Vec<String> = REQUEST_BUCKETS.iter().map(f64::to_string).collect();
    let mut text = String::from(
        "# Metrics\n\nWritten by `load-balancer metrics` from the catalogue in the code; a test holds both together. Label \
         values come from the\nconfiguration or a closed set, never from a request. Histograms of requests, in seconds: ",
    );
    text.push_str(&buckets.join(", "));
    text.push_str(
        ".\nThe standard `process_*` metrics (CPU, memory, descriptors, start time) come on top.\n\n",
    );
    text.push_str("| Name | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n");
    for f in ALL {
        let kind = match f.kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
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
                f.name.ends_with("_duration_seconds"),
                "{}",
                f.name
            );
            assert!(f.help.ends_with('.'), "{}", f.name);
        }
        assert!(REQUEST_BUCKETS.is_sorted());
        assert!(REQUEST_BUCKETS.iter().all(|b| b.fract() != 0.0));
    }
}
