//! A small stage for testing one peer's rule without a world around it.

use std::time::Duration;

use lb_core::policy::Tried;
use lb_core::{Outcome, Rng, Tick};

use crate::sim::balancer::{Ask, Balancer, Client, Flight, Truth};
use crate::sim::policies::Known;
use crate::sim::recorded::Identity;

/// Servers that never answer unless told to.
pub(super) struct Stage {
    up: Vec<u32>,
    rng: Rng,
    /// The time.
    pub(super) now: Tick,
    /// Probes asked for so far.
    pub(super) probes: Vec<u32>,
    attempts: u32,
}

impl Stage {
    pub(super) fn new(servers: u32) -> Self {
        let (rng, now) = (Rng::seeded(11), Tick::ZERO);
        Stage { up: (0..servers).collect(), rng, now, probes: Vec::new(), attempts: 0 }
    }

    /// One pick, with nothing tried.
    pub(super) fn pick(&mut self, balancer: &mut dyn Balancer) -> u32 {
        let truth = Truth { servers: &[], mean_work: 0.0, zone_ns: 0.0 };
        let (up, tried, probes) = (&self.up[..], &Tried::default(), &mut self.probes);
        let mut ask =
            Ask { now: self.now, rng: &mut self.rng, up, tried, client: Client::of(0), truth, probes };
        balancer.pick(&mut ask).unwrap()
    }

    /// An attempt begins at `server`.
    pub(super) fn start(&mut self, balancer: &mut dyn Balancer, server: u32) -> Flight {
        self.attempts += 1;
        let flight = Flight { attempt: self.attempts, server, sent: self.now };
        balancer.on_start(&flight);
        flight
    }

    /// `server` answers a request in `ms`.
    pub(super) fn answer(&mut self, balancer: &mut dyn Balancer, server: u32, ms: u64) {
        let flight = self.start(balancer, server);
        self.now = Tick::from_nanos(self.now.nanos() + ms * 1_000_000);
        balancer.on_end(&flight, Outcome::Success, self.now);
    }

    /// How many of `picks` picks go where, none of them sent.
    pub(super) fn shares(&mut self, balancer: &mut dyn Balancer, picks: u32) -> Vec<u32> {
        let mut shares = vec![0; self.up.len()];
        (0..picks).for_each(|_| shares[self.pick(balancer) as usize] += 1);
        shares
    }
}

/// What servers of these weights have known of them.
pub(super) fn known(weights: &[f64]) -> Known {
    let zones = vec![0; weights.len()];
    let scrape_every = Duration::from_secs(1);
    Known {
        servers: weights.len(),
        balancers: 1,
        scrape_every,
        store: false,
        zones,
        weights: weights.to_vec(),
        identities: (0..weights.len() as u64).map(Identity::plain).collect(),
        points: 1,
    }
}
