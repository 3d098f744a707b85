//! What happened, as plain data: the transitions an operator wants to know of.
//!
//! The deciding code states facts; logs, metrics and the admin listener each make of them what they need, so that all
//! three tell the same story and tests can compare it. Facts are rare (no request makes one), hence owned strings. It
//! fails by staleness: a fact is true when stated, not when read.

use crate::breaker::Reason;

mod say;

pub use say::Value;

/// A transition. Names of backends are those in the configuration or those chosen when they were added.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    missing_docs,
    reason = "the fields are named after what they hold; units are in the variants' comments"
)]
pub enum Fact {
    /// A backend is now a member.
    Joined { backend: String, address: String },
    /// A backend is no longer a member; `in_flight` requests were still under way.
    Left { backend: String, in_flight: u32 },
    /// A backend gets nothing new; `in_flight` requests may still end.
    Draining { backend: String, in_flight: u32 },
    /// Health checks pass; `was` is the state before.
    Healthy { backend: String, was: &'static str },
    /// Health checks fail.
    Unhealthy { backend: String, reason: String },
    /// A backend is out for `seconds`; `level` is how often the next ejection's base time is doubled, and now `ejected`
    /// of `allowed` are out.
    Ejected { backend: String, reason: Reason, seconds: f64, level: u32, ejected: usize, allowed: usize },
    /// A backend would be ejected, but `allowed` are out already.
    Spared { backend: String, reason: Reason, allowed: usize },
    /// An ejection is over: the next request is the backend's trial.
    Trial { backend: String },
    /// The trial passed.
    Restored { backend: String },
    /// Slow start is over.
    Warm { backend: String },
    /// A backend said it has too much to do and gets nothing for `seconds`.
    Saturated { backend: String, seconds: f64 },
    /// A saturated backend gets requests again.
    Relieved { backend: String },
    /// A backend no longer tells how it is: scrapes of it keep failing.
    SignalsLost { backend: String, reason: String },
    /// It tells again.
    SignalsBack { backend: String },
    /// The panic threshold (0 to 1) is crossed, downwards (`on`) or upwards: `eligible` of `total` backends are left.
    Panic { on: bool, eligible: usize, total: usize, threshold: f64 },
    /// A replica's process ended unasked.
    ReplicaDied { replica: String, reason: String },
    /// A replica answers, `milliseconds` after it was started.
    ReplicaStarted { replica: String, address: String, milliseconds: u64 },
    /// No replica could be started; the next try comes in `next_try_seconds`.
    ReplicaFailed { reason: String, next_try_seconds: f64 },
    /// The number of replicas changes for `in_flight` requests (smoothed).
    Scaled { from: u32, to: u32, in_flight: f64 },
    /// A new configuration holds; `changed` are its settings that differ.
    Reloaded { changed: Vec<String> },
    /// Requests that choose no algorithm are picked for by another one; `reason` is what brought that about.
    Switched { from: &'static str, to: &'static str, reason: &'static str },
    /// A new configuration is wrong, the old one holds.
    ReloadRefused { faults: String },
    /// The saved state cannot be read; it is kept under another name and the balancer starts without.
    StateRefused { file: String, kept_as: String, reason: String },
    /// Most of the pool's backends fail often (`on`), or no longer do: meanwhile answers of 500 and more eject nobody.
    Failing { on: bool },
    /// A backend failed its trial while most of the pool fails, or ejection is off, and takes traffic again.
    Excused { backend: String },
    /// A backend's reports come as they should, or late, or not: what its capacity rests on now. The last one that counted
    /// is `age` seconds old.
    Signals { backend: String, from: &'static str, to: &'static str, age: f64 },
    /// A backend can do more or less than was thought, relative to the pool's median: `rate` good answers a second at
    /// full use, measured while it was `busy` (0 to 1).
    Capacity { backend: String, from: f64, to: f64, rate: f64, busy: f64 },
    /// A backend's claimed capacity is contradicted by its latency, `latency` times the pool's, and no longer believed.
    Doubted { backend: String, claimed: f64, latency: f64 },
    /// A backend runs out of memory or connections (shares in use), or no longer does: it keeps `left` of its share.
    Gated { backend: String, left: f64, memory: f64, connections: f64 },
    /// Another database of countries is in force, built at `built` (seconds since the Unix epoch).
    GeoSwapped { database: String, built: u64 },
    /// A new database of countries cannot be used, the old one holds.
    GeoRefused { database: String, reason: String },
    /// The store that balancers share cannot be used: this one goes on alone.
    StoreLost { store: String, reason: String },
    /// It can be used (again): `balancers` meet in it, this one included.
    StoreBack { store: String, balancers: usize },
    /// A source of discovery cannot say who is there: the last list, of so many backends, holds.
    DiscoveryLost { source: &'static str, reason: String, backends: usize },
    /// It says so again.
    DiscoveryBack { source: &'static str, backends: usize },
    /// Other certificates are in force at `place`; the first of them ends at `ends` (seconds since the Unix epoch).
    CertificatesRenewed { place: &'static str, ends: u64 },
    /// Certificate files have changed into what cannot be used, the old ones hold.
    CertificatesRefused { place: &'static str, reason: String },
    /// Another balancer goes by the name of this one: neither hears the other.
    NameTaken { instance: String },
    /// More than `limit` bytes of memory are in use (`on`), so fewer requests are let in; or there is room again.
    Memory { on: bool, used: u64, limit: u64, in_flight: usize },
    /// Another process was to take this one's place, and does not: this one goes on.
    UpgradeFailed { reason: String },
}

impl Fact {
    /// Every kind that there is, for metrics that start at zero.
    pub const KINDS: [&str; 40] = [
        "joined",
        "left",
        "draining",
        "healthy",
        "unhealthy",
        "ejected",
        "spared",
        "trial",
        "restored",
        "warm",
        "saturated",
        "relieved",
        "signals_lost",
        "signals_back",
        "panic",
        "replica_died",
        "replica_started",
        "replica_failed",
        "scaled",
        "reloaded",
        "algorithm_switched",
        "reload_refused",
        "state_refused",
        "failing",
        "excused",
        "signals",
        "capacity",
        "doubted",
        "gated",
        "geo_swapped",
        "geo_refused",
        "store_lost",
        "store_back",
        "discovery_lost",
        "discovery_back",
        "name_taken",
        "certificates_renewed",
        "certificates_refused",
        "memory",
        "upgrade_failed",
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Fact::Joined { .. } => "joined",
            Fact::Left { .. } => "left",
            Fact::Draining { .. } => "draining",
            Fact::Healthy { .. } => "healthy",
            Fact::Unhealthy { .. } => "unhealthy",
            Fact::Ejected { .. } => "ejected",
            Fact::Spared { .. } => "spared",
            Fact::Trial { .. } => "trial",
            Fact::Restored { .. } => "restored",
            Fact::Warm { .. } => "warm",
            Fact::Saturated { .. } => "saturated",
            Fact::Relieved { .. } => "relieved",
            Fact::SignalsLost { .. } => "signals_lost",
            Fact::SignalsBack { .. } => "signals_back",
            Fact::Panic { .. } => "panic",
            Fact::ReplicaDied { .. } => "replica_died",
            Fact::ReplicaStarted { .. } => "replica_started",
            Fact::ReplicaFailed { .. } => "replica_failed",
            Fact::Scaled { .. } => "scaled",
            Fact::Reloaded { .. } => "reloaded",
            Fact::Switched { .. } => "algorithm_switched",
            Fact::ReloadRefused { .. } => "reload_refused",
            Fact::StateRefused { .. } => "state_refused",
            Fact::Failing { .. } => "failing",
            Fact::Excused { .. } => "excused",
            Fact::Signals { .. } => "signals",
            Fact::Capacity { .. } => "capacity",
            Fact::Doubted { .. } => "doubted",
            Fact::Gated { .. } => "gated",
            Fact::GeoSwapped { .. } => "geo_swapped",
            Fact::GeoRefused { .. } => "geo_refused",
            Fact::StoreLost { .. } => "store_lost",
            Fact::StoreBack { .. } => "store_back",
            Fact::DiscoveryLost { .. } => "discovery_lost",
            Fact::DiscoveryBack { .. } => "discovery_back",
            Fact::NameTaken { .. } => "name_taken",
            Fact::CertificatesRenewed { .. } => "certificates_renewed",
            Fact::CertificatesRefused { .. } => "certificates_refused",
            Fact::Memory { .. } => "memory",
            Fact::UpgradeFailed { .. } => "upgrade_failed",
        }
    }

    /// The backend it is about (a replica is one too), where it is about one.
    #[must_use]
    pub fn backend(&self) -> Option<&str> {
        match self {
            Fact::Joined { backend, .. }
            | Fact::Left { backend, .. }
            | Fact::Draining { backend, .. }
            | Fact::Healthy { backend, .. }
            | Fact::Unhealthy { backend, .. }
            | Fact::Ejected { backend, .. }
            | Fact::Spared { backend, .. }
            | Fact::Trial { backend }
            | Fact::Restored { backend }
            | Fact::Warm { backend }
            | Fact::Saturated { backend, .. }
            | Fact::Relieved { backend }
            | Fact::Excused { backend }
            | Fact::Signals { backend, .. }
            | Fact::Capacity { backend, .. }
            | Fact::Doubted { backend, .. }
            | Fact::Gated { backend, .. }
            | Fact::SignalsLost { backend, .. }
            | Fact::SignalsBack { backend }
            | Fact::ReplicaDied { replica: backend, .. }
            | Fact::ReplicaStarted { replica: backend, .. } => Some(backend),
            Fact::Panic { .. }
            | Fact::Failing { .. }
            | Fact::ReplicaFailed { .. }
            | Fact::Scaled { .. }
            | Fact::Reloaded { .. }
            | Fact::Switched { .. }
            | Fact::ReloadRefused { .. }
            | Fact::StateRefused { .. }
            | Fact::GeoSwapped { .. }
            | Fact::GeoRefused { .. }
            | Fact::StoreLost { .. }
            | Fact::StoreBack { .. }
            | Fact::DiscoveryLost { .. }
            | Fact::DiscoveryBack { .. }
            | Fact::CertificatesRenewed { .. }
            | Fact::CertificatesRefused { .. }
            | Fact::NameTaken { .. }
            | Fact::Memory { .. }
            | Fact::UpgradeFailed { .. } => None,
        }
    }

    /// Whether it is worth a warning: somebody may have to act.
    #[must_use]
    pub const fn alarming(&self) -> bool {
        matches!(
            self,
            Fact::Unhealthy { .. }
                | Fact::Ejected { .. }
                | Fact::Spared { .. }
                | Fact::SignalsLost { .. }
                | Fact::Panic { on: true, .. }
                | Fact::ReplicaDied { .. }
                | Fact::ReplicaFailed { .. }
                | Fact::Failing { on: true }
                | Fact::Doubted { .. }
                | Fact::ReloadRefused { .. }
                | Fact::StateRefused { .. }
                | Fact::GeoRefused { .. }
                | Fact::StoreLost { .. }
                | Fact::DiscoveryLost { .. }
                | Fact::NameTaken { .. }
                | Fact::CertificatesRefused { .. }
                | Fact::Memory { on: true, .. }
                | Fact::UpgradeFailed { .. }
        )
    }
}
