//! The live numbers of one backend, shared by all workers and carried over from snapshot to snapshot.
//!
//! Only padded atomics: a request changes its own backend's words at start, first byte and end. Whatever depends on
//! the passing of time (fading evidence, stalls, the duration window) is brought up to date by [`Load::refresh`] from a
//! periodic tick, so that reading a load is a plain load and never changes it. Lost races cost one sample.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::estimate::{Estimate, seconds_between};
use crate::signal::Report;
use crate::tick::Tick;
use crate::word::{AtomicF32, AtomicPair};

mod floor;
mod outcome;
mod pool;
mod reported;
mod tally;
mod window;

pub use outcome::{Cause, Outcome, Ticket};
pub use pool::PoolLoad;
pub use tally::Tallies;

use floor::Floor;
use reported::Reported;
use tally::Tally;
use window::Window;

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

/// Live numbers of one backend. Two cache lines apart from its neighbours, so that workers serving different backends
/// never contend. In the order written: all that a pick reads lies in the first line.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub struct Load {
    in_flight: AtomicU32,
    /// The weight of recent failures, in requests.
    debt_now: AtomicF32,
    /// What that costs in expected durations (µs).
    owed: AtomicF32,
    /// Requests that other balancers are likely to have there.
    others: AtomicF32,
    /// Latency ratio × error factor ÷ capacity: how dear a request is here.
    price: AtomicF32,
    latency: AtomicF32,
    /// What [`Load::wait`] tells.
    wait: AtomicF32,
    mean_duration: AtomicF32,
    last_done: AtomicU32,
    /// Σ of the durations expected, at assignment, of the requests in flight (µs).
    eta: AtomicU64,
    /// Σ of the start times of the requests in flight (µs, wrapping): their mean age is one subtraction away.
    start_sum: AtomicU64,
    /// Relative to the pool's median; written by the control side.
    capacity: AtomicF32,
    /// What the way there costs (µs) beyond the way to the nearest region; written by the control side.
    distance: AtomicF32,
    /// Failure debt (`f32` bits) and its stamp (ms).
    debt: AtomicPair,
    estimate: Estimate,
    reported: Reported,
    floor: Floor,
    window: Window,
    tally: Tally,
    /// When the backend wants to be asked again (ms stamp of [`Tick::millis_u32`]); 0 while it is not saturated.
    held_until: AtomicU32,
}

/// The factors of a price, for those who want to see why.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Terms {
    /// Requests of this balancer in flight.
    pub in_flight: u32,
    /// Requests of others, as reported.
    pub others: f32,
    /// The weight of recent failures, in requests; only policies that see no latency count it.
    pub debt: f32,
    /// Latency estimate (µs).
    pub latency: f32,
    /// Latency relative to the pool's, inside its dead-band 1.
    pub anomaly: f32,
    /// What failures cost: 1 where there are none.
    pub errors: f32,
    /// Capacity relative to the pool's median.
    pub capacity: f32,
    /// Seconds since latency was last measured; `None` where it never was.
    pub latency_age: Option<f32>,
    /// Seconds since others were last reported.
    pub others_age: Option<f32>,
}

impl Load {
    /// Numbers of a backend that was never used: unknown, not fast.
    #[must_use]
    pub fn new() -> Self {
        let one = || AtomicF32::new(1.0);
        Load { price: one(), wait: one(), capacity: one(), ..Load::default() }
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

    /// The latency estimate and a microsecond, so that it is above 0 while the whole pool is unknown. Kept, because adding
    /// it for every candidate is a tenth of a pick.
    pub(crate) fn wait(&self) -> f32 {
        self.wait.get()
    }

    /// Latency relative to the pool, times the cost of failures, divided by capacity: 1 is ordinary, 10 is ten times as
    /// dear.
    #[must_use]
    pub fn price(&self) -> f32 {
        self.price.get()
    }

    /// Requests of other balancers that are likely to be in flight there.
    #[must_use]
    pub fn others(&self) -> f32 {
        self.others.get()
    }

    /// What the price is made of at `now`.
    #[must_use]
    pub fn terms(&self, now: Tick, pool: &PoolLoad) -> Terms {
        let stamp = now.millis_u32();
        Terms {
            in_flight: self.in_flight(),
            others: self.others(),
            debt: self.failure_debt(),
            latency: self.latency(),
            anomaly: banded(self.ratio(pool), pool.band()),
            errors: self.estimate.error_factor(now, self.in_flight() > 0),
            capacity: self.capacity.get(),
            latency_age: self.estimate.age(stamp),
            others_age: self.reported.age(stamp),
        }
    }

    /// Latency without the way there, relative to the pool's; 1 where either is unknown.
    #[must_use]
    pub fn ratio(&self, pool: &PoolLoad) -> f32 {
        relative(self.latency() - self.distance.get(), pool.service())
    }

    /// Sets what the backend can do relative to the pool's median (above 0), and what the way there costs beyond the way
    /// to the nearest region (µs). One caller only.
    pub fn rate(&self, capacity: f32, distance: f32) {
        self.capacity.set(capacity);
        self.distance.set(distance);
    }

    /// The smallest latency of the last minute (µs).
    #[must_use]
    pub fn floor(&self) -> Option<f32> {
        self.floor.get()
    }

    /// Takes what the backend says about itself in a scrape.
    pub fn scraped(&self, now: Tick, report: &Report) {
        self.reported.take(now.millis_u32(), report, self.in_flight());
        self.others.set(self.reported.others(now.millis_u32()));
    }

    /// Takes what it said in a scrape by another balancer, which told it on.
    pub fn relayed(&self, now: Tick, report: &Report) {
        self.reported.relay(now.millis_u32(), report, self.in_flight());
        self.others.set(self.reported.others(now.millis_u32()));
    }

    /// Takes what it says in the head of a response.
    pub fn heard(&self, now: Tick, report: &Report) {
        self.reported.head(now.millis_u32(), report);
        self.scraped(now, report);
    }

    /// How many response heads have said how busy the backend is, and what the last one said.
    #[must_use]
    pub fn heads(&self) -> (u32, Report) {
        self.reported.latest()
    }

    /// Σ of expected durations in flight plus the price of recent failures (µs).
    #[must_use]
    pub fn eta(&self) -> f32 {
        self.expected_in_flight() + self.owed.get()
    }

    /// Σ of expected durations in flight (µs).
    pub(crate) fn expected_in_flight(&self) -> f32 {
        // Signed, because that conversion is one instruction; the sum is far below 2⁶³.
        self.eta.load(Relaxed) as i64 as f32
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
        self.reprice(now, pool);
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
        if outcome == Outcome::Success {
            self.floor.add(micros);
        } else {
            let stamp = now.millis_u32();
            let (debt, _) = self.debt.update(|(d, at)| ((faded(d, at, stamp) + 1.0).to_bits(), stamp));
            self.set_debt(f32::from_bits(debt), pool);
            // The priced failure, not its quick return, is what the next request should expect.
            self.window.add(self.estimate.measured().unwrap_or(micros));
        }
        self.reprice(now, pool);
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
        self.floor.forget();
        self.reported.forget();
        self.others.set(0.0);
        self.debt.update(|_| (0, 0));
        self.debt_now.set(0.0);
        self.owed.set(0.0);
        self.mean_duration.set(0.0);
        self.tally.settle();
        self.held_until.store(0, Relaxed);
        self.reprice(now, pool);
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
        self.floor.slide(stamp);
        self.others.set(self.reported.settle(stamp));
        let left = faded(debt, at, stamp);
        if debt != 0 && left < DEBT_FLOOR {
            // Forgotten for good: a stamp of milliseconds looks young again after 25 days.
            self.debt.update(|(d, at)| if faded(d, at, stamp) < DEBT_FLOOR { (0, stamp) } else { (d, at) });
        }
        if self.held_until.load(Relaxed) != 0 && self.held(now).is_none() {
            self.held_until.store(0, Relaxed);
        }
        self.set_debt(left, pool);
        self.reprice(now, pool);
        if let Some(age) = self.stalled(now, pool) {
            self.set_price(age, now, pool);
        }
    }

    fn set_debt(&self, debt: f32, pool: &PoolLoad) {
        let debt = if debt < DEBT_FLOOR { 0.0 } else { debt };
        self.debt_now.set(debt);
        self.owed.set(debt * self.expected(pool));
        if debt > 0.0 && !pool.indebted() {
            pool.indebt();
        }
    }

    /// Recomputes what is published from the estimate.
    fn reprice(&self, now: Tick, pool: &PoolLoad) {
        self.set_price(self.estimate.latency(now, self.in_flight() > 0, self.prior(pool)), now, pool);
    }

    /// What is believed of a backend that is not known (µs): that it takes as long as the others, and the way there.
    fn prior(&self, pool: &PoolLoad) -> f32 {
        let service = pool.service();
        if service > 0.0 { service + self.distance.get() } else { pool.latency() }
    }

    fn set_price(&self, latency: f32, now: Tick, pool: &PoolLoad) {
        self.latency.set(latency);
        self.wait.set(latency + 1.0);
        let errors = self.estimate.error_factor(now, self.in_flight() > 0);
        self.price.set(banded(self.ratio(pool), pool.band()) * errors / self.capacity.get());
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

/// `value` relative to what is typical, or 1 where either says nothing.
fn relative(value: f32, typical: f32) -> f32 {
    if typical > 0.0 && value > 0.0 { value / typical } else { 1.0 }
}

/// A ratio with a dead-band around 1: `band` is one plus its half-width, and what lies beyond is taken from its edge.
fn banded(ratio: f32, band: f32) -> f32 {
    if ratio > 1.0 { (ratio / band).max(1.0) } else { (ratio * band).min(1.0) }
}

fn faded(debt: u32, at: u32, now: u32) -> f32 {
    let debt = f32::from_bits(debt);
    if debt > 0.0 { debt * (-seconds_between(at, now) / TAU_DEBT).exp() } else { 0.0 }
}

#[cfg(test)]
mod interleavings;
#[cfg(test)]
mod tests;
