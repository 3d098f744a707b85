//! From the control task's entries to what others see: the snapshot, and the gauges that describe it.

use std::sync::Arc;

use lb_core::health::Health;
use lb_core::ring::Ring;
use lb_core::{PoolLoad, View};

use super::{Entry, members};
use crate::config::Config;
use crate::observe::Metrics;
use crate::registry::Snapshot;

/// States of the label `state`.
const STATES: [&str; 3] = ["unknown", "healthy", "unhealthy"];

/// A snapshot of `entries`.
pub(super) fn snapshot(
    config: &Arc<Config>,
    entries: &[Entry],
    pool: &Arc<PoolLoad>,
    ring: &Arc<Ring>,
    epoch: u64,
) -> Snapshot {
    let members = members(entries, config.health.is_some());
    let hashing = config.hash.preset.build(&members, config.hash.bound);
    let view = View::new(members, Arc::clone(pool), Arc::clone(ring), hashing);
    let config = Arc::clone(config);
    Snapshot { epoch, config, view, backends: entries.iter().map(|e| Arc::clone(&e.backend)).collect() }
}

/// Sets the gauges that follow from the pool's state.
pub(super) fn describe(metrics: &Metrics, entries: &[Entry], checked: bool) {
    let pool = metrics.pool.as_str();
    let total: f64 = entries.iter().map(|e| f64::from(e.backend.weight)).sum();
    let mut counts = [0; STATES.len()];
    for entry in entries {
        let b = &entry.backend;
        let labels = [pool, b.name.as_str()];
        let state = match entry.checks.health() {
            _ if !checked => 1,
            Health::Unknown => 0,
            Health::Up => 1,
            Health::Down => 2,
        };
        counts[state] += 1;
        for (i, name) in STATES.iter().enumerate() {
            metrics.backend_state.with_label_values(&[pool, &b.name, name]).set(i64::from(i == state));
        }
        metrics.backend_healthy.with_label_values(&labels).set(i64::from(entry.eligible(checked)));
        metrics.backend_weight.with_label_values(&labels).set(f64::from(b.weight) / total);
        metrics.backend_info.with_label_values(&[pool, &b.name, &b.address.to_string(), &b.region]).set(1);
        for result in ["pass", "fail"] {
            metrics.health_checks.with_label_values(&[pool, &b.name, result]);
        }
    }
    for (name, count) in STATES.iter().zip(counts) {
        metrics.backends.with_label_values(&[pool, name]).set(count);
    }
}
