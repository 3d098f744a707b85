//! One run: a cell, a policy and a seed. The clock jumps from event to event; nothing in here knows real time, and all
//! randomness comes from the seed, so that the same run gives the same log to the last bit.

mod attempts;
mod rounds;
mod telemetry;

use anyhow::Result;
use lb_core::policy::Tried;
use lb_core::retry::RetryBudget;
use lb_core::{Outcome, Rng, Tick};

use super::agenda::{Agenda, Event};
use super::balancer::{Balancer, Report, TICK_MS};
use super::cell::Cell;
use super::draw::{Concern, Streams, exponential};
use super::faults::{Change, What, timeline};
use super::metric::Numbers;
use super::policies::{Known, Policy};
use super::recorded::{Arrival, Played};
use super::server::Server;
use super::sharing::Said;
use super::slab::Slab;
use super::tally::{Periods, Tally};

/// Nanoseconds in a millisecond.
pub(crate) const MILLI: u64 = 1_000_000;
/// Nanoseconds in a second.
const SECOND: u64 = 1_000 * MILLI;
/// Retries a balancer may make per request of its traffic, and per second beside that: the product's defaults
/// (`retry.budget_ratio`, `retry.budget_per_second`). All policies retry alike, so that picks are what is compared.
const RETRY_RATIO: f64 = 0.2;
const RETRY_PER_SECOND: f64 = 3.0;

/// What a run results in.
#[derive(Debug, Clone)]
pub(crate) struct Outcomes {
    /// The measurements.
    pub(crate) numbers: Numbers,
    /// Latencies at the percentiles of a chart (ms).
    pub(crate) curve: Vec<f64>,
    /// Requests that arrived.
    pub(crate) requests: u64,
    /// Hash over all events.
    pub(crate) log: u64,
    /// Hash over arrivals and their work: equal for all policies.
    pub(crate) traffic: u64,
    /// What became of each recorded request, in the order of their arrivals.
    pub(crate) played: Vec<Played>,
}

/// A request that is not over.
#[derive(Debug)]
struct Request {
    number: u64,
    arrived: u64,
    balancer: u32,
    work: f64,
    tried: Tried,
    attempts: u32,
    attempt: u32,
    /// Where it was sent last.
    server: Option<u32>,
}

/// An attempt whose server is not done with it.
#[derive(Debug)]
struct Attempt {
    request: u32,
    number: u64,
    balancer: u32,
    server: u32,
    sent: u64,
    reached: u64,
    held: u32,
    work: f64,
    back: u64,
    coin: f64,
    outcome: Outcome,
    again: Again,
    report: Option<Report>,
}

/// Whether a failed attempt may be made again: as the product decides for an idempotent request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// An answer that is no better elsewhere: 500.
    Never,
    /// Nobody took it: nothing ran.
    AtOnce,
    /// It had been sent: 503, or a connection that broke.
    AfterWait,
}

/// A balancer and what the world keeps for it.
struct Seat {
    policy: Box<dyn Balancer>,
    rng: Rng,
    network: Rng,
    budget: RetryBudget,
    /// For the pauses between rounds with the others.
    rounds: Rng,
    zone: u32,
    seen: Vec<telemetry::Seen>,
}

struct World<'a> {
    cell: &'a Cell,
    policy: &'a Policy,
    streams: Streams,
    agenda: Agenda,
    now: u64,
    servers: Vec<Server>,
    up: Vec<u32>,
    seats: Vec<Seat>,
    requests: Slab<Request>,
    attempts: Slab<Attempt>,
    changes: Vec<Change>,
    arrivals: Rng,
    telemetry: Rng,
    tokens: Vec<u32>,
    gauges: Vec<telemetry::Gauge>,
    /// What each balancer has told the others last.
    said: Vec<Said>,
    number: u64,
    load: f64,
    mean_gap: f64,
    tally: Tally,
    busy_before: Vec<f64>,
    busy_after: Vec<f64>,
    log: Hash,
    traffic: Hash,
    probes: Vec<u32>,
    played: Vec<Played>,
}

/// A hash that is the same on every machine (FNV-1a over words).
struct Hash(u64);

impl Hash {
    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
}

/// Runs `policy` in `cell`.
pub(crate) fn run(cell: &Cell, policy: &Policy, seed: u64) -> Result<Outcomes> {
    let mut world = World::new(cell, policy, seed)?;
    while let Some((now, event)) = world.agenda.next() {
        world.now = now;
        world.log.add(now);
        world.log.add(event.code());
        world.happen(event);
        if now >= world.end() && world.requests.len() == 0 {
            break;
        }
    }
    let busy: Vec<f64> = world.busy_after.iter().zip(&world.busy_before).map(|(a, b)| a - b).collect();
    let known = Known::of(cell);
    Ok(Outcomes {
        numbers: world.tally.numbers(&world.servers, &busy, (&known, cell.faulty), cell.capacity()),
        curve: world.tally.curve(),
        requests: world.number,
        log: world.log.0,
        traffic: world.traffic.0,
        played: world.played,
    })
}

impl<'a> World<'a> {
    fn new(cell: &'a Cell, policy: &'a Policy, seed: u64) -> Result<Self> {
        let streams = Streams::new(seed);
        let servers: Vec<Server> = cell
            .servers
            .iter()
            .flat_map(|g| (0..g.count).map(move |_| g))
            .map(|g| {
                Server::new(f64::from(g.cores), g.speed, g.zone, g.limit.unwrap_or(u32::MAX), g.discipline)
            })
            .collect();
        let known = Known::of(cell);
        let zones = cell.zones.demand.len() as u32;
        let seat = |at: u32| Seat {
            policy: policy.make(&known, streams.of(Concern::Policy, u64::from(at) << 32).next_u64()),
            rng: streams.of(Concern::Policy, u64::from(at)),
            network: streams.of(Concern::Network, u64::MAX - u64::from(at)),
            budget: RetryBudget::new(RETRY_RATIO, RETRY_PER_SECOND),
            rounds: streams.of(Concern::Telemetry, u64::from(at) + 1),
            zone: at % zones,
            seen: vec![telemetry::Seen::default(); servers.len()],
        };
        let mut world = World {
            seats: (0..cell.balancers).map(seat).collect(),
            up: (0..servers.len() as u32).collect(),
            tokens: vec![0; servers.len()],
            gauges: vec![telemetry::Gauge::default(); servers.len()],
            said: Vec::new(),
            busy_before: vec![0.0; servers.len()],
            busy_after: vec![0.0; servers.len()],
            changes: timeline(&cell.faults, cell.seconds, streams),
            arrivals: streams.of(Concern::Arrivals, 0),
            telemetry: streams.of(Concern::Telemetry, 0),
            tally: Tally::new(Periods::clone(&cell.periods))?,
            mean_gap: SECOND as f64 / cell.rate(),
            requests: Slab::new(),
            attempts: Slab::new(),
            agenda: Agenda::default(),
            probes: Vec::new(),
            played: cell.recorded.iter().flat_map(|r| vec![Played::NOTHING; r.arrivals.len()]).collect(),
            log: Hash(seed),
            traffic: Hash(seed),
            now: 0,
            number: 0,
            load: 1.0,
            cell,
            policy,
            streams,
            servers,
        };
        world.plan();
        Ok(world)
    }

    /// What is known before it begins.
    fn plan(&mut self) {
        for (at, change) in self.changes.iter().enumerate() {
            self.agenda.at(change.at, Event::Change { at: at as u32 });
        }
        self.agenda.at(0, Event::Tick);
        for balancer in 0..self.cell.balancers {
            // Balancers start at different moments, so they do not scrape together.
            let phase = f64::from(balancer + 1) / f64::from(self.cell.balancers);
            let first = (phase * self.cell.telemetry.every_ms * MILLI as f64) as u64;
            let begin = self.cell.late().filter(|_| self.cell.newcomer(balancer)).map_or(0, |(at, _)| at);
            self.agenda.at(begin + first, Event::Scrape { balancer });
            self.plan_rounds(balancer, begin, phase);
        }
        if self.policy.tokens {
            (0..self.servers.len() as u32).for_each(|server| self.offer_tokens(server));
        }
        self.plan_arrival();
    }

    fn end(&self) -> u64 {
        self.cell.periods.all[1]
    }

    fn tick_now(&self) -> Tick {
        Tick::from_nanos(self.now)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive => self.arrive(),
            Event::Reach { attempt } => self.reach(attempt),
            Event::Depart { server } => self.depart(server),
            Event::Return { attempt } => self.back(attempt),
            Event::Deadline { request, number } => self.deadline(request, number),
            Event::Again { request, number } => self.again(request, number),
            Event::Change { at } => self.change(self.changes[at as usize]),
            Event::Tick => self.tick(),
            Event::Round { balancer } => self.round(balancer),
            Event::Scrape { balancer } => self.scrape(balancer),
            Event::Probe { balancer, server } => self.probe(balancer, server),
            Event::Probed { balancer, server, in_flight, latency_us } => {
                let now = self.tick_now();
                self.seats[balancer as usize].policy.on_probe(server, in_flight, latency_us, now);
            }
            Event::Token { balancer, server } => self.seats[balancer as usize].policy.on_token(server),
        }
    }

    /// The recorded request of this number, where requests are recorded.
    fn recorded(&self, number: u64) -> Option<&'a Arrival> {
        self.cell.recorded.as_ref()?.arrivals.get(number as usize)
    }

    fn plan_arrival(&mut self) {
        if self.cell.recorded.is_some() {
            let next = self.recorded(self.number);
            return next.into_iter().for_each(|arrival| self.agenda.at(arrival.at, Event::Arrive));
        }
        let gap = exponential(&mut self.arrivals) * self.mean_gap / self.load;
        let at = self.now + gap as u64;
        if at < self.end() {
            self.agenda.at(at, Event::Arrive);
        }
    }

    fn arrive(&mut self) {
        let number = self.number;
        self.number += 1;
        let balancer = self.entrance();
        let drawn = || self.cell.service.draw(&mut self.streams.of(Concern::Sizes, number)) * MILLI as f64;
        let work = self.recorded(number).map_or_else(drawn, |arrival| arrival.work);
        self.traffic.add(self.now ^ work.to_bits());
        let request = self.requests.insert(Request {
            number,
            arrived: self.now,
            balancer,
            work,
            tried: Tried::default(),
            attempts: 0,
            attempt: 0,
            server: None,
        });
        let now = self.tick_now();
        self.seats[balancer as usize].budget.deposit(now);
        self.agenda.at(self.now + self.cell.deadline(), Event::Deadline { request, number });
        self.send(request);
        self.plan_arrival();
    }

    /// The balancer that an arriving request comes to: one in its client's zone where there is one.
    fn entrance(&mut self) -> u32 {
        let balancers = self.cell.present(self.now);
        let zones = self.cell.zones.demand.len() as u32;
        let mut left = self.arrivals.unit() * self.cell.zones.demand.iter().sum::<f64>();
        let zone = self.cell.zones.demand.iter().position(|demand| {
            left -= demand;
            left < 0.0
        });
        let zone = zone.unwrap_or(0) as u32;
        let within = (balancers + zones - 1 - zone) / zones;
        let turn = self.arrivals.below(within.max(1));
        if within == 0 { zone % balancers } else { zone + turn * zones }
    }

    fn tick(&mut self) {
        if self.now == self.cell.periods.all[0] || self.now == self.end() {
            self.servers.iter_mut().for_each(|server| server.advance(self.now));
            let busy = self.servers.iter().map(|server| server.busy).collect();
            if self.now == self.end() {
                self.busy_after = busy;
            } else {
                self.busy_before = busy;
            }
        }
        if self.now.is_multiple_of(SECOND) {
            self.gauge();
        }
        let now = self.tick_now();
        let present = self.cell.present(self.now) as usize;
        self.seats[..present].iter_mut().for_each(|seat| seat.policy.tick(now));
        let held = |&at: &u32| f64::from(self.servers[at as usize].held()) / self.servers[at as usize].cores;
        self.tally.held(self.now, self.up.iter().map(held));
        self.agenda.at(self.now + TICK_MS * MILLI, Event::Tick);
    }

    fn change(&mut self, Change { server, what, .. }: Change) {
        let at = server as usize;
        if at >= self.servers.len() {
            return;
        }
        self.servers[at].advance(self.now);
        match what {
            What::Factor(factor) => self.servers[at].factor = factor,
            What::Warmth(warmth) => self.servers[at].warmth = warmth,
            What::Pause(true) => self.servers[at].pauses += 1,
            What::Pause(false) => self.servers[at].pauses = self.servers[at].pauses.saturating_sub(1),
            What::Failing(share, status) => {
                (self.servers[at].failing, self.servers[at].status) = (share, status);
            }
            What::Load(factor) => self.load = factor,
            What::Member(up) => self.member(server, up),
            What::Down(down) => {
                self.servers[at].down = down;
                if down {
                    self.lose(server);
                }
            }
        }
        self.replan(server);
        if self.policy.tokens && matches!(what, What::Pause(false) | What::Down(false)) {
            self.offer_tokens(server);
        }
    }

    fn member(&mut self, server: u32, up: bool) {
        self.up.retain(|&other| other != server);
        if up {
            self.up.push(server);
            self.up.sort_unstable();
        }
        let now = self.tick_now();
        self.seats.iter_mut().for_each(|seat| seat.policy.on_member(server, up, now));
        if up && self.policy.tokens {
            self.tokens[server as usize] = 0;
            self.offer_tokens(server);
        }
    }
}
