//! What a look at a backend's reports has come to, for those who count.

use super::{Mode, Rules, Standing};

/// What became of a capacity in one round of [`super::weigh`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// It follows the reports.
    Applied,
    /// It is at the bound of what is believed.
    Clamped,
    /// It differs from the median by less than noise, and counts as the median.
    Held,
    /// No report that counts has come of late: it is kept, or fades.
    Stale,
}

impl Update {
    /// All of them.
    pub const ALL: [Update; 4] = [Update::Applied, Update::Clamped, Update::Held, Update::Stale];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Update::Applied => "applied",
            Update::Clamped => "clamped",
            Update::Held => "held",
            Update::Stale => "stale",
        }
    }

    /// What `standing` is the result of; `None` where the backend has never reported, or is only beginning to.
    #[must_use]
    pub fn of(standing: &Standing, rules: &Rules) -> Option<Update> {
        standing.age.filter(|_| standing.rate.is_some())?;
        let measured = standing.measured;
        Some(match standing.mode {
            Mode::Fresh if measured >= rules.most || measured <= 1.0 / rules.most => Update::Clamped,
            Mode::Fresh if measured == 1.0 => Update::Held,
            Mode::Fresh => Update::Applied,
            Mode::Held | Mode::Aged | Mode::LatencyOnly => Update::Stale,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_update_is_what_the_standing_shows() {
        let rules = Rules::default();
        let standing = |mode, measured| Standing {
            mode,
            measured,
            rate: Some(100.0),
            age: Some(Duration::from_secs(1)),
            ..Standing::default()
        };
        let of = |mode, measured| Update::of(&standing(mode, measured), &rules).map(Update::name);
        assert_eq!(of(Mode::Fresh, 1.7), Some("applied"));
        assert_eq!(of(Mode::Fresh, 4.0), Some("clamped"));
        assert_eq!(of(Mode::Fresh, 0.25), Some("clamped"));
        assert_eq!(of(Mode::Fresh, 1.0), Some("held"));
        assert_eq!(of(Mode::Aged, 1.7), Some("stale"));
        assert_eq!(Update::of(&Standing::default(), &rules), None, "it has never reported");
    }
}
