//! A small world in virtual time: servers, an open-loop stream of requests, and a policy between them.
//!
//! It makes the calls the proxy makes (begin, observe at the first byte, complete at the last, end, and a refresh every
//! 20 ms) and no others. Arrivals, service times and keys have their own random streams, so two policies, or two orders
//! of one pool, meet the same requests. Nothing sleeps and no clock is read: a run is a function of its scenario.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use lb_core::hash::hash64;
use lb_core::view::Hashing;
use lb_core::{Cause, Load, Member, Outcome, Pick, Policy, PoolLoad, Rng, Tick, Ticket, Tried, View};

/// How often production refreshes its views.
const REFRESH: Duration = Duration::from_millis(20);
/// When a request is given up, as a failure.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Ring points per unit of weight: fewer than production, so that building rings does not dominate the tests.
const POINTS: u32 = 512;
/// Bound of consistent hashing with bounded loads, as production ships it.
pub(crate) const BOUND: f32 = 1.25;

/// A policy under test. Doubles that keep samples of their own get them here; the product's need no such thing.
pub(crate) trait Subject: Policy {
    /// Forgets everything: a run begins.
    fn reset(&self) {}
    /// A first byte (or a failure) came after `micros`, from the backend with this name.
    fn sampled(&self, _now: Tick, _name: u64, _micros: f64) {}
}

impl Subject for lb_core::Algorithm {}

/// The law of one server's service times.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Law {
    Fixed,
    /// Uniform within ±10 %.
    Steady,
    Exponential,
}

/// One server of the world. Its place in the scenario is its identity, wherever the pool lists it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) weight: u32,
    pub(crate) mean: Duration,
    pub(crate) law: Law,
    /// Requests it serves at once; the others queue.
    pub(crate) slots: usize,
    /// Share of the service time that passes before the first byte.
    pub(crate) first_byte: f64,
    /// Answers every request with a failure after this long.
    pub(crate) fails_in: Option<Duration>,
    /// Serves nothing in between.
    pub(crate) stall: Option<(Tick, Tick)>,
    pub(crate) joins: Tick,
}

/// A healthy server with exponential service times and room for everything.
pub(crate) fn server(mean_micros: u64) -> Server {
    Server {
        weight: 1,
        mean: Duration::from_micros(mean_micros),
        law: Law::Exponential,
        slots: 1_000,
        first_byte: 1.0,
        fails_in: None,
        stall: None,
        joins: Tick::ZERO,
    }
}

impl Server {
    pub(crate) fn law(self, law: Law) -> Self {
        Server { law, ..self }
    }
    pub(crate) fn weight(self, weight: u32) -> Self {
        Server { weight, ..self }
    }
    pub(crate) fn slots(self, slots: usize) -> Self {
        Server { slots, ..self }
    }
    pub(crate) fn first_byte(self, first_byte: f64) -> Self {
        Server { first_byte, ..self }
    }
    pub(crate) fn fails_in_micros(self, micros: u64) -> Self {
        Server { fails_in: Some(Duration::from_micros(micros)), ..self }
    }
    pub(crate) fn stalls(self, from: Tick, to: Tick) -> Self {
        Server { stall: Some((from, to)), ..self }
    }
    /// Takes requests and never answers.
    pub(crate) fn hung(self) -> Self {
        self.stalls(Tick::ZERO, Tick::from_millis(1 << 40))
    }
    pub(crate) fn joins(self, joins: Tick) -> Self {
        Server { joins, ..self }
    }
}

/// When requests come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arrivals {
    /// Poisson, this many a second.
    PerSecond(f64),
    /// One every so often: no two requests ever overlap where servers are quicker than this.
    Every(Duration),
}

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) servers: Vec<Server>,
    /// Position in the pool → server.
    pub(crate) order: Vec<usize>,
    pub(crate) arrivals: Arrivals,
    pub(crate) end: Tick,
    pub(crate) seed: u64,
}

impl Scenario {
    pub(crate) fn new(servers: Vec<Server>, arrivals: Arrivals, end: Tick) -> Self {
        Scenario { order: (0..servers.len()).collect(), servers, arrivals, end, seed: 1 }
    }
    pub(crate) fn ordered(self, order: &[usize]) -> Self {
        Scenario { order: order.to_vec(), ..self }
    }
}

/// Who was picked when.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Record {
    picks: Vec<(Tick, usize)>,
    servers: usize,
}

impl Record {
    /// Picks per server between two ticks.
    pub(crate) fn counts(&self, from: Tick, to: Tick) -> Vec<u64> {
        let mut counts = vec![0; self.servers];
        for &(at, server) in &self.picks {
            counts[server] += u64::from(from <= at && at < to);
        }
        counts
    }

    /// Share of each server in the picks between two ticks.
    pub(crate) fn shares(&self, from: Tick, to: Tick) -> Vec<f64> {
        let counts = self.counts(from, to);
        let sum = counts.iter().sum::<u64>().max(1) as f64;
        counts.iter().map(|&n| n as f64 / sum).collect()
    }

    /// Share of each server from `from` on.
    pub(crate) fn shares_from(&self, from: Tick) -> Vec<f64> {
        self.shares(from, Tick::from_nanos(u64::MAX))
    }
}

/// Identity of a server on rings.
pub(crate) fn name(server: usize) -> u64 {
    hash64(format!("backend{server}").as_bytes())
}

/// A view over `members` with a ring of its own, hashing as production does.
pub(crate) fn view(members: Vec<Member>, pool: &Arc<PoolLoad>) -> View {
    let ring = View::ring_of(&members, POINTS);
    View::new(members, Arc::clone(pool), ring, Hashing::Ring { bound: Some(BOUND) })
}

/// A member for `server`.
pub(crate) fn member(server: usize, weight: u32, load: &Arc<Load>) -> Member {
    Member {
        name_hash: name(server),
        ordinal: server as u32 + 1,
        weight,
        warmth: 1.0,
        region: 0,
        eligible: true,
        load: Arc::clone(load),
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Refresh,
    Membership,
    Arrival,
    /// An answer's first byte, or the failure; the index is of `World::flights`.
    First(usize),
    Last(usize),
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    server: usize,
    ticket: Ticket,
    outcome: Outcome,
}

struct World<'a> {
    scenario: &'a Scenario,
    loads: Vec<Arc<Load>>,
    pool: Arc<PoolLoad>,
    view: View,
    /// Position in the present view → server.
    at: Vec<usize>,
    free: Vec<BinaryHeap<Reverse<Tick>>>,
    flights: Vec<Flight>,
    events: BinaryHeap<Reverse<(Tick, usize, Event)>>,
    sequence: usize,
    arrivals: Rng,
    service: Rng,
    keys: Rng,
    picks: Rng,
}

/// Runs a scenario under a policy.
pub(crate) fn run(subject: &dyn Subject, scenario: &Scenario) -> Record {
    subject.reset();
    let count = scenario.servers.len();
    let loads: Vec<_> = (0..count).map(|_| Arc::new(Load::new())).collect();
    let pool = Arc::new(PoolLoad::default());
    let stream = |n: u64| Rng::seeded(hash64(&(scenario.seed * 16 + n).to_le_bytes()));
    let mut world = World {
        view: view(Vec::new(), &pool),
        at: Vec::new(),
        free: vec![BinaryHeap::new(); count],
        flights: Vec::new(),
        events: BinaryHeap::new(),
        sequence: 0,
        arrivals: stream(1),
        service: stream(2),
        keys: stream(3),
        picks: stream(4),
        scenario,
        loads,
        pool,
    };
    world.run(subject)
}

impl World<'_> {
    fn run(&mut self, subject: &dyn Subject) -> Record {
        let mut record = Record { picks: Vec::new(), servers: self.scenario.servers.len() };
        let mut joins: Vec<Tick> = self.scenario.servers.iter().map(|s| s.joins).collect();
        joins.sort_unstable();
        joins.dedup();
        joins.into_iter().for_each(|at| self.push(at, Event::Membership));
        self.push(Tick::ZERO, Event::Refresh);
        self.push(Tick::from_nanos(1), Event::Arrival);
        let mut scratch = Vec::new();
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            if now > self.scenario.end {
                break;
            }
            match event {
                Event::Membership => self.rebuild(now),
                Event::Refresh => {
                    self.view.refresh(now, &mut scratch);
                    self.push(now.after(REFRESH), Event::Refresh);
                }
                Event::Arrival => {
                    if let Some(server) = self.arrive(now, subject) {
                        record.picks.push((now, server));
                    }
                    let gap = match self.scenario.arrivals {
                        Arrivals::PerSecond(rate) => {
                            Duration::from_secs_f64(exponential(&mut self.arrivals) / rate)
                        }
                        Arrivals::Every(gap) => gap,
                    };
                    self.push(now.after(gap), Event::Arrival);
                }
                Event::First(at) => {
                    let Flight { server, ticket, outcome } = self.flights[at];
                    self.loads[server].observe(now, &ticket, outcome, &self.pool);
                    let micros = now.since(ticket.at()).as_secs_f64() * 1e6;
                    subject.sampled(now, name(server), micros);
                    if matches!(outcome, Outcome::Failure(_)) {
                        // A quick 500 is an answer too, and the proxy sees its last byte; a timeout has none.
                        if self.scenario.servers[server].fails_in.is_some() {
                            self.loads[server].complete(now, &ticket);
                        }
                        self.loads[server].end(ticket, &self.pool);
                    }
                }
                Event::Last(at) => {
                    let Flight { server, ticket, .. } = self.flights[at];
                    self.loads[server].complete(now, &ticket);
                    self.loads[server].end(ticket, &self.pool);
                }
            }
        }
        record
    }

    fn push(&mut self, at: Tick, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn rebuild(&mut self, now: Tick) {
        let servers = &self.scenario.servers;
        self.at = self.scenario.order.iter().copied().filter(|&s| servers[s].joins <= now).collect();
        let members = self.at.iter().map(|&s| member(s, servers[s].weight, &self.loads[s])).collect();
        self.view = view(members, &self.pool);
    }

    fn arrive(&mut self, now: Tick, subject: &dyn Subject) -> Option<usize> {
        let word = self.keys.next_u64();
        let key = (word % 1_000_000_007).to_string();
        let mut pick = Pick {
            region: None,
            client: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 | (word >> 40) as u32)),
            key: key.as_bytes(),
            tried: &Tried::default(),
            rng: &mut self.picks,
        };
        let decision = subject.pick(&self.view, &mut pick).ok()?;
        let server = self.at[decision.member as usize];
        self.send(server, now);
        Some(server)
    }

    /// Everything that will happen to a request is known when it is sent: servers are first come, first served.
    fn send(&mut self, id: usize, now: Tick) {
        let draw = match self.scenario.servers[id].law {
            Law::Fixed => 1.0,
            Law::Steady => 0.9 + 0.2 * self.service.unit(),
            Law::Exponential => exponential(&mut self.service),
        };
        let server = &self.scenario.servers[id];
        let ticket = self.loads[id].begin(now, &self.pool);
        let at = self.flights.len();
        let mut flight = Flight { server: id, ticket, outcome: Outcome::Success };
        if let Some(quick) = server.fails_in {
            flight.outcome = Outcome::Failure(Cause::Status);
            self.push(now.after(quick), Event::First(at));
        } else {
            let free = &mut self.free[id];
            let slot = if free.len() < server.slots { now } else { free.pop().map_or(now, |Reverse(at)| at) };
            let (mut start, took) = (slot.max(now), server.mean.mul_f64(draw));
            let mut done = start.after(took);
            if let Some((from, to)) = server.stall
                && start < to
                && done > from
            {
                done = to.after(done.since(start.max(from)));
                start = start.max(to);
            }
            free.push(Reverse(done));
            let first = done.max(start).since(now).saturating_sub(took.mul_f64(1.0 - server.first_byte));
            if first > TIMEOUT {
                flight.outcome = Outcome::Failure(Cause::Status);
                self.push(now.after(TIMEOUT), Event::First(at));
            } else {
                self.push(now.after(first), Event::First(at));
                self.push(done.max(now.after(first)), Event::Last(at));
            }
        }
        self.flights.push(flight);
    }
}

fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.unit()).ln()
}
