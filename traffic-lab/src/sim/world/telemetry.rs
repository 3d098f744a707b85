//! What balancers are told of servers: scrapes, headers on responses, probes and tokens, and how telemetry goes wrong.

use super::super::agenda::Event;
use super::super::balancer::{Report, Source};
use super::super::draw::{between, normal};
use super::{MILLI, SECOND, World};

/// One way of a probe or a token through the network (ns).
const ONE_WAY: [f64; 2] = [0.4e6, 0.6e6];
/// Share of memory that a simulated server uses: it has no memory, and this is far below any limit.
const MEMORY: f64 = 0.4;

/// What a balancer's last scrape of a server brought.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    at: u64,
    busy: f64,
    report: Option<Report>,
}

/// What a server measures of itself once a second, for response headers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gauge {
    busy: f64,
    util: f64,
}

impl World<'_> {
    /// A balancer scrapes all servers in the pool. Those that are down or paused do not answer.
    pub(super) fn scrape(&mut self, balancer: u32) {
        let telemetry = &self.cell.telemetry;
        self.agenda.at(self.now + (telemetry.every_ms * MILLI as f64) as u64, Event::Scrape { balancer });
        let since = |from_s: Option<f64>| from_s.is_some_and(|from| self.now as f64 >= from * SECOND as f64);
        let off = since(telemetry.off_from_s);
        let frozen = since(telemetry.frozen_from_s);
        let now = self.tick_now();
        for at in 0..self.up.len() {
            let server = self.up[at];
            if !self.seats[balancer as usize].policy.scrapes(server, now) {
                continue;
            }
            // A paused server would answer too late: a scrape's timeout is about the length of a pause.
            let to = &self.servers[server as usize];
            if off || to.down || to.pauses > 0 {
                self.seats[balancer as usize].policy.on_missed(server);
                continue;
            }
            let seen = self.seats[balancer as usize].seen[server as usize];
            let report = match seen.report {
                Some(report) if frozen => report,
                _ => self.measure(server, seen),
            };
            let busy = self.servers[server as usize].busy;
            let seat = &mut self.seats[balancer as usize];
            seat.seen[server as usize] = Seen { at: self.now, busy, report: Some(report) };
            seat.policy.on_report(server, Source::Scrape, &report, now);
        }
    }

    fn measure(&mut self, index: u32, seen: Seen) -> Report {
        let server = &mut self.servers[index as usize];
        server.advance(self.now);
        let window = (self.now - seen.at).max(1) as f64;
        let util = (server.busy - seen.busy) / window / server.cores;
        self.report(index, util, 0.0)
    }

    /// The report that a response carries.
    pub(super) fn header(&mut self, server: u32, service_ns: f64) -> Report {
        let util = self.gauges[server as usize].util;
        self.report(server, util, service_ns)
    }

    fn report(&mut self, index: u32, util: f64, service_ns: f64) -> Report {
        let telemetry = &self.cell.telemetry;
        let server = &self.servers[index as usize];
        let lie = if telemetry.liars.contains(index) { telemetry.lie } else { 1.0 };
        let noise = match telemetry.noise {
            none if none <= 0.0 => 1.0,
            sigma => (sigma * normal(&mut self.telemetry)).exp(),
        };
        Report {
            util: util * lie * noise,
            memory: MEMORY,
            in_flight: server.held(),
            waiting: server.held().saturating_sub(server.cores as u32),
            good: server.good,
            bad: server.bad,
            service_ns,
        }
    }

    /// Servers measure themselves.
    pub(super) fn gauge(&mut self) {
        for (server, gauge) in self.servers.iter_mut().zip(&mut self.gauges) {
            server.advance(self.now);
            let util = (server.busy - gauge.busy) / SECOND as f64 / server.cores;
            *gauge = Gauge { busy: server.busy, util };
        }
    }

    /// Sends the probes that a pick asked for.
    pub(super) fn send_probes(&mut self, balancer: u32) {
        while let Some(server) = self.probes.pop() {
            self.tally.message(self.now);
            let seat = &mut self.seats[balancer as usize];
            let way = between(&mut seat.network, ONE_WAY) as u64 + self.one_way(balancer, server);
            self.agenda.at(self.now + way, Event::Probe { balancer, server });
        }
    }

    /// A probe reaches its server and goes back with its answer.
    pub(super) fn probe(&mut self, balancer: u32, server: u32) {
        let to = &self.servers[server as usize];
        if to.down {
            return;
        }
        let (in_flight, latency_us) = (to.held(), to.latency_us());
        let seat = &mut self.seats[balancer as usize];
        let way = between(&mut seat.network, ONE_WAY) as u64 + self.one_way(balancer, server);
        self.agenda.at(self.now + way, Event::Probed { balancer, server, in_flight, latency_us });
    }

    /// A server gives each free slot's token to a balancer drawn at random, unless it is down or paused.
    pub(super) fn offer_tokens(&mut self, index: u32) {
        let server = &self.servers[index as usize];
        if server.down || server.pauses > 0 {
            return;
        }
        let free = (server.cores as u32).saturating_sub(server.held());
        while self.tokens[index as usize] < free {
            self.tokens[index as usize] += 1;
            self.tally.message(self.now);
            let balancer = self.telemetry.below(self.seats.len() as u32);
            let way = between(&mut self.telemetry, ONE_WAY) as u64 + self.one_way(balancer, index);
            self.agenda.at(self.now + way, Event::Token { balancer, server: index });
        }
    }

    /// What zones add to one way (ns).
    fn one_way(&self, balancer: u32, server: u32) -> u64 {
        let cross = self.servers[server as usize].zone != self.seats[balancer as usize].zone;
        if cross { (self.cell.zones.round_trip_ms * MILLI as f64 / 2.0) as u64 } else { 0 }
    }
}
