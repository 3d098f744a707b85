//! Reads that nobody was allowed: each is counted, and told to the audit log as changes are, as long as they are few.
//!
//! Changes that are refused have a line each; whoever may not read can ask as often as a connection carries it, and must not
//! be able to fill a disk with that. So there are some lines at once, and then a number.

use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use prometheus::IntCounterVec;

use super::access::{self, Denied, Peer};
use super::membership::failure;
use crate::clock::Clock;
use crate::config::Control;
use crate::observe::Metrics;
use crate::sparse::Sparse;

/// Lines that are written each time: enough to see that there are several who ask, and what for.
const LINES: u32 = 10;
/// Longest path in the audit log, characters.
const PATH_MOST: usize = 200;

/// Counts and tells of them; one for all endpoints on both listeners, whose lines are counted apart: who floods the traffic
/// port must not hide what is tried on the admin listener.
pub struct Denials {
    clock: Clock,
    counter: IntCounterVec,
    /// By whether it was the traffic port.
    told: [Mutex<Sparse>; 2],
}

impl Denials {
    /// Nobody was denied anything yet.
    #[must_use]
    pub fn new(metrics: &Metrics, clock: Clock) -> Self {
        for code in ["401", "403", "421"] {
            metrics.reads_denied.with_label_values(&[code]);
        }
        let told = [(); 2].map(|()| Mutex::new(Sparse::lines(LINES)));
        Denials { clock, counter: metrics.reads_denied.clone(), told }
    }

    /// The answer to whoever may not read `target`.
    pub(super) fn answer(
        &self,
        control: &Control,
        (peer, target, headers): (Peer, &Uri, &HeaderMap),
        (status, why): Denied,
    ) -> Response {
        self.counter.with_label_values(&[status.as_str()]).inc();
        let told = &self.told[usize::from(peer.on_traffic_port)];
        let due = told.lock().unwrap_or_else(PoisonError::into_inner).due(self.clock.now());
        if let Some(untold) = due {
            tracing::info!(
                target: "audit",
                who = access::who(control, headers),
                peer = peer.ip.map(tracing::field::display),
                port = if peer.on_traffic_port { "traffic" } else { "admin" },
                // Without its query, which is whatever somebody writes.
                endpoint = target.path().chars().take(PATH_MOST).collect::<String>(),
                status = status.as_u16(),
                fault = why,
                untold,
                "read denied"
            );
        }
        failure(status, why)
    }
}
