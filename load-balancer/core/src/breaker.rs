//! Ejection: when traffic shows that a backend fails, how long it stays out, and how it comes back.
//!
//! A circuit breaker with one trial request: an ejection ends half-open, one request shows whether the fault is gone,
//! and each ejection that follows soon on another lasts twice as long, so that a backend that keeps failing costs ever
//! fewer requests. Time served closed is forgiven step by step rather than at once, because a backend that fails every
//! minute has not recovered. It fails by ejecting a backend whose failures are the requests' own fault; that is why
//! ejections are capped ([`crate::cap`]) and soon tried again.
//!
//! Only the states live here. Counting runs of failures is the load's part, comparing success rates is
//! [`crate::outlier`]'s, handing out the trial is [`crate::trial`]'s.

use std::fmt;
use std::time::Duration;

use crate::backoff::doubled;
use crate::load::Cause;
use crate::tick::Tick;

/// When a backend is ejected and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Failures in a row, of any cause, that eject. At least 1; 5 by default, as in Envoy.
    pub consecutive: u32,
    /// Failures to connect in a row that eject. At least 1; 3 by default: a connection that nobody accepts is no
    /// request's own fault, so fewer prove as much.
    pub connects: u32,
    /// How long the first ejection lasts. 1 s by default: long enough for a restart, too short to be missed.
    pub base: Duration,
    /// How long an ejection lasts at most. 60 s by default.
    pub longest: Duration,
    /// Time closed that takes back one doubling. 30 s by default.
    pub decay: Duration,
    /// Requests within the window of [`crate::outlier::Window`] below which a success rate means nothing. 20 by default:
    /// one failure then moves the rate by 5 % at most.
    pub requests: u32,
    /// A backend with at least this success rate (0 to 1) is never an outlier. 0.85 by default.
    pub success: f64,
    /// Standard deviations of the others' success rates that an outlier lies below their mean. 1.9 by default, as in
    /// Envoy (`success_rate_stdev_factor`).
    pub deviations: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            consecutive: 5,
            connects: 3,
            base: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            decay: Duration::from_secs(30),
            requests: 20,
            success: 0.85,
            deviations: 1.9,
        }
    }
}

/// Why a backend is ejected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// Too many failures in a row.
    Consecutive {
        /// How the last one failed.
        cause: Cause,
        /// How many there were.
        run: u32,
    },
    /// It succeeds much less often than the others.
    SuccessRate {
        /// Its success rate, 0 to 1.
        rate: f64,
        /// The mean success rate of the others, 0 to 1.
        others: f64,
        /// The standard deviation of the others' success rates, 0 to 0.5.
        deviation: f64,
        /// Its requests within the window.
        requests: u32,
    },
    /// The trial request failed.
    Trial,
    /// Other balancers have ejected it.
    Voted {
        /// How many.
        voters: u32,
    },
}

impl Reason {
    /// Every name there is.
    pub const NAMES: [&'static str; 7] = [
        "consecutive_connect",
        "consecutive_reset",
        "consecutive_timeout",
        "consecutive_status",
        "success_rate",
        "trial",
        "voted",
    ];

    /// Its name in logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Reason::Consecutive { cause: Cause::Connect, .. } => "consecutive_connect",
            Reason::Consecutive { cause: Cause::Reset, .. } => "consecutive_reset",
            Reason::Consecutive { cause: Cause::Timeout, .. } => "consecutive_timeout",
            Reason::Consecutive { cause: Cause::Status, .. } => "consecutive_status",
            Reason::SuccessRate { .. } => "success_rate",
            Reason::Trial => "trial",
            Reason::Voted { .. } => "voted",
        }
    }
}

/// The reason as part of a sentence: what comes after "because".
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Consecutive { cause, run } => {
                let last = match cause {
                    Cause::Connect => "a connection that could not be made",
                    Cause::Reset => "a connection that broke",
                    Cause::Timeout => "a timeout",
                    Cause::Status => "a 5xx response",
                };
                write!(f, "{run} requests in a row failed, the last by {last}")
            }
            Reason::SuccessRate { rate, others, deviation, requests } => write!(
                f,
                "{:.1} % of {requests} requests succeeded, while the others have {:.1} % ± {:.1} %",
                rate * 100.0,
                others * 100.0,
                deviation * 100.0
            ),
            Reason::Trial => f.write_str("its trial request failed"),
            Reason::Voted { voters } => write!(f, "{voters} other balancers have ejected it"),
        }
    }
}

/// Where a backend stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Takes traffic.
    Closed,
    /// Takes none.
    Ejected {
        /// When the trial is due.
        until: Tick,
    },
    /// Takes one request, the trial.
    HalfOpen {
        /// Since when the trial may be taken.
        since: Tick,
    },
}

/// The ejection of one backend.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
    level: u32,
    /// The time closed has been paid for with levels up to here.
    calm: Tick,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new()
    }
}

impl Breaker {
    /// A backend with no past.
    #[must_use]
    pub const fn new() -> Self {
        Breaker { state: State::Closed, level: 0, calm: Tick::ZERO }
    }

    /// Where the backend stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// How often the next ejection's base time is doubled.
    #[must_use]
    pub const fn level(&self) -> u32 {
        self.level
    }

    /// Ejects and returns for how long: `base`·2^level, at most `longest`. The next one lasts twice as long, unless
    /// that would change nothing: further levels would only take longer to forgive. A backend that is out already stays
    /// out for the time left, which is returned.
    pub fn eject(&mut self, now: Tick, rules: &Rules) -> Duration {
        match self.state {
            State::Ejected { until } => return until.since(now),
            State::Closed => self.forgive(now, rules),
            State::HalfOpen { .. } => {}
        }
        let out = doubled(rules.base, self.level, rules.longest);
        if out < rules.longest {
            self.level = self.level.saturating_add(1);
        }
        self.state = State::Ejected { until: now.after(out) };
        out
    }

    /// Ejects a closed backend for `out` because others did: that is no experience of its own, so its levels stay.
    pub fn follow(&mut self, now: Tick, out: Duration) {
        if self.state == State::Closed {
            self.state = State::Ejected { until: now.after(out) };
        }
    }

    /// Lets time work: an ejection that is over becomes half-open, and levels are forgiven one per `decay` spent closed.
    /// Returns the new state where it changed. To be called periodically; late calls lose nothing but the delay.
    pub fn tick(&mut self, now: Tick, rules: &Rules) -> Option<State> {
        match self.state {
            State::Ejected { until } if now >= until => {
                self.state = State::HalfOpen { since: now };
                Some(self.state)
            }
            State::Closed => {
                self.forgive(now, rules);
                None
            }
            State::Ejected { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// The trial passed, or the server is another one than was ejected: closed, with its levels kept until time forgives
    /// them. One that is closed already stays as it is.
    pub fn close(&mut self, now: Tick) {
        if self.state != State::Closed {
            (self.state, self.calm) = (State::Closed, now);
        }
    }

    fn forgive(&mut self, now: Tick, rules: &Rules) {
        while self.level > 0 && now.since(self.calm) >= rules.decay {
            self.level -= 1;
            self.calm = self.calm.after(rules.decay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// The same rules said millisecond by millisecond.
    struct Model {
        out: Option<u64>,
        half: bool,
        level: u32,
        calm: u64,
    }

    impl Model {
        fn millisecond(&mut self, decay: u64) {
            if self.out.is_none() && !self.half {
                self.calm += 1;
                if self.calm == decay {
                    (self.calm, self.level) = (0, self.level.saturating_sub(1));
                }
            }
        }

        fn eject(&mut self, now: u64, base: u64, longest: u64) -> u64 {
            if let Some(until) = self.out {
                return until.saturating_sub(now);
            }
            let out = (base << self.level).min(longest);
            self.level += u32::from(out < longest);
            (self.out, self.half) = (Some(now + out), false);
            out
        }
    }

    #[test]
    fn follows_the_model() {
        let mut rng = Rng::seeded(11);
        for _ in 0..300 {
            let (base, longest) = (1 + u64::from(rng.below(20)), 1 + u64::from(rng.below(200)));
            let decay = 1 + u64::from(rng.below(100));
            let ms = |n| Duration::from_millis(n);
            let rules = Rules { base: ms(base), longest: ms(longest), decay: ms(decay), ..Rules::default() };
            let mut breaker = Breaker::new();
            let mut model = Model { out: None, half: false, level: 0, calm: 0 };
            let mut now = 0;
            for _ in 0..200 {
                for _ in 0..rng.below(60) {
                    now += 1;
                    model.millisecond(decay);
                }
                let at = Tick::from_millis(now);
                match rng.below(8) {
                    0..4 => {
                        let due = model.out.is_some_and(|until| now >= until);
                        if due {
                            (model.out, model.half) = (None, true);
                        }
                        assert_eq!(breaker.tick(at, &rules).is_some(), due);
                        assert_eq!(breaker.level(), model.level);
                    }
                    4..6 => {
                        let out = model.eject(now, base, longest);
                        assert_eq!(breaker.eject(at, &rules), ms(out));
                        assert_eq!(breaker.level(), model.level);
                    }
                    6 => {
                        if model.half || model.out.is_some() {
                            (model.out, model.half, model.calm) = (None, false, 0);
                        }
                        breaker.close(at);
                    }
                    _ => {}
                }
                match breaker.state() {
                    State::Closed => assert!(model.out.is_none() && !model.half),
                    State::Ejected { until } => assert_eq!(model.out.map(Tick::from_millis), Some(until)),
                    State::HalfOpen { since } => assert!(model.half && since <= at),
                }
            }
        }
    }

    /// 1, 2, 4 … 60 s while trials fail; half an hour later all is forgiven.
    #[test]
    fn ejections_lengthen_and_are_forgiven() {
        let (rules, mut breaker, mut now) = (Rules::default(), Breaker::new(), Tick::ZERO);
        let mut seconds = Vec::new();
        for _ in 0..8 {
            let out = breaker.eject(now, &rules);
            seconds.push(out.as_secs());
            now = now.after(out);
            assert_eq!(breaker.tick(now, &rules), Some(State::HalfOpen { since: now }));
        }
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        breaker.close(now);
        assert_eq!(breaker.level(), 6);
        breaker.tick(now.after(rules.decay * 2), &rules);
        assert_eq!(breaker.level(), 4);
        assert_eq!(breaker.eject(now.after(rules.decay * 60), &rules), rules.base, "forgiven without a tick");
    }

    #[test]
    fn extreme_rules_neither_hang_nor_overflow() {
        let zero = Duration::ZERO;
        for (base, longest, decay) in [(zero, zero, zero), (Duration::MAX, Duration::MAX, Duration::MAX)] {
            let rules = Rules { base, longest, decay, ..Rules::default() };
            let mut breaker = Breaker::new();
            for i in 0..1_000 {
                assert_eq!(breaker.eject(Tick::from_millis(i), &rules), base.min(longest));
                breaker.tick(Tick::from_nanos(u64::MAX), &rules);
                breaker.close(Tick::from_millis(i));
                breaker.tick(Tick::from_nanos(u64::MAX), &rules);
            }
        }
    }

    #[test]
    fn reasons_have_their_cause_in_the_name() {
        for cause in Cause::ALL {
            let reason = Reason::Consecutive { cause, run: 5 };
            assert_eq!(reason.name(), format!("consecutive_{}", cause.name()));
            assert!(reason.to_string().starts_with("5 requests in a row"), "{reason}");
        }
        let reason = Reason::SuccessRate { rate: 0.425, others: 0.99, deviation: 0.01, requests: 120 };
        assert_eq!(
            reason.to_string(),
            "42.5 % of 120 requests succeeded, while the others have 99.0 % ± 1.0 %"
        );
    }
}
