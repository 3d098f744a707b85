//! Rate limits: how many requests a key may make, and a table of keys whose memory is bounded and which forgives nobody.
//!
//! A key's state is one number, its theoretical arrival time (GCRA, the generic cell rate algorithm): the moment at which its
//! burst would be whole again if it stopped now. A moment that has passed says nothing, so such a key need not be kept at all.
//! Where more keys owe something than the table holds, a newcomer takes the place of whoever owes least and inherits that debt
//! (as in Space-Saving, Metwally et al.). So debts only ever fade by time: nobody gains by flooding the table with other keys,
//! and what the flood costs is that some newcomers start with less than a whole burst.

use std::time::Duration;

use crate::tick::Tick;

/// How many requests are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds that one request costs.
    interval: u64,
    /// Requests at once.
    burst: u32,
}

/// What a key may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The request is allowed.
    Allowed,
    /// It is not; another will be after so long, if nobody makes one until then.
    Limited(Duration),
}

impl Rate {
    /// `per_second` requests on average (above 0), `burst` of them at once (1 or more).
    #[must_use]
    pub fn new(per_second: f64, burst: u32) -> Self {
        Rate { interval: ((1e9 / per_second) as u64).max(1), burst: burst.max(1) }
    }

    /// Requests that may be made at once after a long silence.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// The time in which a burst that was spent is whole again.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.cost(self.burst))
    }

    /// The most requests that are allowed within `time`, however they come.
    #[must_use]
    pub fn most_within(&self, time: Duration) -> u64 {
        u64::from(self.burst) + time.as_nanos() as u64 / self.interval
    }

    fn cost(&self, requests: u32) -> u64 {
        self.interval.saturating_mul(u64::from(requests))
    }

    /// One request more at `now`, of a key that is whole again at `debt`.
    fn take(&self, debt: &mut Tick, now: Tick) -> Verdict {
        let next = (*debt).max(now).after(Duration::from_nanos(self.interval));
        let over = next.since(now).saturating_sub(self.window());
        if over.is_zero() {
            *debt = next;
            Verdict::Allowed
        } else {
            Verdict::Limited(over)
        }
    }

    /// `requests` that were made elsewhere: nobody is asked whether they were allowed.
    fn charge(&self, debt: &mut Tick, now: Tick, requests: u32) {
        *debt = (*debt).max(now).after(Duration::from_nanos(self.cost(requests)));
    }
}

/// Keys looked at together: one cache line of hashes, and one of debts.
const WAYS: usize = 8;

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Hashes([u64; WAYS]);

#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Debts([Tick; WAYS]);

/// What keys owe: a fixed number of places, found by hash.
#[derive(Debug)]
pub struct Debtors {
    hashes: Box<[Hashes]>,
    debts: Box<[Debts]>,
}

impl Debtors {
    /// Room for `keys` at least (rounded up to a power of two, 8 or more) that owe something at the same time.
    #[must_use]
    pub fn new(keys: usize) -> Self {
        let sets = keys.div_ceil(WAYS).next_power_of_two();
        Debtors { hashes: vec![Hashes::default(); sets].into(), debts: vec![Debts::default(); sets].into() }
    }

    /// How many keys have room.
    #[must_use]
    pub fn room(&self) -> usize {
        self.hashes.len() * WAYS
    }

    /// A request of `key`, a hash that spreads well, at `now`.
    pub fn take(&mut self, rate: &Rate, key: u64, now: Tick) -> Verdict {
        rate.take(self.debt(key), now)
    }

    /// `requests` that `key` has made elsewhere.
    pub fn charge(&mut self, rate: &Rate, key: u64, now: Tick, requests: u32) {
        rate.charge(self.debt(key), now, requests);
    }

    /// What `key` owes: what is known of it, or what the one owed whose place it takes.
    fn debt(&mut self, key: u64) -> &mut Tick {
        let set = (key >> 32) as usize & (self.hashes.len() - 1);
        let (hashes, debts) = (&mut self.hashes[set].0, &mut self.debts[set].0);
        let at = match hashes.iter().position(|hash| *hash == key) {
            Some(at) => at,
            None => {
                // Who owes least; a place that nobody has had yet owes nothing.
                let at = (1..WAYS).fold(0, |least, at| if debts[at] < debts[least] { at } else { least });
                hashes[at] = key;
                at
            }
        };
        &mut debts[at]
    }
}

#[cfg(test)]
mod tests;
