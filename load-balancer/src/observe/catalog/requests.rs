//! Requests as clients see them: answers, latency, the part of it that is ours, connections.

use super::{FAST_BUCKETS, Family, POOL, POOL_ALGORITHM, REQUEST_BUCKETS, counter, gauge, histogram};

/// Requests answered.
pub const REQUESTS: Family = counter(
    "lb_requests_total",
    &["pool", "algorithm", "method", "code"],
    "Requests answered to clients, also those the balancer answered itself (algorithm none: before one was chosen).",
);
/// Client-side latency.
pub const REQUEST_DURATION: Family = histogram(
    "lb_request_duration_seconds",
    REQUEST_BUCKETS,
    &["pool", "algorithm"],
    "Time from a request's head to the last byte of its response, in seconds.",
);
/// Time of our own.
pub const REQUEST_OVERHEAD: Family = histogram(
    "lb_request_overhead_seconds",
    FAST_BUCKETS,
    POOL_ALGORITHM,
    "Time of requests sent to a backend that was the balancer's own, in seconds: all of it but waiting for backends, from \
     connecting (over an open connection: sending) to the last byte or failure of each attempt. Waiting before a retry is \
     the balancer's.",
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
