//! Picks: which algorithm, how long it took, and how good the choice was.

use super::{FAST_BUCKETS, Family, POOL, POOL_ALGORITHM, REQUEST_BUCKETS, counter, gauge, histogram};

/// Picks.
pub const DECISIONS: Family =
    counter("lb_decisions_total", &["pool", "algorithm", "backend"], "Picks by algorithm and backend.");
/// Time to pick.
pub const DECISION_DURATION: Family = histogram(
    "lb_decision_duration_seconds",
    FAST_BUCKETS,
    POOL_ALGORITHM,
    "Time that a pick takes, in seconds. One pick in 16 is timed, by each worker for each algorithm: two readings of the clock \
     take longer than most picks.",
);
/// What a better pick would have saved.
pub const REGRET: Family = histogram(
    "lb_regret_seconds",
    REQUEST_BUCKETS,
    POOL_ALGORITHM,
    "How much longer an answer's first byte took than the lowest latency estimate among the eligible backends when it was \
     picked, in seconds; 0 where it was faster. Answers below 500, trials excepted.",
);
/// Decision records.
pub const DECISION_RECORDS: Family = counter(
    "lb_decision_records_total",
    POOL,
    "Requests whose decisions were recorded, for /decisions and /explain.",
);
/// The pool's algorithm.
pub const ALGORITHM_ACTIVE: Family = gauge(
    "lb_algorithm_active",
    POOL_ALGORITHM,
    "1 for the algorithm in force where a request chooses none, 0 for the others.",
);
/// Changes of it.
pub const ALGORITHM_SWITCHES: Family = counter(
    "lb_algorithm_switches_total",
    &["pool", "to", "reason"],
    "Changes of the pool's algorithm while running, by the new one and by why: reload.",
);
