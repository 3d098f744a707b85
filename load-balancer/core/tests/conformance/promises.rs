//! What each policy promises: the one table that decides which properties it is held to.

use lb_core::Algorithm;

/// How picks are shared between healthy, equally quick backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    Equal,
    ByWeight,
    /// By weight, within what a ring of random points can give.
    OnRing,
}

/// What a request must have in common with another to meet the same backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    None,
    Client,
    Key,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Promises {
    pub(crate) share: Share,
    pub(crate) affinity: Affinity,
    /// Sees requests in flight and failures: sends nothing to a backend that hangs, little to one that refuses.
    pub(crate) load_aware: bool,
    /// Sees durations: tells a quick backend from a slow one.
    pub(crate) latency_aware: bool,
}

pub(crate) fn of(algorithm: Algorithm) -> Promises {
    use {Affinity as A, Algorithm::*, Share as S};
    let promises =
        |share, affinity, load_aware, latency_aware| Promises { share, affinity, load_aware, latency_aware };
    match algorithm {
        RoundRobin => promises(S::Equal, A::None, false, false),
        WeightedRoundRobin => promises(S::ByWeight, A::None, false, false),
        LeastConnections => promises(S::ByWeight, A::None, true, false),
        IpHash => promises(S::OnRing, A::Client, false, false),
        PowerOfTwo => promises(S::ByWeight, A::None, true, false),
        ConsistentHash => promises(S::OnRing, A::Key, false, false),
        Adaptive => promises(S::ByWeight, A::None, true, true),
        LeastResponseTime => promises(S::ByWeight, A::None, true, true),
        MinEta => promises(S::ByWeight, A::None, true, true),
        Random => promises(S::ByWeight, A::None, false, false),
    }
}
