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
/// Client connections at rest.
pub const PARKED: Family = gauge(
    "lb_downstream_connections_parked",
    &["listener"],
    "Open client connections of HTTP/1.1 that have rested for a second, and hold no buffers until something comes.",
);
/// Most client connections.
pub const DOWNSTREAM_LIMIT: Family = gauge(
    "lb_downstream_connections_limit",
    &["listener"],
    "Client connections that are served at once: limits.connections, or fewer where file descriptors are fewer. More wait.",
);
/// Client connections accepted.
pub const ACCEPTED: Family =
    counter("lb_downstream_connections_accepted_total", &["listener"], "Client connections accepted.");
/// Client connections refused.
pub const CONNECTIONS_REFUSED: Family = counter(
    "lb_downstream_connections_refused_total",
    &["listener", "reason"],
    "Client connections closed before a byte of HTTP was read, by reason: network (limits.connections_per_network), \
     proxy_header (malformed PROXY protocol), proxy_timeout (none came in time).",
);
/// Failed accepts.
pub const ACCEPT_FAILURES: Family = counter(
    "lb_downstream_accept_failures_total",
    &["listener"],
    "Times that accepting failed, mostly for want of file descriptors: each is followed by a pause.",
);
/// Requests beyond a rate.
pub const RATE_LIMITED: Family = counter(
    "lb_rate_limited_total",
    &["pool", "limit"],
    "Requests answered 429 because their key had reached a rate limit, by the limit's name.",
);
/// Requests in the queue.
pub const QUEUE_WAITING: Family = gauge(
    "lb_queue_waiting",
    POOL,
    "Requests that wait because every backend has max_in_flight (queue.length is the most).",
);
/// Time in the queue.
pub const QUEUE_WAIT: Family = histogram(
    "lb_queue_wait_seconds",
    REQUEST_BUCKETS,
    POOL,
    "Time that requests waited for a backend with room, in vain (aborts queue_full, queue_timeout) or not, in seconds; \
     those that had none to wait for are not in it.",
);
