//! What a balancer is to the simulator: it picks, and is told what a real one could know. One trait for ours, the peers
//! and the oracles; only the last may look at [`Ask::truth`].

use std::net::{IpAddr, Ipv4Addr};

use lb_core::policy::Tried;
use lb_core::{Cause, Outcome, Rng, Tick};

use super::server::Server;
use super::sharing::{About, Said};

/// What a pick may use.
pub(crate) struct Ask<'a> {
    /// The time.
    pub(crate) now: Tick,
    /// The balancer's own randomness.
    pub(crate) rng: &'a mut Rng,
    /// Servers in the pool, by announcement; health is for policies to find out.
    pub(crate) up: &'a [u32],
    /// Servers that this request failed on.
    pub(crate) tried: &'a Tried,
    /// Who asks.
    pub(crate) client: Client<'a>,
    /// For oracles: the servers as they are.
    pub(crate) truth: Truth<'a>,
    /// Servers to be probed because of this request.
    pub(crate) probes: &'a mut Vec<u32>,
}

/// Whose request it is.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    /// Where it is; where traffic is drawn, in the zone of its balancer.
    pub(crate) region: Option<u8>,
    /// Its address.
    pub(crate) address: IpAddr,
    /// What `consistent_hash` chooses by.
    pub(crate) key: &'a [u8],
}

impl Client<'_> {
    /// A client of drawn traffic: only where it is matters.
    pub(crate) fn of(region: u8) -> Self {
        Client { region: Some(region), address: IpAddr::V4(Ipv4Addr::LOCALHOST), key: b"" }
    }

    /// Where it is, as a zone; the first where that is not known.
    pub(crate) fn zone(&self) -> u32 {
        self.region.map_or(0, u32::from)
    }
}

/// What nobody can know.
#[derive(Clone, Copy)]
pub(crate) struct Truth<'a> {
    /// All servers.
    pub(crate) servers: &'a [Server],
    /// Mean work of all requests (core-ns).
    pub(crate) mean_work: f64,
    /// Round trip to another zone (ns).
    pub(crate) zone_ns: f64,
}

impl Ask<'_> {
    /// The servers that may be picked.
    pub(crate) fn usable(&self) -> impl Iterator<Item = u32> + Clone {
        self.up.iter().copied().filter(|&server| !self.tried.contains(server))
    }

    /// One of the servers in the pool, tried or not.
    pub(crate) fn draw(&mut self) -> Option<u32> {
        self.up.get(self.rng.below(self.up.len() as u32) as usize).copied()
    }

    /// Two different servers where there are two, none of them tried.
    pub(crate) fn draw_two(&mut self) -> Option<(u32, u32)> {
        let usable = self.up.len() - self.up.iter().filter(|&&s| self.tried.contains(s)).count();
        let first = self.rng.below(usable as u32);
        let second = (first + 1 + self.rng.below((usable as u32).saturating_sub(1))) % (usable as u32).max(1);
        let nth = |n: u32| {
            if self.tried.is_empty() {
                self.up.get(n as usize).copied()
            } else {
                self.usable().nth(n as usize)
            }
        };
        Some((nth(first)?, nth(second)?))
    }

    /// The usable server of least cost, ties drawn.
    pub(crate) fn least(&mut self, mut cost: impl FnMut(u32) -> f64) -> Option<u32> {
        let (mut best, mut least, mut ties) = (None, f64::INFINITY, 0);
        for &server in self.up {
            if self.tried.contains(server) {
                continue;
            }
            let cost = cost(server);
            if cost < least || best.is_none() {
                (best, least, ties) = (Some(server), cost, 1);
            } else if cost <= least {
                ties += 1;
                if self.rng.below(ties) == 0 {
                    best = Some(server);
                }
            }
        }
        best
    }
}

/// One attempt under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    /// A small number that no other attempt of the moment has.
    pub(crate) attempt: u32,
    /// Where it went.
    pub(crate) server: u32,
    /// When.
    pub(crate) sent: Tick,
}

/// What a server says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Report {
    /// Share of its slots in use, mean since the last report of this kind (0 to 1, if it tells the truth).
    pub(crate) util: f64,
    /// Share of its memory in use.
    pub(crate) memory: f64,
    /// Requests that it holds.
    pub(crate) in_flight: u32,
    /// Of these, the ones beyond its slots.
    pub(crate) waiting: u32,
    /// Requests answered well so far.
    pub(crate) good: u64,
    /// Requests failed so far.
    pub(crate) bad: u64,
    /// What the answered request's work takes at the server's present speed, without any wait (ns); only on a response.
    pub(crate) service_ns: f64,
}

/// How a report came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Asked for by the control side, about once a second.
    Scrape,
    /// In the head of a response.
    Header,
}

/// A balancer under test.
pub(crate) trait Balancer {
    /// Picks a server; `None` where it has none to offer, which fails the request.
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32>;

    /// A request goes out.
    fn on_start(&mut self, _flight: &Flight) {}

    /// Whether this attempt is a trial: the balancer's own wish, whose failure it makes up for.
    fn trying(&self, _flight: &Flight) -> bool {
        false
    }

    /// It came back.
    fn on_end(&mut self, _flight: &Flight, _outcome: Outcome, _now: Tick) {}

    /// Its client gave up. To most balancers that is a timeout of the server's.
    fn on_cancel(&mut self, flight: &Flight, now: Tick) {
        self.on_end(flight, Outcome::Failure(Cause::Timeout), now);
    }

    /// A scrape brought nothing.
    fn on_missed(&mut self, _server: u32) {}

    /// A report arrives.
    fn on_report(&mut self, _server: u32, _source: Source, _report: &Report, _now: Tick) {}

    /// A probe's answer arrives: requests in flight, and latency in µs (0 where the server knows none).
    fn on_probe(&mut self, _server: u32, _in_flight: u32, _latency_us: u32, _now: Tick) {}

    /// A server has a free slot and says so.
    fn on_token(&mut self, _server: u32) {}

    /// A server leaves or joins; one that joins is a new one.
    fn on_member(&mut self, _server: u32, _up: bool, _now: Tick) {}

    /// What the others are told of each server; `None` where nothing is shared.
    fn tell(&self, _now: Tick) -> Option<Vec<About>> {
        None
    }

    /// What all, this balancer `own` included, have said last.
    fn hear(&mut self, _own: u32, _said: &[Said], _now: Tick) {}

    /// Whether it asks this server for a report itself.
    fn scrapes(&self, _server: u32, _now: Tick) -> bool {
        true
    }

    /// Every [`TICK_MS`].
    fn tick(&mut self, _now: Tick) {}
}

/// Milliseconds between two ticks: as often as the product refreshes its loads.
pub(crate) const TICK_MS: u64 = 20;

/// Requests in flight by server, as one balancer counts them.
#[derive(Debug)]
pub(crate) struct Counts(Vec<u32>);

impl Counts {
    /// None in flight to any of `servers`.
    pub(crate) fn new(servers: usize) -> Self {
        Counts(vec![0; servers])
    }

    /// Requests in flight to `server`.
    pub(crate) fn of(&self, server: u32) -> u32 {
        self.0[server as usize]
    }

    /// One more.
    pub(crate) fn start(&mut self, flight: &Flight) {
        self.0[flight.server as usize] += 1;
    }

    /// One less.
    pub(crate) fn end(&mut self, flight: &Flight) {
        self.0[flight.server as usize] -= 1;
    }
}
