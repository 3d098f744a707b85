//! Several balancers and where they meet.

use super::{Family, POOL, REQUEST_BUCKETS, counter, gauge, histogram};

/// Whether the store can be used.
pub const STORE_UP: Family = gauge(
    "lb_state_store_up",
    &[],
    "1 while the last round with the shared store succeeded; absent where no store is configured.",
);
/// Rounds.
pub const STORE_OPERATIONS: Family = counter(
    "lb_state_store_operations_total",
    &["op", "result"],
    "Rounds with the shared store by result: ok, unreachable, timeout, refused, unreadable.",
);
/// How long rounds take.
pub const STORE_DURATION: Family = histogram(
    "lb_state_store_operation_duration_seconds",
    // Round trips on a network, up to store.timeout, which may be seconds.
    REQUEST_BUCKETS,
    &["op"],
    "Time a round with the shared store took, in seconds; no request waits for it.",
);
/// Balancers.
pub const BALANCERS_LIVE: Family =
    gauge("lb_balancers_live", POOL, "Balancers of this pool that were heard of late, this one included.");
/// Another balancer of the same name.
pub const NAME_TAKEN: Family = gauge(
    "lb_balancer_name_taken",
    POOL,
    "1 while another balancer meets under the name of this one (store.instance): neither hears the other; absent where no \
     store is configured.",
);
/// Turns alone.
pub const TURNS_LOCAL: Family = counter(
    "lb_turns_local_total",
    POOL,
    "Turns of the round robins that were drawn without the others, because none were reserved in time.",
);
