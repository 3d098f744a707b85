//! The live numbers of one backend, shared by all workers and carried over from snapshot to snapshot.
//!
//! Only padded atomics: a request changes its own backend's words at start, first byte and end. Whatever depends on
//! the passing of time (fading evidence, stalls, the duration window) is brought up to date by [`Load::refresh`] from a
//! periodic tick, so that reading a load is a plain load and never changes it. Lost races cost one sample.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::estimate::{Estimate, seconds_between};
use crate::tick::Tick;
use crate::word::{AtomicF32, AtomicPair};

/// Seconds a failure weighs on its backend as if it were a request still in flight. Counting policies see no latency;
/// without this the backend that refuses at once would always look idle.
const TAU_DEBT: f32 = 1.0;
/// Failure debt below this many requests is forgotten, so that healed backends tie exactly with the others.
const DEBT_FLOOR: f32 = 0.05;
/// Requests that must be out before their age may speak for a stalled backend: fewer is chance.
const STALL_MIN: u32 = 3;
/// Silence, in pool latencies, before a backend counts as stalled.
const STALL_SILENCE: f32 = 3.0;
/// How much older than the estimate the requests in flight must be, on average, to replace it.
const STALL_AGE: f32 = 2.0;
/// Milliseconds in half of the duration window: two halves slide, so 5–10 s of durations are remembered.
const HALF_WINDOW_MS: u32 = 5_000;

/// How an attempt ended, as far as a policy cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response below 500.
    Success,
    /// A 5xx, a refused or reset connection, or a timeout.
    Failure,
}

/// What [`Load::begin`] hands out and [`Load::end`] takes back: one request in flight.
#[derive(Debug, Clone, Copy)]
#[must_use = "an attempt that begins must end, or the backend looks busy for ever"]
pub struct Ticket {
    at: Tick,
    sent: Tick,
    expected: u32,
}

impl Ticket {
    /// When the attempt began.
    #[must_use]
    pub fn at(&self) -> Tick {
        self.at
    }

    /// The request goes out at `now`, after a connection had to be made: making it says nothing about the backend's
    /// latency, so samples count from here.
    pub fn send(&mut self, now: Tick) {
        self.sent = now;
    }
}

/// Live numbers of one backend. Two cache lines apart from its neighbours, so that workers serving different backends
/// never contend. In the order written: all that a pick reads lies in the first line.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Load {
    in_flight: AtomicU32,
    debt_now: AtomicF32,
    /// What the failure debt costs in expected durations (µs).
    owed: AtomicF32,
    latency: AtomicF32,
    anomaly: AtomicF32,
    mean_duration: AtomicF32,
    last_done: AtomicU32,
    /// Σ of the durations expected, at assignment, of the requests in flight (µs).
    eta: AtomicU64,
    /// Σ of the start times of the requests in flight (µs, wrapping): their mean age is one subtraction away.
    start_sum: AtomicU64,
    /// Failure debt (`f32` bits) and its stamp (ms).
    debt: AtomicPair,
    estimate: Estimate,
    window: Window,
}

impl Load {
    /// Numbers of a backend that was never used: unknown, not fast.
    #[must_use]
    pub fn new() -> Self {
        Load { anomaly: AtomicF32::new(1.0), ..Load::default() }
    }

    /// Requests of this balancer in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// The weight of recent failures, in requests.
    #[must_use]
    pub fn failure_debt(&self) -> f32 {
        self.debt_now.get()
    }

    /// Requests in flight plus the weight of recent failures.
    #[must_use]
    pub fn pressure(&self) -> f32 {
        self.in_flight() as f32 + self.failure_debt()
    }

    /// Latency estimate in µs, shrunk to the pool's; 0 while the whole pool is unknown.
    #[must_use]
    pub fn latency(&self) -> f32 {
        self.latency.get()
    }

    /// Latency relative to the pool times the cost of failures: 1 is ordinary, 10 is ten times as dear.
    #[must_use]
    pub fn anomaly(&self) -> f32 {
        self.anomaly.get()
    }

    /// Σ of expected durations in flight plus the price of recent failures (µs).
    #[must_use]
    pub fn eta(&self) -> f32 {
        // Signed, because that conversion is one instruction; the sum is far below 2⁶³.
        self.eta.load(Relaxed) as i64 as f32 + self.owed.get()
    }

    /// Success share in 0.02..=1 at `now`.
    #[must_use]
    pub fn success(&self, now: Tick) -> f32 {
        self.estimate.success(now, self.in_flight() > 0)
    }

    /// Counts a request in. Every ticket must come back through [`Load::end`].
    pub fn begin(&self, now: Tick, pool: &PoolLoad) -> Ticket {
        let expected = self.expected(pool) as u32;
        self.in_flight.fetch_add(1, Relaxed);
        self.eta.fetch_add(u64::from(expected), Relaxed);
        self.start_sum.fetch_add(now.micros(), Relaxed);
        pool.in_flight.0.fetch_add(1, Relaxed);
        self.price(now, pool);
        Ticket { at: now, sent: now, expected }
    }

    /// Takes what the first byte (or the failure) tells: once per ticket, and once more where an answer breaks off.
    pub fn observe(&self, now: Tick, ticket: &Ticket, outcome: Outcome, pool: &PoolLoad) {
        let micros = now.since(ticket.sent).as_nanos() as f32 / 1_000.0;
        self.estimate.record(now, micros, outcome == Outcome::Success, pool.latency());
        self.last_done.store(now.millis_u32(), Relaxed);
        if outcome == Outcome::Failure {
            let stamp = now.millis_u32();
            let (debt, _) = self.debt.update(|(d, at)| ((faded(d, at, stamp) + 1.0).to_bits(), stamp));
            self.set_debt(f32::from_bits(debt), pool);
            // The priced failure, not its quick return, is what the next request should expect.
            self.window.add(self.estimate.measured().unwrap_or(micros));
        }
        self.price(now, pool);
    }

    /// Takes the whole duration of a request that was answered well, at its last byte. Failures have been priced by
    /// [`Load::observe`] already.
    pub fn complete(&self, now: Tick, ticket: &Ticket) {
        self.window.add(now.since(ticket.sent).as_nanos() as f32 / 1_000.0);
    }

    /// Counts a request out, however it ended.
    pub fn end(&self, ticket: Ticket, pool: &PoolLoad) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.eta.fetch_sub(u64::from(ticket.expected), Relaxed);
        self.start_sum.fetch_sub(ticket.at.micros(), Relaxed);
        pool.in_flight.0.fetch_sub(1, Relaxed);
    }

    /// The server behind this backend is a new one, or as good as new: nothing that was learned of it holds. Requests in
    /// flight stay counted.
    pub fn forget(&self, now: Tick, pool: &PoolLoad) {
        self.estimate.forget();
        self.window.forget();
        self.debt.update(|_| (0, 0));
        self.debt_now.set(0.0);
        self.owed.set(0.0);
        self.mean_duration.set(0.0);
        self.price(now, pool);
    }

    /// Brings what time changes up to date. Called by one thread, every 10–20 ms.
    pub fn refresh(&self, now: Tick, pool: &PoolLoad) {
        let stamp = now.millis_u32();
        let (debt, at) = self.debt.get();
        self.mean_duration.set(self.window.slide(stamp));
        self.set_debt(faded(debt, at, stamp), pool);
        self.price(now, pool);
        if let Some(age) = self.stalled(now, pool) {
            self.set_price(age, now, pool);
        }
    }

    fn set_debt(&self, debt: f32, pool: &PoolLoad) {
        let debt = if debt < DEBT_FLOOR { 0.0 } else { debt };
        self.debt_now.set(debt);
        self.owed.set(debt * self.expected(pool));
    }

    /// Recomputes the two published prices from the estimate.
    fn price(&self, now: Tick, pool: &PoolLoad) {
        self.set_price(self.estimate.latency(now, self.in_flight() > 0, pool.latency()), now, pool);
    }

    fn set_price(&self, latency: f32, now: Tick, pool: &PoolLoad) {
        let typical = pool.latency();
        let ratio = if typical > 0.0 && latency > 0.0 { latency / typical } else { 1.0 };
        self.latency.set(latency);
        self.anomaly.set(ratio * self.estimate.error_factor(now, self.in_flight() > 0));
    }

    /// Mean age (µs) of the requests in flight, where it says that nothing comes back any more.
    fn stalled(&self, now: Tick, pool: &PoolLoad) -> Option<f32> {
        let n = self.in_flight();
        let typical = pool.latency();
        let silence = seconds_between(self.last_done.load(Relaxed), now.millis_u32()) * 1e6;
        if n < STALL_MIN || typical <= 0.0 || silence < STALL_SILENCE * typical {
            return None;
        }
        let total = now.micros().wrapping_mul(u64::from(n)).wrapping_sub(self.start_sum.load(Relaxed));
        let age = (total as i64).max(0) as f32 / n as f32;
        (age > STALL_AGE * self.latency()).then_some(age)
    }

    /// What the next request here is expected to take (µs, at least 1).
    fn expected(&self, pool: &PoolLoad) -> f32 {
        let own = self.mean_duration.get();
        if own > 0.0 { own } else { pool.duration().max(pool.latency()) }.max(1.0)
    }
}

fn faded(debt: u32, at: u32, now: u32) -> f32 {
    let debt = f32::from_bits(debt);
    if debt > 0.0 { debt * (-seconds_between(at, now) / TAU_DEBT).exp() } else { 0.0 }
}

/// Mean duration over a window of two sliding halves.
#[derive(Debug, Default)]
struct Window {
    sum: AtomicU64,
    count: AtomicU64,
    old_sum: AtomicU64,
    old_count: AtomicU64,
    turned: AtomicU32,
}

impl Window {
    fn add(&self, micros: f32) {
        self.sum.fetch_add(micros as u64, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    fn forget(&self) {
        [&self.sum, &self.count, &self.old_sum, &self.old_count].iter().for_each(|n| n.store(0, Relaxed));
    }

    /// The mean (µs) of what is remembered, after dropping the half that is too old; 0 where nothing is. One caller only.
    fn slide(&self, stamp: u32) -> f32 {
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

/// What a pool shares: the typical latency and duration, all requests in flight, and the turn of the round robins.
#[derive(Debug, Default)]
pub struct PoolLoad {
    latency: AtomicF32,
    duration: AtomicF32,
    in_flight: Padded,
    turn: PaddedTurn,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicU32);

#[derive(Debug, Default)]
#[repr(align(128))]
struct PaddedTurn(AtomicU64);

impl PoolLoad {
    /// The median of the measured backends' latencies (µs); 0 while none is measured.
    #[must_use]
    pub fn latency(&self) -> f32 {
        self.latency.get()
    }

    /// The median of the measured backends' mean durations, first byte to last included (µs); 0 while none is measured.
    #[must_use]
    pub fn duration(&self) -> f32 {
        self.duration.get()
    }

    /// Requests in flight to the whole pool.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.0.load(Relaxed)
    }

    /// The next turn of the round robins: one order over all workers.
    pub fn next_turn(&self) -> u64 {
        self.turn.0.fetch_add(1, Relaxed)
    }

    /// Publishes the medians of what `loads` have measured; `scratch` is reused between calls. One caller only.
    pub fn settle<'a>(&self, loads: impl Iterator<Item = &'a Load> + Clone, scratch: &mut Vec<f32>) {
        let latencies = loads.clone().filter_map(|l| l.estimate.answered());
        median(latencies, scratch).inspect(|&m| self.latency.set(m));
        let durations = loads.map(|l| l.mean_duration.get()).filter(|&d| d > 0.0);
        median(durations, scratch).inspect(|&m| self.duration.set(m));
    }
}

/// The (lower) median, if there is any value.
fn median(values: impl Iterator<Item = f32>, scratch: &mut Vec<f32>) -> Option<f32> {
    scratch.clear();
    scratch.extend(values);
    let middle = scratch.len().checked_sub(1)? / 2;
    Some(*scratch.select_nth_unstable_by(middle, f32::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::from_millis(ms)
    }

    #[test]
    fn tickets_balance() {
        let (load, pool) = (Load::new(), PoolLoad::default());
        let tickets: Vec<_> = (0..5).map(|ms| load.begin(at(ms), &pool)).collect();
        assert_eq!((load.in_flight(), pool.in_flight()), (5, 5));
        for t in tickets {
            load.end(t, &pool);
        }
        assert_eq!((load.in_flight(), pool.in_flight()), (0, 0));
        assert_eq!(load.eta(), 0.0);
    }

    #[test]
    fn a_failure_weighs_like_a_request_and_is_forgotten() {
        let (load, pool) = (Load::new(), PoolLoad::default());
        let t = load.begin(at(0), &pool);
        load.observe(at(1), &t, Outcome::Failure, &pool);
        load.end(t, &pool);
        assert_eq!(load.pressure(), 1.0);
        load.refresh(at(1_001), &pool);
        assert!((0.3..0.4).contains(&load.pressure()));
        load.refresh(at(4_000), &pool);
        assert_eq!(load.pressure(), 0.0);
    }

    #[test]
    fn a_new_server_starts_with_a_clean_name() {
        let (load, pool) = (Load::new(), PoolLoad::default());
        let held = load.begin(at(0), &pool);
        for ms in 0..50 {
            let t = load.begin(at(ms), &pool);
            load.observe(at(ms), &t, Outcome::Failure, &pool);
            load.end(t, &pool);
        }
        assert!(load.anomaly() > 50.0 && load.failure_debt() > 10.0);
        load.forget(at(60), &pool);
        assert_eq!((load.anomaly(), load.failure_debt(), load.in_flight()), (1.0, 0.0, 1));
        load.end(held, &pool);
    }

    #[test]
    fn a_stall_shows_before_anything_returns() {
        let (load, pool) = (Load::new(), PoolLoad::default());
        for ms in 0..20 {
            let t = load.begin(at(ms), &pool);
            load.observe(at(ms + 1), &t, Outcome::Success, &pool);
            load.end(t, &pool);
        }
        pool.settle(std::iter::once(&load), &mut Vec::new());
        let stuck: Vec<_> = (0..4).map(|_| load.begin(at(30), &pool)).collect();
        load.refresh(at(31), &pool);
        assert!(load.anomaly() < 1.5, "too early to tell");
        load.refresh(at(130), &pool);
        assert!(load.anomaly() > 50.0, "{}", load.anomaly());
        for t in stuck {
            load.end(t, &pool);
        }
    }

    /// Failures are priced by the pool's latency; it must not be priced by them in turn.
    #[test]
    fn an_outage_does_not_spiral() {
        let (load, pool) = (Load::new(), PoolLoad::default());
        let run = |from: std::ops::Range<u64>, outcome| {
            for ms in from {
                let t = load.begin(at(ms), &pool);
                load.observe(at(ms + 2), &t, outcome, &pool);
                load.end(t, &pool);
                pool.settle(std::iter::once(&load), &mut Vec::new());
                load.refresh(at(ms + 2), &pool);
            }
        };
        run(0..1_000, Outcome::Success);
        run(1_000..60_000, Outcome::Failure);
        assert_eq!(pool.latency(), 2_000.0);
        assert!((9_000.0..11_000.0).contains(&load.latency()), "{}", load.latency());
        run(60_000..65_000, Outcome::Success);
        assert!((1_900.0..2_200.0).contains(&load.latency()), "{}", load.latency());
    }

    #[test]
    fn the_window_forgets() {
        let (load, pool) = (Load::new(), PoolLoad::default());
        let run = |from: u64, took: u64| {
            let t = load.begin(at(from), &pool);
            load.complete(at(from + took), &t);
            load.end(t, &pool);
            load.refresh(at(from + took), &pool);
        };
        (0..100).for_each(|i| run(i * 100, 50));
        assert!((49_000.0..51_000.0).contains(&load.mean_duration.get()));
        (100..300).for_each(|i| run(i * 100, 5));
        assert!((4_000.0..6_000.0).contains(&load.mean_duration.get()), "{}", load.mean_duration.get());
        (30_000..41_000).step_by(20).for_each(|ms| load.refresh(at(ms), &pool));
        assert_eq!(load.mean_duration.get(), 0.0, "without traffic too");
    }

    #[test]
    fn the_pool_is_its_median() {
        let pool = PoolLoad::default();
        let loads: Vec<Load> = [1u64, 2, 3, 400]
            .iter()
            .map(|&ms| {
                let load = Load::new();
                let t = load.begin(at(0), &pool);
                load.observe(at(ms), &t, Outcome::Success, &pool);
                load.end(t, &pool);
                load
            })
            .collect();
        pool.settle(loads.iter(), &mut Vec::new());
        assert_eq!(pool.latency(), 2_000.0);
    }
}
