//! Where clients are, where they were sent, and what regions cost.

use super::{Family, REQUEST_BUCKETS, counter, gauge, histogram};

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
    "Requests sent on, by the client's region and that of the first backend asked: local, spillover, or unknown where \
     either \
     is.",
);
/// Requests that went elsewhere.
pub const GEO_SPILLOVER: Family = counter(
    "lb_geo_spillover_total",
    &["client_region", "reason"],
    "Requests that went to another region than the client's, by why: no_backends there, unavailable (none of them \
     eligible), \
     load (the algorithm chose otherwise).",
);
/// Latency by region.
pub const GEO_DURATION: Family = histogram(
    "lb_geo_request_duration_seconds",
    REQUEST_BUCKETS,
    &["client_region"],
    "Time from a request's head to the last byte of its response, by the client's region, in seconds.",
);
/// Age of the database.
pub const GEO_BUILT: Family = gauge(
    "lb_geo_db_build_timestamp_seconds",
    &[],
    "When the database of countries in force was built, in seconds since the Unix epoch.",
);
