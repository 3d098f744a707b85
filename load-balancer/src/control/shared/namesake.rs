//! Whether another balancer goes by this one's name. Two of one name write over what the other says and hear only third
//! ones; neither could tell it from what it hears.
//!
//! So each message has its speaker, a name of one start, and a round brings back what stood under the own name before it.
//! Once this start has spoken, that must be its own. What it finds in its first round is an earlier start's: nothing to say
//! of. One finding may be a late word of that one, which had been on its way when it ended: certain it is with the second.

use std::time::Duration;

use lb_core::Tick;

/// How long without a finding until the name is free again: several times the longest pause between two rounds.
const PAUSE: Duration = Duration::from_secs(60);
/// Findings that make it certain.
const CERTAIN: u32 = 2;

/// What was found under the own name.
#[derive(Debug, Default)]
pub(super) struct Namesake {
    spoke: bool,
    findings: u32,
    last: Option<Tick>,
}

impl Namesake {
    /// A round succeeded at `now`, and what stood under the own name was another's (`foreign`), or own, or nothing. True
    /// where that makes it certain.
    pub(super) fn looked(&mut self, now: Tick, foreign: bool) -> bool {
        if !std::mem::replace(&mut self.spoke, true) || !foreign {
            return false;
        }
        if self.rested(now) {
            self.findings = 0;
        }
        self.last = Some(now);
        self.findings += 1;
        self.findings == CERTAIN
    }

    /// Whether there is another of the name.
    pub(super) fn taken(&self, now: Tick) -> bool {
        self.findings >= CERTAIN && !self.rested(now)
    }

    fn rested(&self, now: Tick) -> bool {
        self.last.is_none_or(|last| now.since(last) >= PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::ZERO.after(Duration::from_secs(seconds))
    }

    #[test]
    fn an_earlier_start_and_its_late_word_are_no_namesake() {
        let mut namesake = Namesake::default();
        assert!(!namesake.looked(at(0), true), "what an earlier start left");
        assert!(!namesake.looked(at(1), true), "what it had sent before it ended");
        assert!((2..200).all(|second| !namesake.looked(at(second), false)) && !namesake.taken(at(200)));
        assert!(!namesake.looked(at(200), true), "two findings far apart are one each");
    }

    #[test]
    fn a_namesake_is_told_once_while_it_lasts_and_again_when_it_comes_back() {
        let mut namesake = Namesake::default();
        let told = |namesake: &mut Namesake, from: u64| {
            // Its rounds and ours alternate, but not strictly.
            (from..from + 30).filter(|&second| namesake.looked(at(second), second % 3 != 0)).count()
        };
        assert_eq!((told(&mut namesake, 0), namesake.taken(at(30))), (1, true));
        assert!(namesake.taken(at(88)) && !namesake.taken(at(89)));
        assert_eq!((told(&mut namesake, 120), namesake.taken(at(150))), (1, true));
    }
}
