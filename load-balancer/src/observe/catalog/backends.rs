//! How backends stand: health, state, share, ejections, checks.

use super::{Family, POOL, POOL_BACKEND, REQUEST_BUCKETS, counter, gauge, histogram};

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
/// Ejections.
pub const EJECTIONS: Family = counter(
    "lb_backend_ejections_total",
    &["pool", "backend", "reason"],
    "Ejections by what traffic showed: consecutive_connect, _reset, _timeout, _status, success_rate, or a failed trial.",
);
/// Checks.
pub const HEALTH_CHECKS: Family = counter(
    "lb_health_checks_total",
    &["pool", "backend", "result"],
    "Active health checks by result: pass, fail.",
);
/// Check latency.
pub const HEALTH_CHECK_DURATION: Family = histogram(
    "lb_health_check_duration_seconds",
    REQUEST_BUCKETS,
    POOL,
    "Duration of active health checks, in seconds.",
);
