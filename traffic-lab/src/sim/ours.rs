//! Ballast's own decision code in the simulator: `lb-core` itself, put together as the proxy's control side does it.
//!
//! Nothing is decided here: views, loads, ejection and slow start are the product's types, called at the product's
//! intervals. What differs is that one balancer is one worker, and that membership is announced.

mod standing;

use lb_core::{Algorithm, Load, Outcome, Pick, Policy as _, PoolLoad, Tick, Ticket, View};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::balancer::{Ask, Balancer, Flight, Report, Source};
use super::policies::Known;
use standing::Standing;

/// Which reports are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inputs {
    /// Scrapes by the control side.
    pub(crate) scrape: bool,
    /// Reports in the heads of responses.
    pub(crate) header: bool,
}

/// One balancer.
pub(crate) struct Ours {
    algorithm: Algorithm,
    inputs: Inputs,
    loads: Vec<Arc<Load>>,
    pool: Arc<PoolLoad>,
    view: View,
    standing: Standing,
    tickets: Vec<Option<Ticket>>,
    scratch: Vec<f32>,
}

/// Clients do not matter to the policies simulated.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

impl Ours {
    /// A balancer that has seen nothing.
    pub(crate) fn new(algorithm: Algorithm, inputs: Inputs, known: &Known) -> Self {
        let loads: Vec<_> = (0..known.servers).map(|_| Arc::new(Load::new())).collect();
        let pool = Arc::new(PoolLoad::default());
        let standing = Standing::new(known.servers);
        let view = standing.view(&loads, &pool);
        Ours { algorithm, inputs, loads, pool, view, standing, tickets: Vec::new(), scratch: Vec::new() }
    }

    /// The place for scraped capacity and for what other balancers have in flight; `lb-core` takes neither yet.
    fn learn(&mut self, server: u32, report: &Report, now: Tick) {
        let _ = (server, report.at_s, report.memory, now);
    }
}

impl Balancer for Ours {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        if let Some(server) = self.standing.trial(ask.tried) {
            return Some(server);
        }
        let mut pick = Pick { client: CLIENT, key: b"", tried: ask.tried, rng: ask.rng };
        self.algorithm.pick(&self.view, &mut pick).ok().map(|decision| decision.member)
    }

    fn on_start(&mut self, flight: &Flight) {
        let at = flight.attempt as usize;
        if self.tickets.len() <= at {
            self.tickets.resize(at + 1, None);
        }
        self.standing.begin(flight);
        self.tickets[at] = Some(self.loads[flight.server as usize].begin(flight.sent, &self.pool));
    }

    fn on_end(&mut self, flight: &Flight, outcome: Outcome, now: Tick) {
        let Some(ticket) = self.tickets[flight.attempt as usize].take() else { return };
        let load = &self.loads[flight.server as usize];
        load.observe(now, &ticket, outcome, &self.pool);
        if outcome == Outcome::Success {
            load.complete(now, &ticket);
        }
        load.end(ticket, &self.pool);
        self.standing.end(flight, outcome == Outcome::Success);
    }

    fn on_report(&mut self, server: u32, source: Source, report: &Report, now: Tick) {
        let wanted = match source {
            Source::Scrape => self.inputs.scrape,
            Source::Header => self.inputs.header,
        };
        if wanted {
            self.learn(server, report, now);
        }
    }

    fn on_member(&mut self, server: u32, up: bool, now: Tick) {
        if up {
            self.loads[server as usize].forget(now, &self.pool);
        }
        self.standing.member(server, up, now);
        self.view = self.standing.view(&self.loads, &self.pool);
    }

    fn tick(&mut self, now: Tick) {
        if self.standing.tick(&self.loads, &self.pool, now) {
            self.view = self.standing.view(&self.loads, &self.pool);
        }
        self.view.refresh(now, &mut self.scratch);
    }
}
