//! nginx's passive checks (`ngx_http_upstream_round_robin.c`) with its defaults, `max_fails=1 fail_timeout=10s`: a server
//! that cannot be reached or breaks off is passed over for 10 s, then one request may show that it is back. Answers count
//! as good whatever their status (`proxy_next_upstream error timeout`), and a client that leaves says nothing.

use std::time::Duration;

use lb_core::{Cause, Outcome, Tick};

use crate::sim::balancer::{Ask, Balancer, Flight};

/// `fail_timeout`.
const FAIL_TIMEOUT: Duration = Duration::from_secs(10);

/// A policy of nginx's among the servers that have not just failed.
pub(crate) struct Passive<B> {
    policy: B,
    /// When each failed, or was tried again after that; none where it is sound.
    failed: Vec<Option<Tick>>,
}

impl<B> Passive<B> {
    /// Nobody has failed.
    pub(crate) fn new(policy: B, servers: usize) -> Self {
        Passive { policy, failed: vec![None; servers] }
    }
}

impl<B: Balancer> Balancer for Passive<B> {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        let now = ask.now;
        let sound = |at: &Option<Tick>| at.is_none_or(|at| now.since(at) > FAIL_TIMEOUT);
        let left: Vec<u32> = ask.up.iter().copied().filter(|&s| sound(&self.failed[s as usize])).collect();
        let picked = self.policy.pick(&mut Ask { up: &left, rng: ask.rng, probes: ask.probes, ..*ask })?;
        self.failed[picked as usize].iter_mut().for_each(|at| *at = now);
        Some(picked)
    }

    fn on_start(&mut self, flight: &Flight) {
        self.policy.on_start(flight);
    }

    fn on_end(&mut self, flight: &Flight, outcome: Outcome, now: Tick) {
        let failed = &mut self.failed[flight.server as usize];
        match outcome {
            Outcome::Failure(Cause::Connect | Cause::Reset | Cause::Timeout) => *failed = Some(now),
            // Only a request sent after the failure shows anything.
            _ if failed.is_some_and(|at| flight.sent >= at) => *failed = None,
            _ => {}
        }
        self.policy.on_end(flight, outcome, now);
    }

    fn on_cancel(&mut self, flight: &Flight, now: Tick) {
        self.policy.on_cancel(flight, now);
    }

    fn on_member(&mut self, server: u32, up: bool, now: Tick) {
        self.failed[server as usize] = None;
        self.policy.on_member(server, up, now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::RandomTwo;
    use super::super::stage::{Stage, known};
    use super::*;

    #[test]
    fn one_failure_costs_ten_seconds_and_one_answer_ends_it() {
        let mut stage = Stage::new(2);
        let mut policy = Passive::new(RandomTwo::distinct(&known(&[1.0; 2])), 2);
        let flight = stage.start(&mut policy, 0);
        policy.on_end(&flight, Outcome::Failure(Cause::Status), stage.now);
        assert!(stage.shares(&mut policy, 100)[0] > 0, "a status is an answer");
        let flight = stage.start(&mut policy, 0);
        policy.on_end(&flight, Outcome::Failure(Cause::Connect), stage.now);
        assert_eq!(stage.shares(&mut policy, 100), [0, 100]);
        stage.now = Tick::from_millis(10_001);
        assert_eq!(stage.shares(&mut policy, 100)[0], 1, "one to see");
        stage.answer(&mut policy, 0, 5);
        assert!(stage.shares(&mut policy, 100)[0] > 1);
    }
}
