//! When a backend counts as up: active checks with `rise` and `fall`, as HAProxy has them.

/// What checks have said so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// No check has ended yet. Not eligible.
    Unknown,
    /// Passing.
    Up,
    /// Failing.
    Down,
}

/// How soon the next check should come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Nothing is changing: the ordinary interval.
    Steady,
    /// Between states: the short interval, so that the doubt is settled soon.
    Edge,
}

/// The state machine of one backend's checks.
#[derive(Debug, Clone)]
pub struct Checks {
    health: Health,
    /// Consecutive results against the present state.
    against: u32,
    rise: u32,
    fall: u32,
    /// It has never been up: perhaps it only begins.
    fresh: bool,
}

impl Checks {
    /// `fall` failures in a row take an up backend down, `rise` successes bring it back (both at least 1). The first
    /// result ever decides at once, either way, and the first success brings a backend up whatever came before: who has
    /// just been started is looked at often, and taken at its word.
    #[must_use]
    pub fn new(rise: u32, fall: u32) -> Self {
        Checks { health: Health::Unknown, against: 0, rise: rise.max(1), fall: fall.max(1), fresh: true }
    }

    /// The present state.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// How soon to look again.
    #[must_use]
    pub fn pace(&self) -> Pace {
        if self.against > 0 || self.fresh { Pace::Edge } else { Pace::Steady }
    }

    /// New thresholds; the state stays.
    pub fn set(&mut self, rise: u32, fall: u32) {
        (self.rise, self.fall) = (rise.max(1), fall.max(1));
    }

    /// Takes a result; returns the new state where it changed.
    pub fn record(&mut self, passed: bool) -> Option<Health> {
        let (target, needed) = match (self.health, passed) {
            (Health::Unknown | Health::Down, true) if self.fresh => (Health::Up, 1),
            (Health::Unknown, false) => (Health::Down, 1),
            (Health::Up, false) => (Health::Down, self.fall),
            (Health::Unknown | Health::Down, true) => (Health::Up, self.rise),
            (Health::Up, true) | (Health::Down, false) => {
                self.against = 0;
                return None;
            }
        };
        self.against += 1;
        (self.against >= needed).then(|| {
            (self.health, self.against) = (target, 0);
            self.fresh &= target != Health::Up;
            target
        })
    }

    /// Traffic itself could not connect: one failed check is now enough to take the backend down.
    pub fn suspect(&mut self) {
        if self.health == Health::Up {
            self.against = self.fall - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The machine against the rule said in words: a state changes exactly when the last `rise` (`fall`) results agree
    /// against it.
    #[test]
    fn follows_the_model() {
        let mut rng = crate::Rng::seeded(5);
        for _ in 0..500 {
            let (rise, fall) = (1 + rng.below(4), 1 + rng.below(4));
            let mut checks = Checks::new(rise, fall);
            let mut history: Vec<bool> = Vec::new();
            let (mut model, mut been_up) = (Health::Unknown, false);
            let mut since = 0;
            for _ in 0..60 {
                let passed = rng.below(2) == 0;
                history.push(passed);
                let needed = if passed { rise } else { fall } as usize;
                let needed = if passed && !been_up { 1 } else { needed };
                let opposite = if passed { Health::Up } else { Health::Down };
                let tail = history[since..].iter().rev().take_while(|&&p| p == passed).count();
                if model == Health::Unknown || (model != opposite && tail >= needed) {
                    model = opposite;
                    since = history.len();
                    been_up |= model == Health::Up;
                }
                checks.record(passed);
                assert_eq!(checks.health(), model, "{history:?} rise {rise} fall {fall}");
            }
        }
    }

    #[test]
    fn a_suspect_falls_at_the_next_failure() {
        let mut checks = Checks::new(2, 3);
        checks.record(true);
        assert_eq!(checks.pace(), Pace::Steady);
        checks.suspect();
        assert_eq!(checks.record(false), Some(Health::Down));
        checks.suspect();
        assert_eq!(checks.record(true), None, "suspicion of a down backend changes nothing");
        assert_eq!(checks.pace(), Pace::Edge);
        assert_eq!(checks.record(true), Some(Health::Up));
    }
}
