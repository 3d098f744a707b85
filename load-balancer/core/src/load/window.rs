//! Mean duration over the last seconds, in two halves that slide: no list of samples, no lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Milliseconds in half of the duration window: two halves slide, so 5–10 s of durations are remembered.
const HALF_WINDOW_MS: u32 = 5_000;

/// Mean duration over a window of two sliding halves.
#[derive(Debug, Default)]
pub(super) struct Window {
    sum: AtomicU64,
    count: AtomicU64,
    old_sum: AtomicU64,
    old_count: AtomicU64,
    turned: AtomicU32,
}

impl Window {
    pub(super) fn add(&self, micros: f32) {
        self.sum.fetch_add(micros as u64, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    pub(super) fn forget(&self) {
        [&self.sum, &self.count, &self.old_sum, &self.old_count].iter().for_each(|n| n.store(0, Relaxed));
    }

    /// The mean (µs) of what is remembered, after dropping the half that is too old; 0 where nothing is. One caller only.
    pub(super) fn slide(&self, stamp: u32) -> f32 {
        // Also without new durations: a backend that gets no traffic must not keep its last bad ones for ever.
        if stamp.wrapping_sub(self.turned.load(Relaxed)) >= HALF_WINDOW_MS {
            self.turned.store(stamp, Relaxed);
            self.old_sum.store(self.sum.swap(0, Relaxed), Relaxed);
            self.old_count.store(self.count.swap(0, Relaxed), Relaxed);
        }
        let count = self.count.load(Relaxed) + self.old_count.load(Relaxed);
        let sum = self.sum.load(Relaxed) + self.old_sum.load(Relaxed);
        if count > 0 { sum as f32 / count as f32 } else { 0.0 }
    }
}
