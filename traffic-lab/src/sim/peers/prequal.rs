//! Prequal (Wydrowski and others, NSDI 2024): each request sends probes whose answers, requests in flight (RIF) and a
//! latency, wait in a pool for later requests. Hot is who holds more than the Q-quantile of recent RIFs; the pick is the
//! fastest cold one, or the one of fewest RIF if all are hot (HCL). Two other rules over the same pool: fewest RIF, and
//! C3's ranking.
//!
//! Pool, ageing, reuse and removal follow the paper; the pool is 16 % of the servers, 4 to 16, since in a small fleet a
//! pool of 16 holds everyone and herds.

use std::collections::VecDeque;

use lb_core::{Outcome, Tick};

use crate::sim::balancer::{Ask, Balancer, Counts, Flight};
use crate::sim::policies::Known;

/// Probes per request.
const PROBES: f64 = 3.0;
/// Answers thrown away per request.
const REMOVED: u32 = 1;
/// How much faster answers may be used than they come (δ).
const DELTA: f64 = 1.0;
/// Milliseconds an answer is good for.
const AGE_MS: u128 = 1_000;
/// Share of the fleet that a pool holds, and its bounds.
const POOL_SHARE: f64 = 0.16;
const POOL: [f64; 2] = [4.0, 16.0];
/// RIFs remembered for the quantile.
const RECENT: usize = 128;

/// What decides within the pool.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// Hot or cold at this quantile, then latency.
    Hcl(f64),
    /// Fewest in flight.
    Rif,
    /// C3's Ψ.
    C3,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    server: u32,
    rif: u32,
    latency: f64,
    at: Tick,
    uses: u32,
}

/// A pool of answers.
pub(crate) struct Prequal {
    rule: Rule,
    pool: Vec<Answer>,
    room: usize,
    reuse: f64,
    recent: VecDeque<u32>,
    hot: u32,
    oldest_next: bool,
    counts: Counts,
    balancers: f64,
}

impl Prequal {
    /// An empty pool.
    pub(crate) fn new(known: &Known, rule: Rule) -> Self {
        let servers = known.servers as f64;
        let room = (POOL_SHARE * servers).clamp(POOL[0], POOL[1]).min(servers);
        let spare = (1.0 - room / servers) * PROBES - f64::from(REMOVED);
        Prequal {
            rule,
            pool: Vec::with_capacity(room as usize + 1),
            room: room as usize,
            reuse: if spare > 0.0 { ((1.0 + DELTA) / spare).max(1.0) } else { 1.0 },
            recent: VecDeque::with_capacity(RECENT),
            hot: u32::MAX,
            oldest_next: true,
            counts: Counts::new(known.servers),
            balancers: f64::from(known.balancers),
        }
    }

    fn is_hot(&self, answer: &Answer) -> bool {
        answer.rif > self.hot
    }

    /// Smaller is better.
    fn rank(&self, answer: &Answer) -> (bool, f64) {
        match self.rule {
            Rule::Hcl(_) if self.is_hot(answer) => (true, f64::from(answer.rif)),
            Rule::Hcl(_) => (false, answer.latency),
            Rule::Rif => (false, f64::from(answer.rif)),
            Rule::C3 => {
                // A pool knows the response time at the server only, so R − 1/µ is nothing and 1/µ is the latency.
                let own = f64::from(self.counts.of(answer.server)) * self.balancers;
                (false, (1.0 + own + f64::from(answer.rif)).powi(3) * answer.latency)
            }
        }
    }

    fn best(&self, usable: impl Fn(u32) -> bool) -> Option<usize> {
        let ranked = self.pool.iter().enumerate().filter(|(_, answer)| usable(answer.server));
        let ranked = ranked.map(|(at, answer)| (self.rank(answer), at));
        ranked.min_by(|(a, _), (b, _)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))).map(|(_, at)| at)
    }

    /// Throws an answer away: the oldest and the worst in turn.
    fn remove_one(&mut self) {
        let oldest = self.oldest_next;
        self.oldest_next = !oldest;
        let at = if oldest {
            (0..self.pool.len()).min_by_key(|&at| self.pool[at].at)
        } else {
            let any_hot = self.pool.iter().any(|answer| self.is_hot(answer));
            let badness = |at: usize| {
                let answer = &self.pool[at];
                if any_hot { f64::from(answer.rif) } else { answer.latency }
            };
            (0..self.pool.len()).max_by(|&a, &b| badness(a).total_cmp(&badness(b)))
        };
        if let Some(at) = at {
            self.pool.swap_remove(at);
        }
    }
}

impl Balancer for Prequal {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        self.pool.retain(|answer| ask.now.since(answer.at).as_millis() < AGE_MS);
        let probes = (PROBES as usize).min(ask.up.len());
        let from = ask.probes.len();
        while ask.probes.len() < from + probes {
            let Some(server) = ask.draw() else { break };
            if !ask.probes[from..].contains(&server) {
                ask.probes.push(server);
            }
        }
        let usable = |server: u32| ask.up.binary_search(&server).is_ok() && !ask.tried.contains(server);
        let best = if self.pool.len() < 2 { None } else { self.best(usable) };
        let Some(at) = best else { return ask.draw_two().map(|(first, _)| first) };
        let answer = &mut self.pool[at];
        let server = answer.server;
        answer.rif += 1;
        answer.uses += 1;
        // The reuse budget is not whole: its fraction is a chance.
        let whole = self.reuse.floor();
        let budget = whole + if ask.rng.unit() < self.reuse - whole { 1.0 } else { 0.0 };
        if f64::from(answer.uses) >= budget {
            self.pool.swap_remove(at);
        }
        (0..REMOVED).for_each(|_| self.remove_one());
        Some(server)
    }

    fn on_start(&mut self, flight: &Flight) {
        self.counts.start(flight);
    }

    fn on_end(&mut self, flight: &Flight, outcome: Outcome, _now: Tick) {
        self.counts.end(flight);
        if outcome != Outcome::Success {
            // What a failing server's probes said of it is not worth anything.
            self.pool.retain(|answer| answer.server != flight.server);
        }
    }

    fn on_probe(&mut self, server: u32, in_flight: u32, latency_us: u32, now: Tick) {
        let oldest = (0..self.pool.len()).min_by_key(|&at| self.pool[at].at);
        if let Some(oldest) = oldest.filter(|_| self.pool.len() >= self.room) {
            self.pool.swap_remove(oldest);
        }
        let latency = f64::from(latency_us) / 1e6;
        self.pool.push(Answer { server, rif: in_flight, latency, at: now, uses: 0 });
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(in_flight);
        if let Rule::Hcl(quantile) = self.rule {
            let mut sorted: Vec<u32> = self.recent.iter().copied().collect();
            let at = ((sorted.len() - 1) as f64 * quantile) as usize;
            self.hot = *sorted.select_nth_unstable(at).1;
        }
    }

    fn on_member(&mut self, server: u32, _up: bool, _now: Tick) {
        self.pool.retain(|answer| answer.server != server);
    }
}

#[cfg(test)]
mod tests {
    use super::super::stage::{Stage, known};
    use super::*;

    fn pool(rule: Rule) -> (Stage, Prequal) {
        let (stage, mut policy) = (Stage::new(30), Prequal::new(&known(&[1.0; 30]), rule));
        for (server, rif, latency) in [(4, 9, 10), (5, 2, 80), (6, 3, 40)] {
            policy.on_probe(server, rif, latency * 1_000, stage.now);
        }
        (stage, policy)
    }

    #[test]
    fn the_fastest_cold_one_wins() {
        let (mut stage, mut policy) = pool(Rule::Hcl(0.6));
        assert_eq!((stage.pick(&mut policy), stage.probes.len()), (6, 3), "4 is faster but hot");
        let (mut stage, mut policy) = pool(Rule::Rif);
        assert_eq!(stage.pick(&mut policy), 5);
    }

    #[test]
    fn old_answers_are_not_used() {
        let (mut stage, mut policy) = pool(Rule::Rif);
        stage.now = Tick::from_millis(1_001);
        stage.pick(&mut policy);
        assert!(policy.pool.is_empty());
    }
}
