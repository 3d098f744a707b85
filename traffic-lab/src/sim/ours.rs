//! Ballast's own decision code in the simulator: `lb-core` itself, put together as the proxy's control side does it.
//!
//! Nothing is decided here: views, loads, ejection and slow start are the product's types, called at the product's
//! intervals. What differs is that one balancer is one worker, and that membership is announced.

mod shared;
mod standing;

use std::sync::Arc;
use std::time::Duration;

use lb_core::capacity::{self, Meter, Rules, Weighed};
use lb_core::locality::{self, Locality, Resident};
use lb_core::{Algorithm, Load, Outcome, Pick, Policy as _, PoolLoad, Tick, Ticket, View, signal};

use super::balancer::{Ask, Balancer, Flight, Report, Source};
use super::policies::Known;
use super::sharing::{About, Said};
use shared::Sharing;
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
    rules: Rules,
    meters: Vec<Meter>,
    /// The zones of the servers, and how dear they are, where there are several.
    zones: Vec<u8>,
    locality: Option<Arc<Locality>>,
    /// What is known of the other balancers, where they share a store.
    sharing: Option<Sharing>,
    weighed: Tick,
    tickets: Vec<Option<Ticket>>,
    scratch: Vec<f32>,
}

/// How often capacities and regions are weighed.
const WEIGH_EVERY: Duration = Duration::from_secs(1);
/// When a report is too old to mean anything, and how far capacities may lie apart: the product's defaults.
const EXPIRY: Duration = Duration::from_secs(180);
const MOST: f64 = 4.0;

impl Ours {
    /// A balancer that has seen nothing.
    pub(crate) fn new(algorithm: Algorithm, inputs: Inputs, known: &Known) -> Self {
        let loads: Vec<_> = (0..known.servers).map(|_| Arc::new(Load::new())).collect();
        let pool = Arc::new(PoolLoad::default());
        let standing = Standing::new(known);
        let zones = known.zones.clone();
        let count = zones.iter().max().map_or(0, |&most| usize::from(most) + 1);
        let locality = (count > 1).then(|| Arc::new(Locality::new(count)));
        let view = standing.view(&loads, &pool, &zones, &locality);
        Ours {
            algorithm,
            inputs,
            meters: vec![Meter::default(); loads.len()],
            loads,
            pool,
            view,
            standing,
            rules: Rules { interval: known.scrape_every, expiry: EXPIRY, most: MOST },
            zones,
            locality,
            sharing: known.store.then(|| Sharing::new(known.servers)),
            weighed: Tick::ZERO,
            tickets: Vec::new(),
            scratch: Vec::new(),
        }
    }

    fn look_again(&mut self) {
        self.view = self.standing.view(&self.loads, &self.pool, &self.zones, &self.locality);
    }

    /// A report has come, from the server or from another balancer that asked it.
    fn take(&mut self, server: u32, source: Source, report: &Report, relayed: bool, now: Tick) {
        let (at, load) = (server as usize, &self.loads[server as usize]);
        let mut told = signal::Report {
            utilization: Some(report.util),
            memory: Some(report.memory),
            in_flight: Some(f64::from(report.in_flight)),
            ..signal::Report::default()
        };
        match source {
            Source::Scrape if self.inputs.scrape => {
                told.good = Some(report.good as f64);
                let told = told.credible();
                if self.meters[at].scraped(now, &told, load.tallies().good) {
                    if relayed {
                        load.relayed(now, &told);
                    } else {
                        load.scraped(now, &told);
                    }
                }
            }
            Source::Header if self.inputs.header => load.heard(now, &told.credible()),
            Source::Scrape | Source::Header => {}
        }
    }

    /// What the proxy's control side does once a second (`load-balancer/src/control/weights.rs`).
    fn weigh(&mut self, now: Tick) {
        let distances = self.locality.as_ref().map_or(Vec::new(), |locality| {
            let floors = self.zones.iter().zip(&self.loads).filter_map(|(&z, load)| Some((z, load.floor()?)));
            locality::distances(locality.regions(), floors)
        });
        let distance = |zone: u8| distances.get(usize::from(zone)).copied().unwrap_or_default();
        let backends = self.loads.iter().zip(&mut self.meters).zip(&self.zones);
        let mut backends: Vec<Weighed<'_>> = backends
            .map(|((load, meter), &zone)| Weighed { load, meter, distance: distance(zone), ready: true })
            .collect();
        let standings = capacity::weigh(now, &self.rules, &self.pool, &mut backends);
        let Some(locality) = &self.locality else { return };
        let eligible = self.view.eligible().iter().map(|&at| at as usize);
        let resident = |at: usize| Resident::of(self.zones[at], 1.0, &standings[at], &self.meters[at]);
        let residents: Vec<Resident> = eligible.map(resident).collect();
        let regions = locality::regions(&distances, &residents);
        locality.settle(&locality::Rules::default(), f64::from(self.pool.service()), &regions);
    }
}

impl Balancer for Ours {
    fn pick(&mut self, ask: &mut Ask<'_>) -> Option<u32> {
        if let Some(server) = self.standing.trial(ask.tried) {
            return Some(server);
        }
        let region = self.locality.as_ref().and(ask.client.region);
        let (client, key) = (ask.client.address, ask.client.key);
        let mut pick = Pick { client, region, key, tried: ask.tried, rng: ask.rng };
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

    fn trying(&self, flight: &Flight) -> bool {
        self.standing.trying(flight)
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

    /// As the product has it: a client that leaves says nothing of the server.
    fn on_cancel(&mut self, flight: &Flight, _now: Tick) {
        let Some(ticket) = self.tickets[flight.attempt as usize].take() else { return };
        self.loads[flight.server as usize].end(ticket, &self.pool);
        self.standing.cancel(flight);
    }

    fn on_missed(&mut self, server: u32) {
        if self.inputs.scrape {
            self.meters[server as usize].missed();
        }
        if let Some(sharing) = &mut self.sharing {
            sharing.missed(server);
        }
    }

    fn on_report(&mut self, server: u32, source: Source, report: &Report, now: Tick) {
        if let Some(sharing) =
            self.sharing.as_mut().filter(|_| source == Source::Scrape && self.inputs.scrape)
        {
            sharing.brought(server, report);
        }
        self.take(server, source, report, false, now);
    }

    fn tell(&self, now: Tick) -> Option<Vec<About>> {
        self.told(now)
    }

    fn hear(&mut self, own: u32, said: &[Said], now: Tick) {
        self.heard(own, said, now);
    }

    fn scrapes(&self, server: u32, now: Tick) -> bool {
        self.sharing.as_ref().is_none_or(|sharing| sharing.scrapes(server, self.rules.interval, now))
    }

    fn on_member(&mut self, server: u32, up: bool, now: Tick) {
        if up {
            self.loads[server as usize].forget(now, &self.pool);
            self.meters[server as usize].forget();
            if let Some(sharing) = &mut self.sharing {
                sharing.born(server, now);
            }
        }
        self.standing.member(server, up, now);
        self.look_again();
    }

    fn tick(&mut self, now: Tick) {
        if self.standing.tick(&self.loads, &self.pool, now) {
            self.look_again();
        }
        if now.since(self.weighed) >= WEIGH_EVERY {
            self.weighed = now;
            self.weigh(now);
        }
        self.view.refresh(now, &mut self.scratch);
    }
}
