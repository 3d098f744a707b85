//! Rounds with the shared store: each balancer says what it knows and hears what the others said last.

use super::super::agenda::Event;
use super::super::sharing::{Said, pause};
use super::World;

impl World<'_> {
    /// The first round of a balancer that begins at `begin`: at once for one that comes later, as it takes no traffic before
    /// that; the others begin at different moments.
    pub(super) fn plan_rounds(&mut self, balancer: u32, begin: u64, phase: f64) {
        let Some(store) = &self.cell.store else { return };
        let first = if begin > 0 { 0 } else { (phase * store.interval_ms * 1e6) as u64 };
        self.agenda.at(begin + first, Event::Round { balancer });
    }

    pub(super) fn round(&mut self, balancer: u32) {
        let Some(store) = &self.cell.store else { return };
        let now = self.tick_now();
        let seat = &mut self.seats[balancer as usize];
        if let Some(about) = seat.policy.tell(now) {
            self.said.retain(|said| said.by != balancer);
            self.said.push(Said { by: balancer, at: now, about: about.into() });
            seat.policy.hear(balancer, &self.said, now);
        }
        let next = pause(store, seat.rounds.unit());
        self.agenda.at(self.now + next, Event::Round { balancer });
    }
}
