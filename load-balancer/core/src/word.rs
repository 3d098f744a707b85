//! Two 32-bit halves in one atomic word, so that a value and its time stamp change together without a lock.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// An `f32` in an atomic. Plain loads and stores; lost races cost one sample, never a torn value.
#[derive(Debug, Default)]
pub(crate) struct AtomicF32(AtomicU32);

impl AtomicF32 {
    pub(crate) const fn new(v: f32) -> Self {
        AtomicF32(AtomicU32::new(v.to_bits()))
    }
    pub(crate) fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Relaxed))
    }
    pub(crate) fn set(&self, v: f32) {
        self.0.store(v.to_bits(), Relaxed);
    }
}

/// A pair of `u32` in one atomic word.
#[derive(Debug, Default)]
pub(crate) struct AtomicPair(AtomicU64);

impl AtomicPair {
    pub(crate) const fn new(a: u32, b: u32) -> Self {
        AtomicPair(AtomicU64::new((a as u64) << 32 | b as u64))
    }
    pub(crate) fn get(&self) -> (u32, u32) {
        split(self.0.load(Relaxed))
    }
    /// Applies `f` until no other thread wrote in between; returns what was written.
    pub(crate) fn update(&self, mut f: impl FnMut((u32, u32)) -> (u32, u32)) -> (u32, u32) {
        let mut old = self.0.load(Relaxed);
        loop {
            let (a, b) = f(split(old));
            let new = u64::from(a) << 32 | u64::from(b);
            match self.0.compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => return (a, b),
                Err(seen) => old = seen,
            }
        }
    }
}

const fn split(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
