//! The policies by name: what each is, what it needs of the world, and how it is made.

use std::time::Duration;

use lb_core::Algorithm;
use lb_core::ring::DEFAULT_POINTS;

use super::balancer::Balancer;
use super::cell::Cell;
use super::oracle::{Jsew, Sed};
use super::ours::{Inputs, Ours};
use super::peers::passive::Passive;
use super::peers::{
    c3, cswrr, jiq, least, least_request, least_time, p2c_ewma, prequal, random, round_robin,
};
use super::recorded::Identity;
use super::scenario::Span;

/// What a policy may compare itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Ballast's own code.
    Ours,
    /// What can be deployed as it is.
    Peer,
    /// The same, with probes of its own.
    Probing,
    /// Needs servers that push messages to balancers.
    Push,
    /// Needs to be told the servers' true weights by hand.
    Told,
    /// Knows what nobody can know.
    Oracle,
}

/// What policies are told before they begin.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// How many servers there are, joined yet or not.
    pub(crate) servers: usize,
    /// How many balancers.
    pub(crate) balancers: u32,
    /// Time between two scrapes.
    pub(crate) scrape_every: Duration,
    /// Whether balancers share a store.
    pub(crate) store: bool,
    /// Where the servers are.
    pub(crate) zones: Vec<u8>,
    /// True weights (cores × speed): for those that are told.
    pub(crate) weights: Vec<f64>,
    /// Names and configured weights.
    pub(crate) identities: Vec<Identity>,
    /// Points of the ring per unit of weight.
    pub(crate) points: u32,
}

impl Known {
    /// What a cell's operator knows.
    pub(crate) fn of(cell: &Cell) -> Self {
        let weights: Vec<f64> = cell
            .servers
            .iter()
            .flat_map(|g| (0..g.count).map(move |_| f64::from(g.cores) * g.speed))
            .collect();
        let zones = cell.servers.iter().flat_map(|g| (0..g.count).map(move |_| g.zone as u8)).collect();
        let scrape_every = Duration::from_secs_f64(cell.telemetry.every_ms / 1_000.0);
        let store = cell.store.is_some();
        let (identities, points) = match &cell.recorded {
            Some(recorded) => (recorded.identities.clone(), DEFAULT_POINTS),
            // Drawn traffic has no keys: the smallest ring will do.
            None => ((0..weights.len() as u64).map(Identity::plain).collect(), 1),
        };
        let balancers = cell.balancers;
        let servers = weights.len();
        Known { servers, balancers, scrape_every, store, zones, weights, identities, points }
    }

    /// The share of all capacity that some servers have.
    pub(crate) fn share(&self, span: Span) -> f64 {
        let of = |(at, weight): (usize, &f64)| if span.contains(at as u32) { *weight } else { 0.0 };
        self.weights.iter().enumerate().map(of).sum::<f64>() / self.weights.iter().sum::<f64>()
    }
}

type Make = fn(&Known, u64) -> Box<dyn Balancer>;

/// A policy that can be simulated.
pub(crate) struct Policy {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) class: Class,
    /// Whether responses carry reports for it.
    pub(crate) header: bool,
    /// Whether servers push tokens for it.
    pub(crate) tokens: bool,
    make: Make,
}

impl Policy {
    /// A balancer of this policy; `seed` is for what it must draw when it is made.
    pub(crate) fn make(&self, known: &Known, seed: u64) -> Box<dyn Balancer> {
        (self.make)(known, seed)
    }

    const fn header(self) -> Self {
        Policy { header: true, ..self }
    }

    const fn tokens(self) -> Self {
        Policy { tokens: true, ..self }
    }
}

const fn policy(name: &'static str, class: Class, make: Make) -> Policy {
    Policy { name, class, header: false, tokens: false, make }
}

const NOTHING: Inputs = Inputs { scrape: false, header: false };
const SCRAPE: Inputs = Inputs { scrape: true, header: false };
const HEADER: Inputs = Inputs { scrape: true, header: true };

/// All of them, in the order of tables.
pub(crate) const POLICIES: &[Policy] = &[
    policy("adaptive", Class::Ours, |k, _| Box::new(Ours::new(Algorithm::Adaptive, SCRAPE, k))),
    policy("adaptive-alone", Class::Ours, |k, _| {
        Box::new(Ours::new(Algorithm::Adaptive, SCRAPE, &Known { store: false, ..k.clone() }))
    }),
    policy("adaptive-noscrape", Class::Ours, |k, _| Box::new(Ours::new(Algorithm::Adaptive, NOTHING, k))),
    policy("adaptive-header", Class::Ours, |k, _| Box::new(Ours::new(Algorithm::Adaptive, HEADER, k)))
        .header(),
    policy("least_connections", Class::Ours, |k, _| {
        Box::new(Ours::new(Algorithm::LeastConnections, NOTHING, k))
    }),
    policy("power_of_two", Class::Ours, |k, _| Box::new(Ours::new(Algorithm::PowerOfTwo, NOTHING, k))),
    policy("least_response_time", Class::Ours, |k, _| {
        Box::new(Ours::new(Algorithm::LeastResponseTime, NOTHING, k))
    }),
    policy("min_eta", Class::Ours, |k, _| Box::new(Ours::new(Algorithm::MinEta, NOTHING, k))),
    policy("round_robin", Class::Ours, |k, _| Box::new(Ours::new(Algorithm::RoundRobin, NOTHING, k))),
    policy("peer-round-robin", Class::Peer, |_, seed| Box::new(round_robin::RoundRobin::new(seed))),
    policy("peer-random", Class::Peer, |_, _| Box::new(random::Random)),
    policy("envoy-least-request", Class::Peer, |k, _| Box::new(least_request::LeastRequest::new(k))),
    policy("haproxy-leastconn", Class::Peer, |k, seed| Box::new(least::LeastConn::even(k, seed))),
    policy("nginx-leastconn", Class::Peer, |k, seed| {
        Box::new(Passive::new(least::LeastConn::even(k, seed), k.servers))
    }),
    policy("haproxy-random2", Class::Peer, |k, _| Box::new(random::RandomTwo::with_replacement(k))),
    policy("nginx-random-two", Class::Peer, |k, _| {
        Box::new(Passive::new(random::RandomTwo::distinct(k), k.servers))
    }),
    policy("finagle-peak-ewma", Class::Peer, |k, _| Box::new(p2c_ewma::PeakEwma::new(k))),
    policy("envoy-ewma", Class::Peer, |k, _| Box::new(p2c_ewma::PlainEwma::new(k))),
    policy("traefik-leasttime", Class::Peer, |k, seed| Box::new(least_time::LeastTime::new(k, seed))),
    policy("grpc-cswrr", Class::Peer, |k, seed| Box::new(cswrr::Cswrr::new(k, seed))),
    policy("c3", Class::Peer, |k, _| Box::new(c3::C3::new(k))).header(),
    policy("prequal-60", Class::Probing, |k, _| Box::new(prequal::Prequal::new(k, prequal::Rule::Hcl(0.6)))),
    policy("prequal-84", Class::Probing, |k, _| Box::new(prequal::Prequal::new(k, prequal::Rule::Hcl(0.84)))),
    policy("prequal-rif", Class::Probing, |k, _| Box::new(prequal::Prequal::new(k, prequal::Rule::Rif))),
    policy("prequal-c3", Class::Probing, |k, _| Box::new(prequal::Prequal::new(k, prequal::Rule::C3))),
    policy("jiq-slots", Class::Push, |_, _| Box::new(jiq::Jiq::default())).tokens(),
    policy("nginx-weighted-rr", Class::Told, |k, _| {
        Box::new(Passive::new(round_robin::Smooth::new(k), k.servers))
    }),
    policy("haproxy-leastconn-weighted", Class::Told, |k, seed| Box::new(least::LeastConn::told(k, seed))),
    policy("envoy-least-request-weighted", Class::Told, |k, seed| {
        Box::new(least_request::WeightedLeastRequest::new(k, seed))
    }),
    policy("oracle-sed", Class::Oracle, |_, _| Box::new(Sed)),
    policy("oracle-jsew", Class::Oracle, |_, _| Box::new(Jsew)),
];

/// Those of ours that differ from others by keys, clients or configured weights only, which drawn traffic does not have.
pub(crate) const FOR_RECORDED: &[Policy] = &[
    policy("weighted_round_robin", Class::Ours, |k, _| {
        Box::new(Ours::new(Algorithm::WeightedRoundRobin, NOTHING, k))
    }),
    policy("ip_hash", Class::Ours, |k, _| Box::new(Ours::new(Algorithm::IpHash, NOTHING, k))),
    policy("consistent_hash", Class::Ours, |k, _| Box::new(Ours::new(Algorithm::ConsistentHash, NOTHING, k))),
    policy("random", Class::Ours, |k, _| Box::new(Ours::new(Algorithm::Random, NOTHING, k))),
];

/// The policy of this name.
pub(crate) fn find(name: &str) -> Option<&'static Policy> {
    POLICIES.iter().find(|policy| policy.name == name)
}
