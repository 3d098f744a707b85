//! What latency and success a backend shows: a lock-free estimate that trusts evidence, forgets with time, and never
//! takes silence for speed.
//!
//! Why not peak EWMA: its jump to every large sample blacklists a good backend for a heavy-tailed request, and its decay
//! towards zero readmits a dead-slow one. Here a sample is capped, a failure is a *costly* sample, and a backend that
//! gets no traffic drifts back to the pool's median, neither to zero nor staying at its last bad value for ever.

use crate::tick::Tick;
use crate::word::{AtomicF32, AtomicPair};

/// Seconds: how fast old samples lose weight against new ones.
const TAU_SAMPLE: f32 = 1.0;
/// Seconds: how fast an idle backend's evidence (and its bad name) fades.
const TAU_IDLE: f32 = 10.0;
/// A success counts at most this many times the current estimate: one stall moves the mean, it does not become it.
const WINSOR: f32 = 4.0;
/// A failure counts at least this many times the pool's latency: failing fast must never look fast.
const FAILURE_FACTOR: f32 = 5.0;
/// Samples' worth of belief that a backend is like the rest of its pool.
const PRIOR: f32 = 5.0;
/// Evidence a backend is held to while a request is in flight to it: a suspect gets one trial at a time.
const TRIAL_EVIDENCE: f32 = 20.0;
/// Weight of one outcome in the success mean.
const ALPHA_SUCCESS: f32 = 0.05;
/// Floor of the success mean, so that the error factor stays finite.
const SUCCESS_FLOOR: f32 = 0.02;
/// How much dearer a backend gets per expected failed attempt (after Spotify's ELS: l + f·(1/s − 1)).
const KAPPA: f32 = 10.0;

/// Latency (µs) and success share of one backend. All methods take `&self`; concurrent updates may lose one sample.
#[derive(Debug)]
pub struct Estimate {
    /// Mean latency in µs (`f32` bits; meaningless while evidence is 0) and the stamp of the newest sample (ms).
    latency: AtomicPair,
    /// Evidence in samples, and success mean, both as `f32` bits.
    evidence: AtomicPair,
    /// Mean latency of the successes alone, in µs; 0 while there was none. What the pool's latency is made of: priced
    /// failures in it would raise the price of the next failure, and a pool that fails as a whole would spiral.
    answered: AtomicF32,
}

impl Default for Estimate {
    fn default() -> Self {
        Estimate {
            latency: AtomicPair::new(0, 0),
            evidence: AtomicPair::new(0, 1f32.to_bits()),
            answered: AtomicF32::default(),
        }
    }
}

impl Estimate {
    /// Takes a sample of `micros`; `pool` is the pool's latency in µs, 0 where nothing is known yet.
    pub fn record(&self, now: Tick, micros: f32, success: bool, pool: f32) {
        let stamp = now.millis_u32();
        let (known, _) = self.parts();
        let (mean, last) = self.latency.get();
        let (mean, idle) = (f32::from_bits(mean), seconds_between(last, stamp));
        let current = if known > 0.0 { mean } else { pool };
        let sample = match success {
            true if current > 0.0 => micros.min(WINSOR * current),
            true => micros,
            false => micros.max(FAILURE_FACTOR * pool).max(current),
        };
        let (evidence, _) = self.evidence.update(|(e, s)| {
            let (e, s) = (f32::from_bits(e), f32::from_bits(s));
            let hit = if success { 1.0 } else { 0.0 };
            // From what is believed now, not from what was believed before the pause.
            let s = 1.0 - (1.0 - s) * (-idle / TAU_IDLE).exp();
            let s = s + ALPHA_SUCCESS * (hit - s);
            ((e * (-idle / TAU_SAMPLE).exp() + 1.0).to_bits(), s.max(SUCCESS_FLOOR).to_bits())
        });
        let evidence = f32::from_bits(evidence).max(1.0);
        self.latency.update(|(old, _)| {
            let old = if known > 0.0 { f32::from_bits(old) } else { sample };
            (((old * (evidence - 1.0) + sample) / evidence).to_bits(), stamp)
        });
        if success {
            let old = self.answered.get();
            let capped = micros.min(WINSOR * old);
            self.answered.set(if old > 0.0 { old + (capped - old) / evidence } else { micros });
        }
    }

    /// The estimate in µs, shrunk towards `pool` by how little is known; `pool` itself where nothing is. `busy` holds the
    /// evidence in place: while a request is out, time alone does not clear a backend's name.
    #[must_use]
    pub fn latency(&self, now: Tick, busy: bool, pool: f32) -> f32 {
        let (evidence, _) = self.parts();
        if evidence <= 0.0 {
            return pool;
        }
        let (mean, stamp) = self.latency.get();
        let mean = f32::from_bits(mean);
        if pool <= 0.0 {
            return mean;
        }
        let evidence = if busy { evidence.max(TRIAL_EVIDENCE) } else { evidence * self.fade(now, stamp) };
        (PRIOR * pool + evidence * mean) / (PRIOR + evidence)
    }

    /// The unshrunk mean in µs, or `None` where no sample was ever taken.
    #[must_use]
    pub fn measured(&self) -> Option<f32> {
        let (evidence, _) = self.parts();
        (evidence > 0.0).then(|| f32::from_bits(self.latency.get().0))
    }

    /// The mean latency of successes in µs, or `None` where there was none.
    #[must_use]
    pub fn answered(&self) -> Option<f32> {
        Some(self.answered.get()).filter(|&mean| mean > 0.0)
    }

    /// Seconds from the newest sample to `stamp`; `None` where there was none.
    pub(crate) fn age(&self, stamp: u32) -> Option<f32> {
        let (evidence, _) = self.parts();
        (evidence > 0.0).then(|| seconds_between(self.latency.get().1, stamp))
    }

    /// Share of attempts that succeed, in 0.02..=1; an idle backend's drifts back to 1.
    #[must_use]
    pub fn success(&self, now: Tick, busy: bool) -> f32 {
        let (_, success) = self.parts();
        let (_, stamp) = self.latency.get();
        if busy || success >= 1.0 { success } else { 1.0 - (1.0 - success) * self.fade(now, stamp) }
    }

    /// What failures cost: 1 for a backend that never fails, 491 for one that always does.
    #[must_use]
    pub fn error_factor(&self, now: Tick, busy: bool) -> f32 {
        1.0 + KAPPA * (1.0 / self.success(now, busy) - 1.0)
    }

    /// Forgets everything: what is known is about a server that is no longer there.
    pub fn forget(&self) {
        let fresh = Estimate::default();
        self.evidence.update(|_| fresh.evidence.get());
        self.latency.update(|_| fresh.latency.get());
        self.answered.set(fresh.answered.get());
    }

    fn parts(&self) -> (f32, f32) {
        let (evidence, success) = self.evidence.get();
        (f32::from_bits(evidence), f32::from_bits(success))
    }

    fn fade(&self, now: Tick, stamp: u32) -> f32 {
        (-seconds_between(stamp, now.millis_u32()) / TAU_IDLE).exp()
    }
}

/// How far threads may disagree about which of two moments came first, in milliseconds: far more than they ever do.
const DISAGREEMENT: u32 = 60_000;

/// Seconds from one millisecond stamp to a later one, up to 49.7 days, after which stamps repeat; zero where threads
/// disagree about which came first.
pub(crate) fn seconds_between(earlier: u32, later: u32) -> f32 {
    let gap = later.wrapping_sub(earlier);
    if gap > u32::MAX - DISAGREEMENT { 0.0 } else { gap as f32 / 1_000.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::from_millis(ms)
    }

    #[test]
    fn long_ago_is_long_ago() {
        assert_eq!(seconds_between(5, 3_005), 3.0);
        assert_eq!(seconds_between(3_005, 5), 0.0, "two threads, a moment apart");
        assert_eq!(seconds_between(0, 40 * 24 * 3_600_000), 40.0 * 24.0 * 3_600.0);
        assert_eq!(seconds_between(u32::MAX - 999, 1_000), 2.0, "over the turn of the stamps");
    }

    #[test]
    fn unknown_is_the_pool_never_zero() {
        let e = Estimate::default();
        assert_eq!(e.latency(at(0), false, 800.0), 800.0);
        assert_eq!(e.error_factor(at(0), false), 1.0);
        assert_eq!(e.measured(), None);
    }

    #[test]
    fn one_stall_is_capped_and_forgotten() {
        let e = Estimate::default();
        for ms in 0..50 {
            e.record(at(ms * 10), 1_000.0, true, 1_000.0);
        }
        e.record(at(500), 3_000_000.0, true, 1_000.0);
        let after = e.latency(at(500), false, 1_000.0);
        assert!((1_000.0..1_200.0).contains(&after), "{after}");
        assert!(e.latency(at(60_000), false, 1_000.0) < 1_005.0);
    }

    #[test]
    fn failing_fast_is_dear_and_heals() {
        let e = Estimate::default();
        for ms in 0..200 {
            e.record(at(ms), 400.0, false, 10_000.0);
        }
        assert!(e.latency(at(200), true, 10_000.0) > 40_000.0);
        assert!(e.error_factor(at(200), true) > 400.0);
        let idle = e.error_factor(at(30_000), false);
        assert!(idle < 2.0, "after 30 s without traffic a trial is cheap again: {idle}");
    }

    #[test]
    fn one_good_answer_after_a_pause_never_looks_worse() {
        let e = Estimate::default();
        for ms in 0..30 {
            e.record(at(ms), 400.0, false, 10_000.0);
        }
        let before = e.success(at(10_000), false);
        e.record(at(10_000), 9_000.0, true, 10_000.0);
        assert!(e.success(at(10_000), false) >= before);
        e.forget();
        assert_eq!((e.success(at(10_000), true), e.measured(), e.answered()), (1.0, None, None));
    }

    #[test]
    fn tells_fractions_of_a_millisecond_apart() {
        let (fast, slow) = (Estimate::default(), Estimate::default());
        for ms in 0..100 {
            fast.record(at(ms), 200.0, true, 500.0);
            slow.record(at(ms), 900.0, true, 500.0);
        }
        assert!(slow.latency(at(100), false, 500.0) / fast.latency(at(100), false, 500.0) > 3.0);
    }

    #[test]
    fn stamps_wrap_without_a_jump() {
        assert_eq!(seconds_between(u32::MAX - 499, 500), 1.0);
        assert_eq!(seconds_between(500, 499), 0.0);
    }
}
