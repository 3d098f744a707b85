//! How many replicas there should be for what is in flight.
//!
//! The rule of the Kubernetes Horizontal Pod Autoscaler (Kubernetes documentation, "Horizontal Pod Autoscaling"):
//! desired = ⌈replicas · metric / target⌉, unless metric / target is within 10 % of 1. The metric is requests in flight
//! per replica, so replicas cancel out: ⌈in flight / target⌉. In flight rather than processor time, because the balancer
//! knows it without asking anybody, and it rises for slow backends as for busy ones. Growing is quick and shrinking
//! slow, since too few replicas hurt users and too many only cost.
//!
//! It fails for load that comes and goes faster than replicas start: what is smoothed away is not scaled for.

use std::time::Duration;

use crate::tick::Tick;

/// Relative distance from the target within which nothing changes (the autoscaler's default).
const TOLERANCE: f64 = 0.1;
/// Time constant of the exponential average over what is in flight: a burst of one second counts for a tenth.
const SMOOTHING: Duration = Duration::from_secs(10);
/// Growing waits this part of the cool-down: waiting costs users more than a replica too many costs.
const GROW_DIVISOR: u32 = 3;
/// At least one of this many replicas stays when shrinking: the measure was taken while all of them served.
const SHRINK_DIVISOR: u32 = 2;

/// The rules of scaling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// Fewest replicas.
    pub least: u32,
    /// Most replicas; where it is below `least`, `least` counts.
    pub most: u32,
    /// Requests in flight that each replica should have, above 0. Otherwise only the limits count.
    pub target: f64,
    /// How long after a change the next one may shrink; a third of it for growing.
    pub cool_down: Duration,
}

/// What scaling remembers about one pool.
#[derive(Debug, Clone, Default)]
pub struct Scaler {
    smoothed: f64,
    observed: Option<Tick>,
    changed: Tick,
}

impl Scaler {
    /// With nothing seen yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests in flight, averaged exponentially over 10 s.
    #[must_use]
    pub fn in_flight(&self) -> f64 {
        self.smoothed
    }

    /// Takes what is in flight now, over all `replicas` (those being started included), and returns how many there
    /// should be where that is another number. It is always within the limits; outside them the change comes at once,
    /// since the limits are an order and no measurement. The first call only begins the cool-down: a balancer that has
    /// just started knows nothing about its load.
    pub fn observe(&mut self, now: Tick, in_flight: u32, replicas: u32, rules: &Scaling) -> Option<u32> {
        self.smooth(now, f64::from(in_flight));
        let desired = self.desired(replicas, rules);
        let waited = now.since(self.changed);
        let due = if !(rules.least..=rules.most.max(rules.least)).contains(&replicas) {
            true
        } else if desired > replicas {
            waited >= rules.cool_down / GROW_DIVISOR
        } else {
            waited >= rules.cool_down
        };
        (due && desired != replicas).then(|| {
            self.changed = now;
            desired
        })
    }

    fn smooth(&mut self, now: Tick, in_flight: f64) {
        match self.observed {
            None => (self.smoothed, self.changed) = (in_flight, now),
            Some(before) => {
                let age = now.since(before).as_secs_f64() / SMOOTHING.as_secs_f64();
                self.smoothed += (in_flight - self.smoothed) * (1.0 - (-age).exp());
            }
        }
        self.observed = Some(now);
    }

    /// How many there should be if it were time to change: within the limits, and down by half at most.
    fn desired(&self, replicas: u32, rules: &Scaling) -> u32 {
        let needed = self.smoothed / rules.target;
        let near = (needed - f64::from(replicas)).abs() <= TOLERANCE * f64::from(replicas);
        let wanted = if near || rules.target.is_nan() || rules.target <= 0.0 {
            replicas
        } else {
            (needed.ceil() as u32).max(replicas.div_ceil(SHRINK_DIVISOR))
        };
        wanted.clamp(rules.least, rules.most.max(rules.least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const RULES: Scaling = Scaling { least: 1, most: 10, target: 10.0, cool_down: Duration::from_secs(30) };

    /// The answers, second by second, to a load given as a function of time, starting with `replicas`.
    fn run(seconds: u64, mut replicas: u32, load: impl Fn(u64) -> u32) -> Vec<(u64, u32)> {
        let mut scaler = Scaler::new();
        let mut answers = Vec::new();
        for second in 0..seconds {
            if let Some(to) =
                scaler.observe(Tick::from_millis(second * 1_000), load(second), replicas, &RULES)
            {
                answers.push((second, to));
                replicas = to;
            }
        }
        answers
    }

    #[test]
    fn a_steady_load_is_reached_and_kept() {
        assert_eq!(run(600, 1, |_| 55), [(10, 6)]);
        assert_eq!(run(600, 5, |_| 54), [], "within the tolerance");
        assert_eq!(run(600, 1, |_| 1_000), [(10, 10)]);
    }

    /// Shrinking halves at most and waits the whole cool-down each time.
    #[test]
    fn shrinking_is_slow() {
        assert_eq!(run(600, 10, |_| 0), [(30, 5), (60, 3), (90, 2), (120, 1)]);
    }

    #[test]
    fn a_short_burst_changes_nothing() {
        assert_eq!(run(600, 2, |second| if second == 100 { 80 } else { 15 }), []);
    }

    /// Whatever happens: answers lie within the limits, differ from what is, halve at most, keep the cool-downs unless
    /// a limit is broken, and go the way the load asks for.
    #[test]
    fn properties() {
        let (mut rng, mut changes) = (Rng::seeded(61), 0);
        for _ in 0..300 {
            let least = rng.below(4);
            let rules = Scaling {
                least,
                most: least + rng.below(20),
                target: 0.5 + 20.0 * rng.unit(),
                cool_down: Duration::from_millis(u64::from(rng.below(60_000))),
            };
            let (mut scaler, mut now, mut changed) = (Scaler::new(), 0, 0);
            let (mut replicas, mut level) = (rng.below(30), 0);
            for step in 0..300 {
                now += u64::from(rng.below(3_000));
                changed = if step == 0 { now } else { changed };
                if rng.below(40) == 0 {
                    level = rng.below(300);
                }
                if rng.below(50) == 0 {
                    replicas = rng.below(30);
                }
                let within = (rules.least..=rules.most).contains(&replicas);
                let Some(to) = scaler.observe(Tick::from_millis(now), level, replicas, &rules) else {
                    assert!(within, "a broken limit is mended at once");
                    continue;
                };
                changes += 1;
                assert!(to != replicas && (rules.least..=rules.most).contains(&to));
                let waited = Duration::from_millis(now - changed);
                if within {
                    let needed = scaler.in_flight() / rules.target;
                    assert!((needed / f64::from(replicas) - 1.0).abs() > TOLERANCE);
                    assert_eq!(to > replicas, needed > f64::from(replicas));
                    assert!(to >= replicas.div_ceil(2));
                    assert!(waited >= if to > replicas { rules.cool_down / 3 } else { rules.cool_down });
                }
                (replicas, changed) = (to, now);
            }
        }
        assert!(changes > 1_000, "{changes}");
    }

    #[test]
    fn senseless_rules_stay_within_the_limits() {
        for target in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE] {
            let rules = Scaling { least: 3, most: 2, target, cool_down: Duration::ZERO };
            for replicas in [0, 3, 50, u32::MAX] {
                let answer = Scaler::new().observe(Tick::ZERO, u32::MAX, replicas, &rules);
                assert_eq!(answer, (replicas != 3).then_some(3));
            }
        }
    }
}
