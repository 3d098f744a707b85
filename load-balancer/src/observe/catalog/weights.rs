//! What a backend is worth to `adaptive`, and the terms that this comes from.

use super::{Family, POOL, POOL_BACKEND, counter, gauge};

/// Why a backend gets its share.
pub const SCORE_COMPONENT: Family = gauge(
    "lb_backend_score_component_ratio",
    &["pool", "backend", "component"],
    "Factors of the score by which adaptive shares out requests, 1 is neutral: weight (relative to the pool's mean), \
     warmth, capacity, latency and error. Their product is the score.",
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
    "The same as reports alone say, bounded and aged. Not there before a report has counted.",
);
/// The rate behind it.
pub const CAPACITY_RATE: Family = gauge(
    "lb_backend_capacity_requests_per_second",
    POOL_BACKEND,
    "Good answers a second at full use: the rate divided by the utilisation reported; NaN where it was not measured yet, not \
     there before a report has counted.",
);
/// Memory and connections.
pub const CAPACITY_GATE: Family = gauge(
    "lb_backend_capacity_gate_ratio",
    POOL_BACKEND,
    "What is left to a backend that runs out of memory or connections; else 1. Not there before a report has counted.",
);
/// Trust.
pub const CAPACITY_TRUST: Family = gauge(
    "lb_backend_capacity_trust_ratio",
    POOL_BACKEND,
    "How far the measured capacity is believed: falls while latency contradicts it. Not there before a report has counted.",
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
    "Age of the last report that counted. Not there before one has.",
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
/// Capacities written.
pub const WEIGHT_UPDATES: Family = counter(
    "lb_weight_updates_total",
    &["pool", "result"],
    "Looks at the capacities of backends that have reported, one a second and backend, by result: applied (it follows the \
     reports), clamped (it is at a bound of signals), held (within noise of the median, and taken for it), stale (no report \
     that counts of late: it fades).",
);
/// When they were.
pub const WEIGHT_UPDATED: Family = gauge(
    "lb_weight_last_update_timestamp_seconds",
    POOL,
    "When a report last counted for a capacity, in seconds since the Unix epoch; 0 before the first time.",
);
