//! The pool as a whole: who belongs to it, and what has happened to it.

use super::{Family, POOL, counter, gauge};

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
/// Backends by how they became known.
pub const DISCOVERY_ENDPOINTS: Family = gauge(
    "lb_discovery_endpoints",
    &["source", "state"],
    "Backends by where they are known from and by state: config (the file), admin (/add), registration (/server_up), \
     provider (replicas that the balancer keeps), shared (other balancers' replicas), file, dns and kubernetes (found by \
     that source of discovery). States as in lb_backend_state.",
);
/// Coming and going.
pub const DISCOVERY_EVENTS: Family = counter(
    "lb_discovery_events_total",
    &["source", "event"],
    "Backends that joined or left, by where they are known from, by event: joined, left.",
);
/// Whether the source answers.
pub const DISCOVERY_UP: Family = gauge(
    "lb_discovery_up",
    &["source"],
    "1 while the source of discovery says who is there, 0 before its first list and while it cannot be asked; absent where \
     discovery is off.",
);
/// Failures of the source.
pub const DISCOVERY_ERRORS: Family = counter(
    "lb_discovery_errors_total",
    &["source"],
    "Times the source of discovery could not say who is there: the last list holds.",
);
/// When the source said something.
pub const DISCOVERY_SYNCED: Family = gauge(
    "lb_discovery_last_sync_timestamp_seconds",
    &["source"],
    "When the source of discovery last said who is there, in seconds since the Unix epoch. A file and Kubernetes say so \
     when something changes, DNS as often as its answers' time to live wants.",
);
/// Found, but no members.
pub const DISCOVERY_LEFT_OUT: Family = gauge(
    "lb_discovery_left_out",
    &["source"],
    "Discovered backends that are no members: their names or addresses are taken, or there are control.max_backends.",
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
/// Denied reads.
pub const READS_DENIED: Family = counter(
    "lb_control_reads_denied_total",
    &["code"],
    "Requests that may not see what they asked for, by status code: 401 without a token that is known, 403 with one that is \
     not enough or where there is none, 421 under a name that is not this listener's.",
);
