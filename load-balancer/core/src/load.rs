//! The live numbers of one backend, shared by all workers and carried over from snapshot to snapshot.
//!
//! Only padded atomics: a request changes its own backend's words at start, first byte and end. Whatever depends on
//! the passing of time (fading evidence, stalls, the duration window) is brought up to date by [`Load::refresh`] from a
//! periodic tick, so that reading a load is a plain load and never changes it. Lost races cost one sample.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

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

/// Saturated answers in a row before the backend is held: one client over its own limit must not stop a backend for all.
const SATURATED_RUN: u32 = 3;

/// How an attempt ended, as far as a policy cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response below 500.
    Success,
    /// Anything that speaks against the backend.
    Failure(Cause),
    /// 429 or 503 with `Retry-After`: the backend is full, not broken. It asks not to be sent anything for so long. Priced
    /// like a failure, but never a reason to eject.
    Saturated(Duration),
}

/// What an attempt failed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// No connection came about: refused, unreachable or too slow.
    Connect,
    /// The connection broke, or what came over it was not HTTP.
    Reset,
    /// No answer in time.
    Timeout,
    /// A response of 500 or more.
    Status,
}

impl Cause {
    /// All of them.
    pub const ALL: [Cause; 4] = [Cause::Connect, Cause::Reset, Cause::Timeout, Cause::Status];

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Connect => "connect",
            Cause::Reset => "reset",
            Cause::Timeout => "timeout",
            Cause::Status => "status",
        }
    }
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
    tally: Tally,
    /// When the backend wants to be asked again (ms stamp of [`Tick::millis_u32`]); 0 while it is not saturated.
    held_until: AtomicU32,
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
        if let Some(hold) = self.tally.count(outcome) {
            // Zero means none.
            self.held_until.store(now.after(hold).millis_u32().max(1), Relaxed);
        }
        if outcome != Outcome::Success {
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
        self.tally.settle();
        self.held_until.store(0, Relaxed);
        self.price(now, pool);
    }

    /// What attempts have come to so far: the difference of two readings is what happened between them.
    #[must_use]
    pub fn tallies(&self) -> Tallies {
        self.tally.read()
    }

    /// How much longer the backend wants to be left alone at `now`; `None` where it does not.
    #[must_use]
    pub fn held(&self, now: Tick) -> Option<Duration> {
        let until = self.held_until.load(Relaxed);
        let left = until.wrapping_sub(now.millis_u32()) as i32;
        (until != 0 && left > 0).then(|| Duration::from_millis(left as u64))
    }

    /// Brings what time changes up to date. Called by one thread, every 10–20 ms.
    pub fn refresh(&self, now: Tick, pool: &PoolLoad) {
        let stamp = now.millis_u32();
        let (debt, at) = self.debt.get();
        self.mean_duration.set(self.window.slide(stamp));
        let left = faded(debt, at, stamp);
        if debt != 0 && left < DEBT_FLOOR {
            // Forgotten for good: a stamp of milliseconds looks young again after 25 days.
            self.debt.update(|(d, at)| if faded(d, at, stamp) < DEBT_FLOOR { (0, stamp) } else { (d, at) });
        }
        if self.held_until.load(Relaxed) != 0 && self.held(now).is_none() {
            self.held_until.store(0, Relaxed);
        }
        self.set_debt(left, pool);
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

/// What attempts have come to since the backend was first seen (wrapping), and the present run of failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tallies {
    /// Answers below 500.
    pub good: u32,
    /// Failures of every cause.
    pub bad: u32,
    /// Failures since the last good answer.
    pub run: u32,
    /// Connects that failed since the last answer of any kind.
    pub connects: u32,
    /// What the last failure was.
    pub cause: Option<Cause>,
}

/// The same, counted by all workers.
#[derive(Debug, Default)]
struct Tally {
    good: AtomicU32,
    bad: AtomicU32,
    run: AtomicU32,
    connects: AtomicU32,
    /// Position in [`Cause::ALL`], plus one.
    cause: AtomicU32,
    saturated: AtomicU32,
}

impl Tally {
    /// Counts; returns for how long the backend is to be held, where this answer says so.
    fn count(&self, outcome: Outcome) -> Option<Duration> {
        match outcome {
            Outcome::Success => {
                self.good.fetch_add(1, Relaxed);
                self.settle();
                None
            }
            Outcome::Failure(cause) => {
                self.bad.fetch_add(1, Relaxed);
                self.run.fetch_add(1, Relaxed);
                self.cause.store(cause as u32 + 1, Relaxed);
                match cause {
                    Cause::Connect => {
                        self.connects.fetch_add(1, Relaxed);
                    }
                    _ => clear(&self.connects),
                }
                None
            }
            Outcome::Saturated(hold) => {
                clear(&self.connects);
                (self.saturated.fetch_add(1, Relaxed) + 1 >= SATURATED_RUN).then_some(hold)
            }
        }
    }

    /// Every run is over.
    fn settle(&self) {
        [&self.run, &self.connects, &self.saturated].into_iter().for_each(clear);
    }

    fn read(&self) -> Tallies {
        let cause = (self.cause.load(Relaxed) as usize).checked_sub(1);
        Tallies {
            good: self.good.load(Relaxed),
            bad: self.bad.load(Relaxed),
            run: self.run.load(Relaxed),
            connects: self.connects.load(Relaxed),
            cause: cause.and_then(|at| Cause::ALL.get(at).copied()),
        }
    }
}

/// Sets to zero; a word that is zero already is left alone, so that its cache line stays shared.
fn clear(word: &AtomicU32) {
    if word.load(Relaxed) != 0 {
        word.store(0, Relaxed);
    }
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
        load.observe(at(1), &t, Outcome::Failure(Cause::Status), &pool);
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
            load.observe(at(ms), &t, Outcome::Failure(Cause::Status), &pool);
            load.end(t, &pool);
        }
        assert!(load.anomaly() > 50.0 && load.failure_debt() > 10.0);
        load.forget(at(60), &pool);
        assert_eq!((load.anomaly(), load.failure_debt(), load.in_flight()), (1.0, 0.0, 1));
        load.end(held, &pool);
    }

    #[test]
    fn runs_end_with_an_answer() {
        let (load, pool) = (Load::new(), PoolLoad::default());
        let tell = |ms, outcome| {
            let t = load.begin(at(ms), &pool);
            load.observe(at(ms), &t, outcome, &pool);
            load.end(t, &pool);
            load.tallies()
        };
        tell(0, Outcome::Failure(Cause::Connect));
        let seen = tell(1, Outcome::Failure(Cause::Connect));
        assert_eq!((seen.run, seen.connects, seen.cause), (2, 2, Some(Cause::Connect)));
        let seen = tell(2, Outcome::Failure(Cause::Reset));
        assert_eq!((seen.run, seen.connects, seen.cause), (3, 0, Some(Cause::Reset)));
        let seen = tell(3, Outcome::Success);
        assert_eq!((seen.good, seen.bad, seen.run), (1, 3, 0));
    }

    #[test]
    fn a_full_backend_is_held_after_a_few_such_answers() {
        let (load, pool) = (Load::new(), PoolLoad::default());
        let tell = |ms, outcome| {
            let t = load.begin(at(ms), &pool);
            load.observe(at(ms), &t, outcome, &pool);
            load.end(t, &pool);
        };
        let full = Outcome::Saturated(Duration::from_secs(2));
        for (ms, outcome) in (0u64..).zip([full, full, Outcome::Success, full, full]) {
            tell(ms, outcome);
        }
        assert_eq!(load.held(at(5)), None);
        tell(5, full);
        assert_eq!(load.held(at(1_005)), Some(Duration::from_secs(1)));
        assert_eq!(load.held(at(2_005)), None);
        assert_eq!((load.tallies().bad, load.tallies().run), (0, 0), "full is not broken");
    }

    /// Stamps repeat after 49.7 days and look younger than they are for half of that: nothing forgotten may come back.
    #[test]
    fn what_is_over_does_not_return_after_weeks() {
        let (load, pool) = (Load::new(), PoolLoad::default());
        for outcome in [Outcome::Failure(Cause::Status), Outcome::Saturated(Duration::from_secs(1))] {
            for _ in 0..SATURATED_RUN {
                let t = load.begin(at(0), &pool);
                load.observe(at(0), &t, outcome, &pool);
                load.end(t, &pool);
            }
        }
        assert!(load.held(at(1)).is_some() && load.failure_debt() > 0.0);
        for hour in 0..(80 * 24) {
            let now = at(10_000 + hour * 3_600_000);
            load.refresh(now, &pool);
            assert_eq!((load.held(now), load.failure_debt()), (None, 0.0), "hour {hour}");
        }
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
        run(1_000..60_000, Outcome::Failure(Cause::Status));
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
