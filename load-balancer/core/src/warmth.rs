//! What part of its share a backend gets while it starts or recovers: a little at first, then more and more.
//!
//! Linear in time, as slow start in NGINX and Envoy, since caches and compilers warm with use and nobody knows their
//! curve. In steps of a tenth, because weights live in snapshots: each step costs one new snapshot, so a backend's start
//! costs at most ten and not one per look. It fails by being too slow for a backend that is warm at once (set
//! no slow start there) and too quick for one that warms longer than `over`.

use std::time::Duration;

use crate::tick::Tick;

/// Steps from nothing to the whole share.
const STEPS: u8 = 10;
/// Steps that a saturated backend is left with at first: half, since it did serve, only too much.
const RECOVERY_FIRST: u8 = 5;
/// How long recovery stays on each step: five seconds in all, time for a queue to drain and show.
const RECOVERY_STEP: Duration = Duration::from_secs(1);

/// Whole times that `step` fits between two ticks, at most [`STEPS`].
fn steps(since: Tick, now: Tick, step_nanos: u128, parts: u128) -> u8 {
    let nanos = now.since(since).as_nanos() * parts;
    nanos.checked_div(step_nanos).map_or(STEPS, |n| n.min(u128::from(STEPS)) as u8)
}

/// The part of its share (0 to 1) that a backend gets at `now` in slow start since `since`, `over` being the whole
/// time: t / `over` rounded down to tenths, but never less than `least` (0 to 1). All of it where `over` is zero.
#[must_use]
pub fn warmth(since: Tick, now: Tick, over: Duration, least: f64) -> f64 {
    let tenths = steps(since, now, over.as_nanos(), u128::from(STEPS));
    (f64::from(tenths) / f64::from(STEPS)).max(least).min(1.0)
}

/// The part of its share (0.5 to 1) that a backend gets at `now` after it was saturated until `since`: half, and a
/// tenth more each second.
#[must_use]
pub fn recovery(since: Tick, now: Tick) -> f64 {
    let tenths = RECOVERY_FIRST + steps(since, now, RECOVERY_STEP.as_nanos(), 1);
    f64::from(tenths.min(STEPS)) / f64::from(STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn warmth_follows_the_line_from_below_in_ten_steps() {
        let mut rng = Rng::seeded(41);
        for _ in 0..300 {
            let over = 1 + u64::from(rng.below(60_000));
            let least = f64::from(rng.below(5)) / 20.0;
            let since = u64::from(rng.below(1_000_000));
            let (mut last, mut changes) = (0.0, 0);
            for i in 0..=1_100 {
                let t = i * over / 1_000;
                let got = warmth(
                    Tick::from_millis(since),
                    Tick::from_millis(since + t),
                    Duration::from_millis(over),
                    least,
                );
                let line = t as f64 / over as f64;
                assert!(got >= least && got >= last && got <= 1.0);
                assert!(got <= line.max(least) + 1e-9 && got >= (line - 0.1).min(0.9), "{got} for {line}");
                changes += u32::from(i > 0 && got > last);
                last = got;
            }
            assert!(changes <= 10 && last == 1.0, "{changes} changes to {last}");
        }
    }

    #[test]
    fn edges() {
        let (at, later) = (Tick::from_millis(5_000), Tick::from_nanos(u64::MAX));
        assert_eq!(warmth(at, at, Duration::ZERO, 0.1), 1.0);
        assert_eq!(warmth(at, at, Duration::from_secs(9), 0.1), 0.1);
        assert_eq!(warmth(later, at, Duration::from_secs(9), 0.1), 0.1, "a clock that disagrees is no start");
        assert_eq!(warmth(at, later, Duration::from_nanos(1), 0.1), 1.0);
        assert_eq!(warmth(at, at, Duration::MAX, 7.0), 1.0);
        assert_eq!(warmth(Tick::ZERO, Tick::from_millis(9_000), Duration::from_secs(30), 0.0), 0.3);
        assert_eq!(recovery(at, later), 1.0);
    }

    #[test]
    fn recovery_takes_five_seconds() {
        let parts: Vec<f64> =
            (0..7).map(|s| recovery(Tick::ZERO, Tick::from_millis(s * 1_000 + 999))).collect();
        assert_eq!(parts, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0]);
        assert_eq!(recovery(Tick::ZERO, Tick::from_millis(1_000)), 0.6);
    }
}
