//! Attempts: what was sent to backends, what came back, and what was tried again.

use super::{Family, POOL, POOL_BACKEND, REQUEST_BUCKETS, counter, gauge, histogram};

/// Attempts by status.
pub const UPSTREAM_REQUESTS: Family = counter(
    "lb_upstream_requests_total",
    &["pool", "backend", "code"],
    "Attempts by status code; error where no response head came, canceled where the client gave up before one.",
);
/// Attempt latency.
pub const UPSTREAM_DURATION: Family = histogram(
    "lb_upstream_request_duration_seconds",
    REQUEST_BUCKETS,
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
    "Connections opened to a backend by result: ok, refused (or unreachable), timeout, tls (the handshake came to nothing, or \
     its certificate is not believed).",
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
/// What is left for retries.
pub const RETRY_BUDGET: Family = gauge(
    "lb_retry_budget_remaining_ratio",
    POOL,
    "Share of the retry budget that is left, all workers' parts together: each refuses retries once its own part is used \
     up; 1 where none was made lately.",
);
