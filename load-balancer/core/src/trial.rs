//! The one request that a half-open backend may have, handed from the control side to whichever worker comes first.
//!
//! A state machine in one atomic word, because workers meet it in a pick and must not wait for each other. Every move
//! is a compare-and-swap, so that exactly one worker takes an offer and moves that come too late change nothing. The
//! word guards no other memory, hence `Relaxed`.
//!
//! It fails where a trial is withdrawn while a worker holds it, offered again and taken again: the first worker's report
//! is then taken for the second's. It is still a true report about the backend, only an older one; a new server
//! therefore gets a new `Trial`.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const CLOSED: u32 = 0;
const OFFERED: u32 = 1;
const TAKEN: u32 = 2;
const PASSED: u32 = 3;
const FAILED: u32 = 4;

/// The trial of one backend, shared by the control side and all workers.
#[derive(Debug, Default)]
pub struct Trial(AtomicU32);

impl Trial {
    /// With nothing offered.
    #[must_use]
    pub const fn new() -> Self {
        Trial(AtomicU32::new(CLOSED))
    }

    /// Control side: one request may be sent. Means nothing while an earlier trial is open or its verdict unread.
    pub fn offer(&self) {
        self.turn(CLOSED, OFFERED);
    }

    /// Worker: whether a trial may be had. One load, for picks to look before they [`take`](Trial::take).
    #[must_use]
    pub fn offered(&self) -> bool {
        self.0.load(Relaxed) == OFFERED
    }

    /// Worker: takes the trial. True for exactly one caller an offer, who must then report or give back.
    #[must_use = "a trial that is taken must be reported or given back, or the backend stays half-open"]
    pub fn take(&self) -> bool {
        self.turn(OFFERED, TAKEN)
    }

    /// Worker: how the trial it took went.
    pub fn report(&self, passed: bool) {
        self.turn(TAKEN, if passed { PASSED } else { FAILED });
    }

    /// Worker: the trial it took ended without a verdict (the client went away), so another may take it.
    pub fn give_back(&self) {
        self.turn(TAKEN, OFFERED);
    }

    /// Control side: reads the verdict, once. The trial is then closed.
    #[must_use]
    pub fn verdict(&self) -> Option<bool> {
        if self.turn(PASSED, CLOSED) {
            Some(true)
        } else if self.turn(FAILED, CLOSED) {
            Some(false)
        } else {
            None
        }
    }

    /// Control side: closes the trial whatever its state, and drops an unread verdict.
    pub fn withdraw(&self) {
        self.0.store(CLOSED, Relaxed);
    }

    fn turn(&self, from: u32, to: u32) -> bool {
        self.0.compare_exchange(from, to, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use super::*;
    use crate::rng::Rng;

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Model {
        Closed,
        Offered,
        Taken,
        Over(bool),
    }

    #[test]
    fn follows_the_model() {
        let (trial, mut model) = (Trial::new(), Model::Closed);
        let mut rng = Rng::seeded(21);
        for _ in 0..20_000 {
            match rng.below(12) {
                0..3 => {
                    trial.offer();
                    model = if model == Model::Closed { Model::Offered } else { model };
                }
                3..6 => {
                    assert_eq!(trial.take(), model == Model::Offered);
                    model = if model == Model::Offered { Model::Taken } else { model };
                }
                6..8 => {
                    let passed = rng.below(2) == 0;
                    trial.report(passed);
                    model = if model == Model::Taken { Model::Over(passed) } else { model };
                }
                8 => {
                    trial.give_back();
                    model = if model == Model::Taken { Model::Offered } else { model };
                }
                9..11 => {
                    let over = if let Model::Over(passed) = model { Some(passed) } else { None };
                    assert_eq!(trial.verdict(), over);
                    model = if over.is_some() { Model::Closed } else { model };
                }
                _ => {
                    trial.withdraw();
                    model = Model::Closed;
                }
            }
            assert_eq!(trial.offered(), model == Model::Offered);
        }
    }

    /// Workers race for each offer: one wins, gives back once in a while, and reports in the end. Every offer is taken
    /// once more than it is given back, and every verdict is read.
    #[test]
    fn an_offer_has_one_taker() {
        const OFFERS: u32 = 2_000;
        let trial = Trial::new();
        let [holders, at_once, taken, returned] = [const { AtomicU32::new(0) }; 4];
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let (trial, over, holders, at_once) = (&trial, &over, &holders, &at_once);
                let (taken, returned) = (&taken, &returned);
                scope.spawn(move || {
                    let mut rng = Rng::seeded(seed);
                    while !over.load(Relaxed) {
                        if !(trial.offered() && trial.take()) {
                            std::thread::yield_now();
                            continue;
                        }
                        at_once.fetch_max(holders.fetch_add(1, SeqCst) + 1, Relaxed);
                        taken.fetch_add(1, Relaxed);
                        holders.fetch_sub(1, SeqCst);
                        if rng.below(4) == 0 {
                            returned.fetch_add(1, Relaxed);
                            trial.give_back();
                        } else {
                            trial.report(rng.below(2) == 0);
                        }
                    }
                });
            }
            for _ in 0..OFFERS {
                trial.offer();
                while trial.verdict().is_none() {
                    std::thread::yield_now();
                }
            }
            over.store(true, Relaxed);
        });
        assert_eq!(at_once.load(Relaxed), 1, "two held one trial");
        assert_eq!(taken.load(Relaxed), OFFERS + returned.load(Relaxed));
    }
}
