//! The one task that talks to a store: asks the control task what to tell, tells it, and passes on what it heard.
//!
//! It waits for the store, with a bound, and nobody waits for it. After a fault it tries again with growing pauses; these
//! and the pauses between rounds are jittered, so that balancers that lost a store together do not come back together.

use std::rc::Rc;
use std::time::Duration;

use lb_core::backoff::Backoff;
use lb_core::{Rng, Tick};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{Lost, Offer, StateStore, Taken};
use crate::clock::Clock;
use crate::event::Event;

/// Share by which a pause is shorter or longer.
const JITTER: f64 = 0.15;
/// The same after a fault: whatever came over one came over all.
const JITTER_LOST: f64 = 0.5;
/// The longest pause between two tries of a store that fails.
const LONGEST: Duration = Duration::from_secs(5);
/// Shortest time between two rounds, however urgent: a burst of changes is told at once.
const SHORTEST: Duration = Duration::from_millis(50);

/// What became of a round.
#[derive(Debug)]
pub struct Round {
    /// When it ended.
    pub at: Tick,
    /// How long it took.
    pub took: Duration,
    /// Blocks of turns that were asked for.
    pub blocks: u64,
    /// What was heard, or why nothing was.
    pub result: Result<Taken, Lost>,
}

/// The task.
pub struct Exchange {
    /// What it talks to.
    pub store: Box<dyn StateStore>,
    /// Between two rounds.
    pub interval: Duration,
    /// To the control task.
    pub events: mpsc::UnboundedSender<Event>,
    /// A change that the others are to hear of at once.
    pub urgent: Rc<Notify>,
    /// The order to end.
    pub ended: oneshot::Receiver<()>,
    /// The time.
    pub clock: Clock,
    /// For jitter.
    pub rng: Rng,
}

impl Exchange {
    /// Goes on until told to end; then says farewell.
    pub async fn run(mut self) {
        let mut failures = 0;
        while let Some(offer) = self.offer().await {
            let started = self.clock.now();
            let result = self.store.round(&offer).await;
            let at = self.clock.now();
            failures = if result.is_ok() { 0 } else { failures + 1 };
            let round = Round { at, took: at.since(started), blocks: offer.blocks, result };
            if self.events.send(Event::Shared(round)).is_err() || self.pause(failures).await {
                break;
            }
        }
        // Without it the others wait for the time to live: no more is lost.
        let _ = self.store.leave().await;
    }

    /// What the control task wants told; `None` where it is gone.
    async fn offer(&self) -> Option<Offer> {
        let (asker, answer) = oneshot::channel();
        self.events.send(Event::Telling(asker)).ok()?;
        answer.await.ok()
    }

    /// Waits for the next round; true where there shall be none.
    async fn pause(&mut self, failures: u32) -> bool {
        let wait = wait(self.interval, failures, &mut self.rng);
        let urgent = async {
            tokio::time::sleep(SHORTEST).await;
            self.urgent.notified().await;
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => false,
            () = urgent, if failures == 0 => false,
            _ = &mut self.ended => true,
        }
    }
}

fn wait(interval: Duration, failures: u32, rng: &mut Rng) -> Duration {
    let backoff = Backoff { first: interval, longest: LONGEST.max(interval) };
    let (base, jitter) =
        if failures == 0 { (interval, JITTER) } else { (backoff.wait(failures), JITTER_LOST) };
    base.mul_f64(1.0 - jitter + 2.0 * jitter * rng.unit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_spread() {
        let mut rng = Rng::seeded(1);
        let second = Duration::from_secs(1);
        let mut range = |failures| {
            let waits: Vec<f64> =
                (0..1_000).map(|_| wait(second, failures, &mut rng).as_secs_f64()).collect();
            (waits.iter().copied().fold(f64::MAX, f64::min), waits.iter().copied().fold(0.0, f64::max))
        };
        for (failures, base, jitter) in
            [(0, 1.0, 0.15), (1, 1.0, 0.5), (2, 2.0, 0.5), (3, 4.0, 0.5), (9, 5.0, 0.5)]
        {
            let (least, most) = range(failures);
            assert!(
                least >= base * (1.0 - jitter) && most <= base * (1.0 + jitter),
                "{failures}: {least} {most}"
            );
            assert!(most - least > base * jitter * 1.8, "{failures}: {least} {most}");
        }
    }
}
