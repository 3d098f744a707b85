//! Who may be picked: ejection, trials and slow start from `lb-core`, in the order in which the proxy's control side asks
//! them (`load-balancer/src/control/traffic.rs`). Health checks are not simulated: membership comes by announcement.

use std::sync::Arc;
use std::time::Duration;

use lb_core::breaker::{Breaker, Rules, State};
use lb_core::cap::{allowance, panics};
use lb_core::outlier::{Window, outlier, widespread};
use lb_core::policy::Tried;
use lb_core::ring::Ring;
use lb_core::trial::Trial;
use lb_core::view::Hashing;
use lb_core::warmth::warmth;
use lb_core::{Cause, Load, Locality, Member, PoolLoad, Tallies, Tick, View};

use crate::sim::balancer::Flight;
use crate::sim::policies::Known;
use crate::sim::recorded::Identity;

/// The proxy's defaults: the largest share ejected, the panic threshold, slow start and its least share.
const MAX_SHARE: f64 = 0.33;
const PANIC: f64 = 0.5;
const SLOW_START: Duration = Duration::from_secs(15);
const WARMTH_LEAST: f64 = 0.1;
/// Ejected for longer, a server starts slowly.
const COLD_AFTER: Duration = Duration::from_secs(10);
/// The bound of `consistent_hash`: the proxy's default.
const BOUND: f32 = 1.25;
/// Time between two looks for outliers.
const OUTLIERS_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Entry {
    up: bool,
    breaker: Breaker,
    trial: Trial,
    trying: Option<u32>,
    window: Window,
    counted: Tallies,
    ejected_at: Tick,
    /// The ejection is by this balancer's own traffic.
    concluded: bool,
    /// Until when one was followed.
    followed: Option<Tick>,
    warming: Option<Tick>,
    /// How much longer others have seen it warm up.
    ahead: Duration,
    warmth: f64,
}

impl Entry {
    fn closed(&self) -> bool {
        self.breaker.state() == State::Closed
    }
}

/// The standing of all servers at one balancer.
#[derive(Debug)]
pub(super) struct Standing {
    entries: Vec<Entry>,
    identities: Vec<Identity>,
    /// Over all of them: it depends on who there is, not on who may be picked.
    ring: Arc<Ring>,
    hashing: Hashing,
    rules: Rules,
    looked: Tick,
    half_open: u32,
    /// Failing is the rule: no server in particular is to blame.
    widespread: bool,
}

impl Standing {
    /// Everyone is in.
    pub(super) fn new(known: &Known) -> Self {
        let entry = |_| Entry { up: true, warmth: 1.0, ..Entry::default() };
        let ring = known.identities.iter().map(|identity| (identity.name_hash, identity.weight));
        Standing {
            entries: (0..known.servers).map(entry).collect(),
            identities: known.identities.clone(),
            ring: Arc::new(Ring::new(ring, known.points)),
            hashing: Hashing::Ring { bound: Some(BOUND) },
            rules: Rules::default(),
            looked: Tick::ZERO,
            half_open: 0,
            widespread: false,
        }
    }

    /// What a policy sees.
    pub(super) fn view(
        &self,
        loads: &[Arc<Load>],
        pool: &Arc<PoolLoad>,
        zones: &[u8],
        locality: &Option<Arc<Locality>>,
    ) -> View {
        let members = self.entries.iter().filter(|e| e.up).count();
        let closed = self.entries.iter().filter(|e| e.up && e.closed()).count();
        let panic = panics(closed, members, PANIC);
        let member = |(at, entry): (usize, &Entry)| Member {
            name_hash: self.identities[at].name_hash,
            ordinal: at as u32 + 1,
            weight: self.identities[at].weight,
            region: zones[at],
            warmth: entry.warmth as f32,
            eligible: entry.up && (entry.closed() || panic),
            load: Arc::clone(&loads[at]),
        };
        let members: Vec<Member> = self.entries.iter().enumerate().map(member).collect();
        View::new(members, Arc::clone(pool), Arc::clone(&self.ring), self.hashing.clone())
            .with_locality(locality.clone())
    }

    /// The server whose trial this request is to make, if one waits for it.
    pub(super) fn trial(&self, tried: &Tried) -> Option<u32> {
        if self.half_open == 0 || !tried.is_empty() {
            return None;
        }
        self.entries.iter().position(|e| e.up && e.trial.offered()).map(|at| at as u32)
    }

    /// An attempt begins; it may be the trial.
    pub(super) fn begin(&mut self, flight: &Flight) {
        let entry = &mut self.entries[flight.server as usize];
        if self.half_open > 0 && entry.trial.take() {
            entry.trying = Some(flight.attempt);
        }
    }

    /// Whether an attempt is its server's trial.
    pub(super) fn trying(&self, flight: &Flight) -> bool {
        self.entries[flight.server as usize].trying == Some(flight.attempt)
    }

    /// An attempt ends.
    pub(super) fn end(&mut self, flight: &Flight, good: bool) {
        if self.trying(flight) {
            let entry = &mut self.entries[flight.server as usize];
            entry.trying = None;
            entry.trial.report(good);
        }
    }

    /// An attempt's client left: if it was the trial, another may take it.
    pub(super) fn cancel(&mut self, flight: &Flight) {
        if self.trying(flight) {
            let entry = &mut self.entries[flight.server as usize];
            entry.trying = None;
            entry.trial.give_back();
        }
    }

    /// A server leaves, or joins as a new one.
    pub(super) fn member(&mut self, server: u32, up: bool, now: Tick) {
        let entry = &mut self.entries[server as usize];
        // A trial under way goes with the old server, or half-open ones would be miscounted.
        self.half_open -= u32::from(matches!(entry.breaker.state(), State::HalfOpen { .. }));
        *entry = Entry { up, warmth: 1.0, ..Entry::default() };
        if up && now > Tick::ZERO {
            self.warm_up(server as usize, now);
        }
    }

    /// Looks at what has happened; true where the view must change.
    pub(super) fn tick(&mut self, loads: &[Arc<Load>], pool: &PoolLoad, now: Tick) -> bool {
        let mut changed = self.trials(loads, pool, now);
        for (at, load) in loads.iter().enumerate() {
            let seen = load.tallies();
            let excused = self.widespread && seen.cause == Some(Cause::Status);
            let failing =
                (seen.run >= self.rules.consecutive && !excused) || seen.connects >= self.rules.connects;
            if self.entries[at].up && failing {
                changed |= self.eject(at, now);
            }
        }
        if now.since(self.looked) >= OUTLIERS_EVERY {
            self.looked = now;
            changed |= self.outliers(loads, now);
        }
        changed | self.warmths(now)
    }

    fn outliers(&mut self, loads: &[Arc<Load>], now: Tick) -> bool {
        let rate = |(entry, load): (&mut Entry, &Arc<Load>)| {
            let seen = load.tallies();
            let before = std::mem::replace(&mut entry.counted, seen);
            entry.window.add(now, seen.good.wrapping_sub(before.good), seen.bad.wrapping_sub(before.bad));
            (entry.up && entry.closed()).then(|| entry.window.sum(now))
        };
        let rates: Vec<_> = self.entries.iter_mut().zip(loads).map(rate).collect();
        self.widespread = widespread(&rates, &self.rules);
        let found = outlier(&rates, &self.rules);
        found.into_iter().fold(false, |changed, (at, _)| changed | self.eject(at, now))
    }

    /// For how much longer the server is out by this balancer's own traffic.
    pub(super) fn ejected(&self, at: usize, now: Tick) -> Option<Duration> {
        match self.entries[at].breaker.state() {
            State::Ejected { until } if self.entries[at].concluded => Some(until.since(now)),
            _ => None,
        }
    }

    /// How long it has been warming up.
    pub(super) fn warming(&self, at: usize, now: Tick) -> Option<Duration> {
        let entry = &self.entries[at];
        entry.warming.filter(|_| entry.up).map(|since| now.since(since) + entry.ahead)
    }

    /// Others have seen it warm up for `oldest`, as of `rounds` at most ago.
    pub(super) fn follow_warmth(
        &mut self,
        at: usize,
        oldest: Duration,
        rounds: Duration,
        born: Tick,
        now: Tick,
    ) {
        let entry = &mut self.entries[at];
        let fresh = now.since(born) < oldest;
        match entry.warming {
            Some(since) => entry.ahead = entry.ahead.max(oldest.saturating_sub(now.since(since))),
            None if fresh && oldest + rounds < SLOW_START => {
                (entry.warming, entry.ahead) = (Some(now), oldest);
            }
            None => {}
        }
    }

    /// Two others have ejected it, for so much longer; true where the view must change.
    pub(super) fn follow_ejection(&mut self, at: usize, out: Duration, now: Tick) -> bool {
        let entry = &self.entries[at];
        if !entry.up || entry.followed.is_some_and(|until| now < until) {
            return false;
        }
        self.eject_for(at, Some(out.min(self.rules.longest)), now)
    }

    /// Ejects a server by this balancer's own traffic.
    fn eject(&mut self, at: usize, now: Tick) -> bool {
        self.eject_for(at, None, now)
    }

    /// Ejects a server that is in, as far as the cap allows.
    fn eject_for(&mut self, at: usize, out: Option<Duration>, now: Tick) -> bool {
        let members = self.entries.iter().filter(|e| e.up).count();
        let away = self.entries.iter().filter(|e| e.up && !e.closed()).count();
        let entry = &mut self.entries[at];
        if !entry.closed() || away >= allowance(members, MAX_SHARE) {
            return false;
        }
        match out {
            None => drop(entry.breaker.eject(now, &self.rules)),
            Some(out) => {
                entry.breaker.follow(now, out);
                entry.followed = Some(now.after(out));
            }
        }
        entry.concluded = out.is_none();
        entry.ejected_at = now;
        true
    }

    fn trials(&mut self, loads: &[Arc<Load>], pool: &PoolLoad, now: Tick) -> bool {
        let mut changed = false;
        for (at, load) in loads.iter().enumerate() {
            let entry = &mut self.entries[at];
            if let Some(State::HalfOpen { .. }) = entry.breaker.tick(now, &self.rules) {
                entry.trial.offer();
                self.half_open += 1;
            }
            let Some(passed) = entry.trial.verdict() else { continue };
            self.half_open -= 1;
            // Where failing is the rule, a failed trial says nothing about this server; not to be reached always does.
            let excused = self.widespread && load.tallies().cause == Some(Cause::Status);
            if passed {
                entry.breaker.close(now);
                load.forget(now, pool);
                entry.window = Window::new();
                if now.since(entry.ejected_at) > COLD_AFTER {
                    self.warm_up(at, now);
                }
            } else if excused {
                entry.breaker.close(now);
            } else {
                entry.breaker.eject(now, &self.rules);
                entry.concluded = true;
            }
            changed = true;
        }
        changed
    }

    /// Begins a slow start, where there is somebody to take the rest of the traffic meanwhile.
    fn warm_up(&mut self, at: usize, now: Tick) {
        let carries = |e: &Entry| e.up && e.closed() && e.warming.is_none();
        let beside = self.entries.iter().enumerate().any(|(other, e)| other != at && carries(e));
        let entry = &mut self.entries[at];
        entry.warming = beside.then_some(now);
        entry.ahead = Duration::ZERO;
        entry.warmth = if beside { WARMTH_LEAST } else { 1.0 };
    }

    fn warmths(&mut self, now: Tick) -> bool {
        let mut changed = false;
        for entry in &mut self.entries {
            let Some(since) = entry.warming else { continue };
            let due = warmth(since, now.after(entry.ahead), SLOW_START, WARMTH_LEAST);
            changed |= (due - entry.warmth).abs() > f64::EPSILON;
            entry.warmth = due;
            if due >= 1.0 {
                (entry.warming, entry.ahead) = (None, Duration::ZERO);
            }
        }
        changed
    }
}
