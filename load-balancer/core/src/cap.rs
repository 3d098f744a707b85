//! How many backends ejection may take out, and when so few are left that it is ignored.
//!
//! Both guard against the same mistake: a fault that all share (a database, a bad deployment) looks like many faulty
//! backends, and ejecting them sends all traffic to the few that are left. The cap fails by sparing backends that are
//! really down; retries and health checks deal with those.

/// Slack for shares that have no exact binary form: 0.07 · 100 is a little more than 7 and must not become 8.
const ROUNDING: f64 = 1e-9;

/// How many of `total` backends may be ejected at once: `total`·`share` (0 to 1) rounded up, at least one, never all.
#[must_use]
pub fn allowance(total: usize, share: f64) -> usize {
    let Some(all_but_one @ 1..) = total.checked_sub(1) else { return 0 };
    ((total as f64 * share - ROUNDING).ceil() as usize).clamp(1, all_but_one)
}

/// Whether so few of `total` backends are eligible that all are to be used: a share below `threshold` (0 to 1, 0 for
/// never), as Envoy's panic threshold.
#[must_use]
pub fn panics(eligible: usize, total: usize, threshold: f64) -> bool {
    total > 0 && (eligible as f64) < total as f64 * threshold - ROUNDING
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against whole-number arithmetic, for every percentage.
    #[test]
    fn follow_exact_arithmetic() {
        for total in 0..200usize {
            for percent in 0..=100usize {
                let share = percent as f64 / 100.0;
                let exact = match total {
                    0 | 1 => 0,
                    _ => (total * percent).div_ceil(100).max(1).min(total - 1),
                };
                assert_eq!(allowance(total, share), exact, "{percent} % of {total}");
                for eligible in 0..=total {
                    let fewer = total > 0 && eligible * 100 < total * percent;
                    assert_eq!(panics(eligible, total, share), fewer, "{eligible}/{total} {percent} %");
                }
            }
        }
    }

    #[test]
    fn senseless_shares_stay_in_range() {
        for share in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 7.0] {
            assert!((1..=4).contains(&allowance(5, share)));
            assert_eq!(allowance(1, share), 0);
        }
        assert!(!panics(0, 5, f64::NAN));
    }
}
