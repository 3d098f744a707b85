//! What traffic shows, read once a tick from the live numbers: runs of failures, success rates, trials, saturation, warmth.
//!
//! Requests only count; nothing is sent from the request path. So a wrong conclusion can be traced to two readings of the
//! same counters, and a burst of failures costs the control side no more than one.

use std::time::Duration;

use lb_core::breaker::{Reason, State};
use lb_core::cap::allowance;
use lb_core::fact::Fact;
use lb_core::outlier::{outlier, widespread};
use lb_core::{Cause, Tick};

use super::Control;
use super::entry::Entry;

/// Ejected for longer than this, a backend starts slowly: its caches and pools have gone cold.
const COLD_AFTER: Duration = Duration::from_secs(10);

/// Between two reports that the cap keeps the same backend in.
const SPARED_AGAIN: Duration = Duration::from_secs(10);

impl Control {
    /// Takes in what has happened since the last tick; true where others must see a change.
    pub(super) fn watch_traffic(&mut self, now: Tick) -> bool {
        self.suspicions();
        let mut changed = self.trials(now);
        let second = self.second_passed(now);
        if self.config.ejection.enabled {
            changed |= self.runs(now);
            changed |= second && self.outliers(now);
        } else {
            self.set_widespread(false);
        }
        if second {
            self.settle_sharing(now);
            self.settle_discovery();
            self.weigh(now);
        }
        changed | self.saturation(now) | self.warmths(now)
    }

    /// Has whoever cannot be connected to checked at once: a failed check speaks for itself, whatever the cap says.
    fn suspicions(&mut self) {
        for at in 0..self.entries.len() {
            let entry = &mut self.entries[at];
            let refuses = entry.backend.load.tallies().connects >= self.config.ejection.rules.connects;
            if refuses && !entry.suspected {
                entry.checks.suspect();
                self.nudge(at);
            }
            self.entries[at].suspected = refuses;
        }
    }

    /// Ejects whoever fails again and again.
    fn runs(&mut self, now: Tick) -> bool {
        let mut changed = false;
        for at in 0..self.entries.len() {
            // Who is out is out: only then is the whole pool looked at.
            if !self.entries[at].closed() {
                continue;
            }
            let rules = &self.config.ejection.rules;
            let seen = self.entries[at].backend.load.tallies();
            let excused = self.widespread && seen.cause == Some(Cause::Status);
            let failing = (seen.run >= rules.consecutive && !excused) || seen.connects >= rules.connects;
            if let Some(cause) = seen.cause.filter(|_| failing) {
                changed |=
                    self.eject(at, Reason::Consecutive { cause, run: seen.run.max(seen.connects) }, now);
            }
        }
        changed
    }

    /// Ejects whoever fails much more often than the others.
    fn outliers(&mut self, now: Tick) -> bool {
        let checked = self.checked_actively();
        let rates: Vec<_> = self
            .entries
            .iter_mut()
            .map(|entry| {
                let seen = entry.backend.load.tallies();
                let before = std::mem::replace(&mut entry.counted, seen);
                entry.window.add(now, seen.good.wrapping_sub(before.good), seen.bad.wrapping_sub(before.bad));
                (entry.ready(checked) && entry.closed()).then(|| entry.window.sum(now))
            })
            .collect();
        let failing = widespread(&rates, &self.config.ejection.rules);
        self.set_widespread(failing);
        let found = outlier(&rates, &self.config.ejection.rules);
        found.into_iter().fold(false, |changed, (at, reason)| changed | self.eject(at, reason, now))
    }

    /// Takes note of whether failing is the rule in the pool.
    fn set_widespread(&mut self, failing: bool) {
        if failing != self.widespread {
            self.widespread = failing;
            self.metrics.failing.with_label_values(&[&self.metrics.pool]).set(i64::from(failing));
            self.tell(Fact::Failing { on: failing });
        }
    }

    /// Ejects an entry for `out` because others have, under the same conditions as if it were by this balancer's traffic.
    pub(super) fn follow_ejection(&mut self, at: usize, out: Duration, reason: Reason, now: Tick) -> bool {
        self.eject_for(at, Some(out), reason, now)
    }

    /// Ejects an entry if it is in the pool and the cap allows it.
    fn eject(&mut self, at: usize, reason: Reason, now: Tick) -> bool {
        self.eject_for(at, None, reason, now)
    }

    fn eject_for(&mut self, at: usize, out: Option<Duration>, reason: Reason, now: Tick) -> bool {
        let checked = self.checked_actively();
        let entry = &self.entries[at];
        let again = reason == Reason::Trial;
        // A trial that failed is answered even by one that is leaving, or it would stay half-open for ever.
        let due = again || (entry.ready(checked) && entry.closed());
        if !due {
            return false;
        }
        let total = self.entries.iter().filter(|e| e.leaving.is_none()).count();
        let ejected = self.entries.iter().filter(|e| e.ready(checked) && !e.closed()).count();
        let allowed = allowance(total, self.config.ejection.max_share);
        let name = self.entries[at].backend.name.clone();
        if !again && ejected >= allowed {
            let entry = &mut self.entries[at];
            if entry.spared.is_none_or(|before| now.since(before) > SPARED_AGAIN) {
                entry.spared = Some(now);
                self.tell(Fact::Spared { backend: name, reason, allowed });
            }
            return false;
        }
        let entry = &mut self.entries[at];
        let duration = match out {
            None => entry.breaker.eject(now, &self.config.ejection.rules),
            Some(out) => {
                entry.breaker.follow(now, out);
                entry.followed = Some(now.after(out));
                out
            }
        };
        entry.concluded = out.is_none();
        if !again {
            entry.ejected_at = now;
        }
        let (level, seconds) = (entry.breaker.level(), duration.as_secs_f64());
        let ejected = ejected + usize::from(!again);
        self.tell(Fact::Ejected { backend: name, reason, seconds, level, ejected, allowed });
        true
    }

    /// Ejections that have run out get their trial; trials that have ended get their verdict.
    fn trials(&mut self, now: Tick) -> bool {
        let mut changed = false;
        for at in 0..self.entries.len() {
            let entry = &mut self.entries[at];
            let name = || entry.backend.name.clone();
            match entry.breaker.tick(now, &self.config.ejection.rules) {
                Some(State::HalfOpen { .. }) => {
                    entry.backend.trial.offer();
                    let fact = Fact::Trial { backend: name() };
                    self.tell(fact);
                    changed = true;
                    continue;
                }
                _ if entry.trying().is_none() => continue,
                _ => {}
            }
            // Where failing is the rule, an answer of 500 and more says nothing about this backend.
            let excused = self.widespread && entry.backend.load.tallies().cause == Some(Cause::Status);
            match entry.backend.trial.verdict() {
                Some(true) => {
                    entry.breaker.close(now);
                    entry.backend.load.forget(now, &self.pool);
                    entry.window = lb_core::outlier::Window::new();
                    let cold = now.since(entry.ejected_at) > COLD_AFTER;
                    let fact = Fact::Restored { backend: name() };
                    self.tell(fact);
                    if cold {
                        self.warm_up(at, now);
                    }
                    changed = true;
                }
                Some(false) if self.config.ejection.enabled && !excused => {
                    changed |= self.eject(at, Reason::Trial, now);
                }
                Some(false) => {
                    entry.breaker.close(now);
                    let fact = Fact::Excused { backend: name() };
                    self.tell(fact);
                    changed = true;
                }
                None => {}
            }
        }
        changed
    }

    /// Backends that ask to be left alone, and their return.
    fn saturation(&mut self, now: Tick) -> bool {
        let mut changed = false;
        for at in 0..self.entries.len() {
            let entry = &mut self.entries[at];
            let held = entry.backend.load.held(now);
            if held.is_some() == entry.held {
                continue;
            }
            entry.held = held.is_some();
            entry.relieved = held.is_none().then_some(now);
            let backend = entry.backend.name.clone();
            self.tell(match held {
                Some(left) => Fact::Saturated { backend, seconds: left.as_secs_f64() },
                None => Fact::Relieved { backend },
            });
            changed = true;
        }
        changed
    }

    /// Begins a slow start, where there is somebody to take the rest of the traffic meanwhile.
    pub(super) fn warm_up(&mut self, at: usize, now: Tick) {
        let checked = self.checked_actively();
        let carries = |e: &Entry| e.ready(checked) && e.closed() && e.warming.is_none();
        let beside = self.entries.iter().enumerate().any(|(other, e)| other != at && carries(e));
        let entry = &mut self.entries[at];
        if !self.settled && entry.warming.is_some() {
            // It has not come now: others have said how long it has been there.
            return;
        }
        entry.warming = (self.settled && beside).then_some(now);
        entry.ahead = Duration::ZERO;
        entry.warmth = entry.warmth_at(now, &self.config);
    }

    /// Slow starts that have come a step further.
    fn warmths(&mut self, now: Tick) -> bool {
        let mut changed = false;
        for at in 0..self.entries.len() {
            let entry = &mut self.entries[at];
            let due = entry.warmth_at(now, &self.config);
            // Steps of a tenth: anything less than half a step is rounding.
            if (due - entry.warmth).abs() < 0.05 {
                continue;
            }
            entry.warmth = due;
            changed = true;
            if due >= 1.0 {
                (entry.warming, entry.relieved, entry.ahead) = (None, None, Duration::ZERO);
                let fact = Fact::Warm { backend: entry.backend.name.clone() };
                self.tell(fact);
            }
        }
        changed
    }

    /// Once a second, whatever the tick.
    fn second_passed(&mut self, now: Tick) -> bool {
        let due = now.since(self.last_second) >= Duration::from_secs(1);
        if due {
            self.last_second = now;
        }
        due
    }
}
