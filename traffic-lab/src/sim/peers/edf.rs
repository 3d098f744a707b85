//! Earliest deadline first (Envoy's `EdfScheduler`, gRPC's weighted round robin): whoever is due next is picked and due
//! again after 1/weight. Deadlines are scanned, not kept in a heap: the picks are the same.

use lb_core::Rng;

use crate::sim::balancer::Ask;

/// A schedule.
#[derive(Debug)]
pub(super) struct Edf {
    due: Vec<f64>,
    now: f64,
}

impl Edf {
    /// Everyone starts somewhere within the first round, so that balancers do not march in step.
    pub(super) fn new(servers: usize, seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        Edf { due: (0..servers).map(|_| rng.unit()).collect(), now: 0.0 }
    }

    /// The usable server due first; `weight` says when it is due again.
    pub(super) fn pick(&mut self, ask: &Ask<'_>, weight: impl Fn(u32) -> f64) -> Option<u32> {
        let due = |&server: &u32| self.due[server as usize];
        let server = ask.usable().min_by(|a, b| due(a).total_cmp(&due(b)))?;
        // Whoever was away is not owed all the rounds it missed.
        self.now = self.now.max(due(&server));
        self.due[server as usize] = self.now + 1.0 / weight(server).max(f64::MIN_POSITIVE);
        Some(server)
    }
}
