//! The balancer itself: its threads, its telemetry, what is running.

use super::{Family, POOL, counter, gauge};

/// Drain.
pub const DRAINING: Family = gauge(
    "lb_draining",
    &[],
    "1 after the order to stop: while others are sent elsewhere (timeouts.drain_delay) and requests finish.",
);
/// Spans.
pub const TRACE_SPANS: Family = counter(
    "lb_trace_spans_total",
    &["result"],
    "Spans of traces by result: exported (the collector took the batch; should it have refused some of it, they count, too), \
     dropped (the queue was full), failed (the collector did not take them).",
);
/// Lines of the access log.
pub const ACCESS_LOG_LINES: Family = counter(
    "lb_access_log_lines_total",
    &["result"],
    "Lines of the access log by result: written, dropped (the queue was full, or writing failed).",
);
/// Backends without series of their own.
pub const FOLDED: Family = gauge(
    "lb_metrics_backends_folded",
    POOL,
    "Backends beyond the series budget (metrics.backends), whose counters and histograms are folded into \
     backend=\"overflow\" and which have no gauges of their own.",
);
/// Most that may be resident.
pub const MEMORY_LIMIT: Family = gauge(
    "lb_memory_limit_bytes",
    &[],
    "Resident memory beyond which fewer requests are let in (limits.memory), in bytes; 0 for any amount.",
);
/// Workers.
pub const WORKERS: Family = gauge("lb_runtime_workers", &[], "Data-plane threads.");
/// Tasks.
pub const RUNTIME_TASKS: Family =
    gauge("lb_runtime_alive_tasks", &["worker"], "Tasks of a data-plane thread that have not ended.");
/// Queued tasks.
pub const RUNTIME_QUEUE: Family = gauge(
    "lb_runtime_global_queue_depth",
    &["worker"],
    "Tasks woken from other threads that wait in the queue of a data-plane thread's runtime.",
);
/// Busy time.
pub const RUNTIME_BUSY: Family = counter(
    "lb_runtime_worker_busy_seconds_total",
    &["worker"],
    "Time in which a data-plane thread did not sleep, in seconds.",
);
/// Build.
pub const BUILD: Family = gauge("lb_build_info", &["version", "revision"], "Always 1: what is running.");
