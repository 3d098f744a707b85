//! What one backend goes through, worked out before the run: how fast it is, whether it is there, what it fails and
//! what it says about itself, as functions of scenario time. Every policy meets the same, whatever it does.
//!
//! How it fails: it cannot; a backend that never moves again finishes nothing, at infinity.

use lb_core::Rng;
use serde::{Deserialize, Serialize};

use super::scenario::{Fault, Kind, Scenario};

/// Half the spread of a gap between pauses, as a share of the gap: backends fall out of step, no two pauses touch.
pub(crate) const GAP_SPREAD: f64 = 0.5;

/// A scenario and what chance needs: all that the backends' process must know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// What happens.
    pub(crate) scenario: Scenario,
    /// Where scenario time begins, as seconds before 0.
    pub(crate) warm_up_s: f64,
    /// Where it ends.
    pub(crate) seconds: f64,
    /// The repeat's.
    pub(crate) seed: u64,
}

/// What a backend says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Telemetry {
    /// The truth.
    #[default]
    Truth,
    /// Nothing.
    Off,
    /// What it said last before.
    Frozen,
    /// What is no metric.
    Garbage,
    /// Use times a factor.
    Lie(f64),
}

/// Something that holds from one time to another.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span<T> {
    from: f64,
    until: f64,
    value: T,
}

impl<T: Copy> Span<T> {
    fn new((from, until): (f64, f64), value: T) -> Self {
        Self { from, until, value }
    }

    fn at(spans: &[Self], time: f64) -> Option<T> {
        spans.iter().find(|span| (span.from..span.until).contains(&time)).map(|span| span.value)
    }
}

/// What one backend goes through.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeline {
    /// Speeds; where several hold, they multiply.
    speeds: Vec<Span<f64>>,
    errors: Vec<Span<f64>>,
    telemetry: Vec<Span<Telemetry>>,
    away: Vec<(f64, f64)>,
}

impl Timeline {
    /// The timeline of a backend, counted from 0.
    pub(crate) fn new(plan: &Plan, index: usize) -> Self {
        let mut timeline = Self::default();
        for fault in plan.scenario.fault.iter().filter(|fault| fault.strikes(index)) {
            timeline.add(plan, index, fault);
        }
        timeline
    }

    fn add(&mut self, plan: &Plan, index: usize, fault: &Fault) {
        let span = fault.span();
        let telemetry = match fault.kind {
            Kind::Slow { factor } => return self.speeds.push(Span::new(span, 1.0 / factor)),
            Kind::Errors { share } => return self.errors.push(Span::new(span, share)),
            Kind::Pauses { shortest_ms, longest_ms, every_s } => {
                let mut rng = Rng::seeded(plan.seed.wrapping_mul(31).wrapping_add(index as u64));
                let mut at = rng.unit().mul_add(every_s, -plan.warm_up_s);
                while at < plan.seconds {
                    let length = rng.unit().mul_add(longest_ms - shortest_ms, shortest_ms) / 1e3;
                    self.speeds.push(Span::new((at, at + length), 0.0));
                    at += every_s * (1.0 - GAP_SPREAD + 2.0 * GAP_SPREAD * rng.unit());
                }
                return;
            }
            Kind::Restarts { first_s, every_s, down_s, cold_s, cold_factor } => {
                let from = (index as f64).mul_add(every_s, first_s);
                let back = from + down_s;
                // One that begins too late to be seen whole would be another scenario.
                if back < plan.seconds {
                    self.away.push((from, back));
                    self.speeds.push(Span::new((back, back + cold_s), 1.0 / cold_factor));
                }
                return;
            }
            Kind::MetricsOff => Telemetry::Off,
            Kind::MetricsFrozen => Telemetry::Frozen,
            Kind::MetricsGarbage => Telemetry::Garbage,
            Kind::MetricsLie { factor } => Telemetry::Lie(factor),
        };
        self.telemetry.push(Span::new(span, telemetry));
    }

    fn speed(&self, time: f64) -> f64 {
        let now = self.speeds.iter().filter(|span| (span.from..span.until).contains(&time));
        now.map(|span| span.value).product()
    }

    /// When work that begins at a time is done, given how long it would take at full speed. Without work: when the
    /// backend next moves.
    pub(crate) fn done(&self, from: f64, work: f64) -> f64 {
        let (mut at, mut left) = (from, work);
        loop {
            let speed = self.speed(at);
            let edges = self.speeds.iter().flat_map(|span| [span.from, span.until]);
            let next = edges.filter(|edge| *edge > at).fold(f64::INFINITY, f64::min);
            // A pause never lasts for ever, so a speed of 0 has an edge behind it.
            if speed > 0.0 && left <= (next - at) * speed {
                return at + left / speed;
            }
            if next.is_infinite() {
                return next;
            }
            left -= (next - at) * speed;
            at = next;
        }
    }

    /// The share of requests that fail.
    pub(crate) fn error_share(&self, time: f64) -> f64 {
        Span::at(&self.errors, time).unwrap_or(0.0)
    }

    /// What it says about itself.
    pub(crate) fn telemetry(&self, time: f64) -> Telemetry {
        Span::at(&self.telemetry, time).unwrap_or_default()
    }

    /// When it is not there: from, until.
    pub(crate) fn away(&self) -> &[(f64, f64)] {
        &self.away
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::scenario;

    fn timeline(name: &str, index: usize) -> Timeline {
        let scenario = scenario::named(&[name.to_owned()]).unwrap().remove(0);
        Timeline::new(&Plan { scenario, warm_up_s: 15.0, seconds: 60.0, seed: 1 }, index)
    }

    #[test]
    fn work_takes_longer_where_the_backend_is_slower() {
        let slow = timeline("S3", 0);
        assert!((slow.done(-1e9, 0.02) - -1e9 - 0.2).abs() < 1e-6);
        assert!((timeline("S3", 1).done(5.0, 0.02) - 5.02).abs() < 1e-12);
    }

    #[test]
    fn a_pause_holds_work_up_and_ends() {
        let paused = Timeline {
            speeds: vec![Span::new((1.0, 1.3), 0.0), Span::new((1.2, 5.0), 0.5)],
            ..Timeline::default()
        };
        assert!((paused.done(0.9, 0.2) - 1.5).abs() < 1e-9, "0.1 before, 0.1 at half speed from 1.3");
        assert!((paused.done(1.1, 0.0) - 1.3).abs() < 1e-9);
        assert!((paused.done(0.5, 0.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn pauses_come_about_every_ten_seconds_and_differ_by_backend() {
        let [one, other] = [0, 1].map(|index| timeline("S6", index).speeds);
        assert!((6..=10).contains(&one.len()), "{}", one.len());
        assert!(one.iter().all(|span| (0.15..=0.4).contains(&(span.until - span.from))));
        assert_ne!(one, other);
    }

    #[test]
    fn restarts_roll_and_end_cold() {
        let second = timeline("S7", 1);
        assert_eq!(second.away(), [(12.0, 15.0)]);
        assert!((second.done(16.0, 0.02) - 16.08).abs() < 1e-9);
        assert!((timeline("S7", 0).done(16.0, 0.02) - 16.02).abs() < 1e-9);
    }

    #[test]
    fn telemetry_lies_where_told() {
        assert_eq!(timeline("S13-tenth", 0).telemetry(1.0), Telemetry::Lie(0.1));
        assert_eq!(timeline("S13-tenth", 1).telemetry(1.0), Telemetry::Truth);
        let frozen = timeline("S13-frozen", 3);
        assert_eq!([-1.0, 0.0].map(|at| frozen.telemetry(at)), [Telemetry::Truth, Telemetry::Frozen]);
        assert!((timeline("S4", 0).error_share(0.0) - 1.0).abs() < f64::EPSILON);
    }
}
