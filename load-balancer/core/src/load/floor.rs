//! The smallest latency of the last minute: what distance alone costs, whatever the backend does.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Milliseconds in half of the window: two halves slide, so 30–60 s are remembered.
const HALF_WINDOW_MS: u32 = 30_000;
/// No sample yet.
const NONE: u32 = u32::MAX;

/// The least of two sliding halves (µs).
#[derive(Debug)]
pub(super) struct Floor {
    now: AtomicU32,
    before: AtomicU32,
    turned: AtomicU32,
}

impl Default for Floor {
    fn default() -> Self {
        let none = || AtomicU32::new(NONE);
        Floor { now: none(), before: none(), turned: AtomicU32::new(0) }
    }
}

impl Floor {
    pub(super) fn add(&self, micros: f32) {
        let micros = micros as u32;
        // Nearly always a read alone, so that the line stays shared.
        if micros < self.now.load(Relaxed) {
            self.now.fetch_min(micros, Relaxed);
        }
    }

    /// Drops what is too old. One caller only.
    pub(super) fn slide(&self, stamp: u32) {
        if stamp.wrapping_sub(self.turned.load(Relaxed)) >= HALF_WINDOW_MS {
            self.turned.store(stamp, Relaxed);
            self.before.store(self.now.swap(NONE, Relaxed), Relaxed);
        }
    }

    pub(super) fn forget(&self) {
        [&self.now, &self.before].iter().for_each(|half| half.store(NONE, Relaxed));
    }

    /// The least (µs), if there was any sample.
    pub(super) fn get(&self) -> Option<f32> {
        let least = self.now.load(Relaxed).min(self.before.load(Relaxed));
        (least != NONE).then_some(least as f32)
    }
}
