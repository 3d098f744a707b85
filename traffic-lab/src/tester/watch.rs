//! What others may see of a run while it goes on, and how they end it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts so far, and the wish to stop.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    ended: AtomicU64,
    failed: AtomicU64,
    stopped: AtomicBool,
    stop: Notify,
}

impl Watch {
    /// Requests that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Those of them that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Nothing more is sent; what is on its way is waited for.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.stop.notify_one();
    }

    pub(super) fn count(&self, good: bool) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.failed.fetch_add(u64::from(!good), Ordering::Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub(super) async fn stopping(&self) {
        self.stop.notified().await;
    }
}
