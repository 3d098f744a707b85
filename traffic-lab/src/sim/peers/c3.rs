//! C3's replica ranking (Suresh and others, NSDI 2015; the authors' simulator): Ψ = R − 1/µ + q̂³/µ with q̂ = 1 + own in
//! flight × balancers + q̄. R is the response time seen here, 1/µ the service time without any wait and q̄ the requests
//! waiting (those in service not counted) that responses report, each an average in which a new value weighs α = 0.9. All
//! servers are ranked. The rate limiter is left out: it protects servers from bursts by delaying requests, which nobody
//! else here may.

use lb_core::{Outcome, Tick};

use crate::sim::balancer::{Ask, Balancer, Counts, Flight, Report, Source};
use crate::sim::policies::Known;

/// Weight of a new value in each average: the authors' α, nearly no memory at all.
const NEW: f64 = 0.9;

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    response: f64,
    service: f64,
    queue: f64,
}

fn mix(old: f64, new: f64) -> f64 {
    if old > 0.0 { (1.0 - NEW) * old + NEW * new } else { new }
}

/// Ranked by Ψ.
pub(crate) struct C3 {
    counts: Counts,
    seen: Vec<Seen>,
    balancers: f64,
}

impl C3 {
    /// Nothing known.
    pub(crate) fn new(known: &Known) -> Self {
        let seen = vec![Seen::default(); known.servers];
        C3 { counts: Counts::new(known.servers), seen, balancers: f64::from(known.balancers) }
    }

    fn score(&self, server: u32) -> f64 {
        let Seen { response, service, queue } = self.seen[server as usize];
        let length = 1.0 + f64::from(self.counts.of(server)) * self.balancers + queue;
        response - service + length.powi(3) * service
    }
}

impl Balancer for C3 {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        ask.least(|server| self.score(server))
    }

    fn on_start(&mut self, flight: &Flight) {
        self.counts.start(flight);
    }

    fn on_end(&mut self, flight: &Flight, _outcome: Outcome, now: Tick) {
        self.counts.end(flight);
        let seen = &mut self.seen[flight.server as usize];
        seen.response = mix(seen.response, now.since(flight.sent).as_secs_f64());
    }

    fn on_report(&mut self, server: u32, source: Source, report: &Report, _now: Tick) {
        if source == Source::Header {
            let seen = &mut self.seen[server as usize];
            seen.service = mix(seen.service, report.service_ns / 1e9);
            seen.queue = mix(seen.queue, f64::from(report.waiting));
        }
    }

    fn on_member(&mut self, server: u32, _up: bool, _now: Tick) {
        self.seen[server as usize] = Seen::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Stage, known};
    use super::*;

    #[test]
    fn queues_weigh_by_their_cube() {
        let (mut stage, mut policy) = (Stage::new(2), C3::new(&known(&[1.0; 2])));
        for (server, queue, ms) in [(0, 0, 8.0), (1, 1, 2.0)] {
            let report = Report { waiting: queue, service_ns: ms * 1e6, ..Report::default() };
            policy.on_report(server, Source::Header, &report, stage.now);
        }
        assert!((policy.score(0) - 0.0).abs() < 1e-9, "−8 + 1 · 8");
        assert!((policy.score(1) - 0.014).abs() < 1e-9, "−2 + 8 · 2");
        stage.start(&mut policy, 0);
        assert_eq!(stage.pick(&mut policy), 1, "−8 + 8 · 8 is above 14");
    }

    #[test]
    fn a_new_value_weighs_nine_tenths() {
        let (mut stage, mut policy) = (Stage::new(1), C3::new(&known(&[1.0])));
        stage.answer(&mut policy, 0, 100);
        stage.answer(&mut policy, 0, 10);
        assert!((policy.seen[0].response - 0.019).abs() < 1e-9);
    }
}
