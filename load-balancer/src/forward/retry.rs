//! Whether a failed attempt is made again, when, and what came of it.

use std::rc::Rc;
use std::time::Duration;

use lb_core::backoff::Backoff;
use lb_core::policy::MAX_TRIED;
use lb_core::{Rng, Tried};

use super::Plan;
use super::attempt::{Answer, Failed};
use super::trail::Why;
use super::upload::{RequestBody, Spare};
use crate::error::Kind;
use crate::listener::{Client, Phase};
use crate::worker::{Lane, Scene, Worker};

/// Longest wait before a retry: by then another backend answers or the pool is in trouble that waiting does not mend.
const LONGEST_BACKOFF: Duration = Duration::from_millis(250);

/// What one request has been through. Costs nothing until an attempt fails.
#[derive(Default)]
pub(super) struct Retries {
    tried: Tried,
    /// Ids of the backends asked: kept apart from `tried`, which it is to prove.
    asked: Vec<u64>,
    /// Why the attempt before this one failed, and whether that one had been sent.
    failed: Option<(&'static str, bool)>,
}

impl Retries {
    /// The members that failed.
    pub(super) fn tried(&self) -> &Tried {
        &self.tried
    }

    /// Why the next backend is asked.
    pub(super) fn why(&self) -> Why {
        if self.failed.is_some() { Why::Retry } else { Why::Picked }
    }

    /// Takes members that are no longer there, or leaving, for tried ones: a snapshot may be seconds old by now. `room` is
    /// kept for attempts that are still to come.
    pub(super) fn pass_over_the_gone(&mut self, scene: &Scene, now: &Scene, room: usize) {
        if scene.snapshot.epoch == now.snapshot.epoch {
            return;
        }
        for &member in scene.snapshot.view.eligible() {
            if self.tried.len() + room >= MAX_TRIED {
                return;
            }
            let gone = !now.keeps(scene.lanes[member as usize].backend.id);
            if gone && !self.tried.contains(member) {
                self.tried.insert(member);
            }
        }
    }

    /// Holds a pick against what was asked before.
    pub(super) fn sending_to(&self, worker: &Worker, lane: &Lane) {
        if self.asked.contains(&lane.backend.id) {
            worker.meters.retries_same_backend.inc();
        }
    }

    /// Counts what came of a retry, unless the client spoilt it.
    pub(super) fn ended(&self, worker: &Worker, ended: &Result<Answer, Failed>) {
        let Some((reason, _)) = self.failed else { return };
        let outcome = match ended {
            Ok(answer) if answer.response.status().is_server_error() => "failure",
            Ok(_) => "success",
            Err(failed) if failed.error.kind.blames_client() => return,
            Err(_) => "failure",
        };
        worker.meters.retry(reason, outcome);
    }

    /// The body to send again, where an attempt failed in a way that lets it be made again without a backend's doing
    /// twice what it must not. After a trial, which was our wish and not the client's, any failure is made up for.
    pub(super) fn repeatable(
        &mut self,
        worker: &Worker,
        plan: &Plan,
        trial: bool,
        ended: &mut Result<Answer, Failed>,
        spare: Spare,
    ) -> Option<RequestBody> {
        let idempotent = plan.head.method.is_idempotent();
        let mut untouched = false;
        let (reason, unsent) = match ended {
            Ok(answer) => {
                let status = answer.response.status();
                let better = status.is_server_error()
                    && idempotent
                    && !plan.seen.upgrade
                    && (trial || worker.config().retry.statuses.contains(&status.as_u16()));
                (better.then_some(Kind::STATUS)?, None)
            }
            Err(failed) => {
                untouched = failed.untouched;
                let broken = matches!(
                    failed.error.kind,
                    Kind::UpstreamConnect
                        | Kind::UpstreamTls
                        | Kind::UpstreamConnectTimeout
                        | Kind::UpstreamReset
                        | Kind::UpstreamProtocol
                );
                (broken.then_some(failed.error.kind.reason())?, failed.unsent.take())
            }
        };
        self.failed = Some((reason, unsent.is_none()));
        unsent.or_else(|| spare.again().filter(|_| idempotent || untouched))
    }

    /// Whether there is another backend, time and budget for a retry; how long to wait before it, and the body.
    pub(super) fn allowed(
        &mut self,
        worker: &Worker,
        client: &Client,
        scene: &Scene,
        (member, lane): (u32, &Rc<Lane>),
        body: RequestBody,
    ) -> Option<(Duration, RequestBody)> {
        let (reason, sent) = self.failed?;
        self.tried.insert(member);
        self.asked.push(lane.backend.id);
        // With nobody left to ask, this failure is the answer: it says more than that every backend was tried.
        if scene.snapshot.view.eligible().iter().all(|&m| self.tried.contains(m)) {
            worker.meters.retry(reason, "no_backend");
            return None;
        }
        let (now, base) = (worker.now(), worker.config().retry.backoff);
        let wait = match sent {
            true => backoff(base, self.asked.len(), &mut worker.rng.borrow_mut()),
            // Nothing ran: another backend can be asked at once.
            false => Duration::ZERO,
        };
        if client.out_of_time(now.after(wait)) {
            return None;
        }
        if !worker.budget.borrow_mut().withdraw(now) {
            worker.meters.retry(reason, "over_budget");
            return None;
        }
        Some((wait, body))
    }
}

/// Waits, on the connection's own timer.
pub(super) async fn pause(worker: &Worker, client: &Client, wait: Duration) {
    if wait.is_zero() {
        return;
    }
    client.enter(Phase::Waiting, None);
    client.arm(Some(worker.now().after(wait)));
    // Ends in no other way than by the deadline.
    let _ = client.within(std::future::pending::<()>()).await;
}

/// How long to wait before the `nth` retry, 1 or more: what failed together does not come back together.
fn backoff(base: Duration, nth: usize, rng: &mut Rng) -> Duration {
    // Attempts are far fewer than 2³².
    Backoff { first: base, longest: LONGEST_BACKOFF }.jittered(nth as u32, rng)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_spread_over_a_doubling_range() {
        let mut rng = Rng::seeded(1);
        let base = Duration::from_millis(25);
        for (nth, most) in [(1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (7, 250), (usize::MAX, 250)] {
            let waits: Vec<u128> = (0..1_000).map(|_| backoff(base, nth, &mut rng).as_micros()).collect();
            let (least, longest) = (*waits.iter().min().unwrap(), *waits.iter().max().unwrap());
            assert!(longest <= most * 1_000 && longest > most * 950, "{nth}: {longest} µs");
            assert!(least < most * 50, "{nth}: {least} µs");
        }
        assert_eq!(backoff(Duration::ZERO, 3, &mut rng), Duration::ZERO);
    }
}
