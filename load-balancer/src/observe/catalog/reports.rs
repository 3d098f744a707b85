//! What backends say about themselves, and how the balancer came by it.

use super::{Family, POOL, POOL_BACKEND, REQUEST_BUCKETS, counter, gauge, histogram};

/// Scrapes.
pub const SCRAPES: Family = counter(
    "lb_scrapes_total",
    &["pool", "backend", "result"],
    "Scrapes of what a backend says about itself, by result: ok, timeout, refused (no connection, or a broken one), status \
     (not 200), too_large, unreadable, empty (none of the signals wanted).",
);
/// Scrape latency.
pub const SCRAPE_DURATION: Family = histogram(
    "lb_scrape_duration_seconds",
    REQUEST_BUCKETS,
    POOL,
    "Duration of scrapes, failed ones included, in seconds.",
);
/// Scrape age.
pub const SCRAPE_AGE: Family = gauge(
    "lb_scrape_age_seconds",
    POOL_BACKEND,
    "Time since a scrape last brought something, or since scraping began where none has, in seconds.",
);
/// Reported CPU.
pub const REPORTED_CPU: Family = gauge(
    "lb_backend_cpu_usage_ratio",
    POOL_BACKEND,
    "CPU in use, as a share of what it has, as a backend said in its last scrape. Not there while unknown.",
);
/// Reported memory.
pub const REPORTED_MEMORY: Family = gauge(
    "lb_backend_memory_usage_ratio",
    POOL_BACKEND,
    "Memory in use, as a share of what it has, as a backend said in its last scrape. Not there while unknown.",
);
/// Reported connections.
pub const REPORTED_CONNECTIONS: Family = gauge(
    "lb_backend_connections_usage_ratio",
    POOL_BACKEND,
    "Connections in use, as a share of its limit, as a backend said in its last scrape. Not there while unknown.",
);
/// Reported utilisation.
pub const REPORTED_UTILIZATION: Family = gauge(
    "lb_backend_utilization_ratio",
    POOL_BACKEND,
    "How busy it is by its own measure, as a backend said in its last scrape. Not there while unknown.",
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
