//! What one of several balancers makes of what the others say: `lb-core`'s rendezvous, votes and seeds, in the order in which
//! the proxy's control side asks them (`load-balancer/src/control/shared/backends.rs`).

use std::time::Duration;

use lb_core::hash::hash64;
use lb_core::{Tick, rendezvous, votes};

use super::Ours;
use crate::sim::balancer::{Report, Source};
use crate::sim::sharing::{About, Said};

/// Balancers that scrape a server, and after how many intervals and what beside that others do: the product's.
const SCRAPERS: usize = 2;
const PATIENCE: u32 = 4;
const ROUNDS: Duration = Duration::from_secs(2);
/// A balancer that was silent for so long is gone.
const TTL: Duration = Duration::from_secs(10);

/// What is known of the others, and what of each server came from them.
pub(super) struct Sharing {
    /// This balancer; `None` before the first round.
    own: Option<u32>,
    others: Vec<Said>,
    servers: Vec<Server>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Server {
    born: Tick,
    /// The last scrape of one's own, numbered; until a scrape brings nothing.
    scraped: Option<(u64, Report)>,
    brought: u64,
    /// Whose report was taken last, and which.
    relayed: Option<(u32, u64)>,
    relayed_at: Option<Tick>,
}

impl Sharing {
    pub(super) fn new(servers: usize) -> Self {
        Sharing { own: None, others: Vec::new(), servers: vec![Server::default(); servers] }
    }

    /// A scrape of one's own brought this.
    pub(super) fn brought(&mut self, server: u32, report: &Report) {
        let server = &mut self.servers[server as usize];
        server.brought += 1;
        server.scraped = Some((server.brought, *report));
    }

    /// A scrape brought nothing.
    pub(super) fn missed(&mut self, server: u32) {
        self.servers[server as usize].scraped = None;
    }

    /// A server joins as a new one.
    pub(super) fn born(&mut self, server: u32, now: Tick) {
        self.servers[server as usize] = Server { born: now, ..Server::default() };
    }

    /// Whether this balancer asks the server itself.
    pub(super) fn scrapes(&self, at: u32, interval: Duration, now: Tick) -> bool {
        let Some(own) = self.own else { return false };
        let name = |balancer: u32| hash64(format!("balancer-{balancer}").as_bytes());
        let server = &self.servers[at as usize];
        let told = server.relayed_at.unwrap_or(server.born);
        let work = hash64(format!("S{at} 10.0.0.{at}:80").as_bytes());
        rendezvous::chosen(work, name(own), self.others.iter().map(|said| name(said.by)), SCRAPERS)
            || now.since(told) > interval * PATIENCE + ROUNDS
    }
}

impl Ours {
    /// What the others are told.
    pub(super) fn told(&self, now: Tick) -> Option<Vec<About>> {
        let sharing = self.sharing.as_ref()?;
        let about = |(at, meter): (usize, &lb_core::capacity::Meter)| About {
            ejected: self.standing.ejected(at, now),
            warming: self.standing.warming(at, now),
            rate: meter.estimate(),
            report: sharing.servers[at]
                .scraped
                .filter(|_| sharing.scrapes(at as u32, self.rules.interval, now)),
        };
        Some(self.meters.iter().enumerate().map(about).collect())
    }

    /// Takes in what they said.
    pub(super) fn heard(&mut self, own: u32, said: &[Said], now: Tick) {
        let Some(sharing) = &mut self.sharing else { return };
        if sharing.own.replace(own).is_none() {
            (0..sharing.servers.len()).for_each(|at| sharing.born(at as u32, now));
        }
        let others = said.iter().filter(|said| said.by != own && now.since(said.at) < TTL);
        sharing.others = others.cloned().collect();
        let others = sharing.others.clone();
        let mut changed = false;
        for at in 0..self.loads.len() {
            let born = self.sharing.as_ref().map_or(now, |sharing| sharing.servers[at].born);
            let ages = others.iter().filter_map(|said| Some(said.about[at].warming? + now.since(said.at)));
            if let Some(oldest) = ages.max() {
                self.standing.follow_warmth(at, oldest, ROUNDS, born, now);
            }
            self.follow_report(at, &others, now);
            self.meters[at].seed(now, others.iter().filter_map(|said| said.about[at].rate));
            let names: Vec<String> = others.iter().map(|said| said.by.to_string()).collect();
            let left = |said: &Said| said.about[at].ejected?.checked_sub(now.since(said.at));
            let cast = names.iter().zip(&others).filter_map(|(by, said)| Some((by.as_str(), left(said)?)));
            if let Some(left) = votes::adopted(cast) {
                changed |= self.standing.follow_ejection(at, left, now);
            }
        }
        if changed {
            self.look_again();
        }
    }

    /// Takes the latest report of somebody who scrapes this server, where this balancer does not.
    fn follow_report(&mut self, at: usize, others: &[Said], now: Tick) {
        let Some(sharing) = &mut self.sharing else { return };
        let scrapes = sharing.scrapes(at as u32, self.rules.interval, now);
        let server = &mut sharing.servers[at];
        let reports = || others.iter().filter_map(|said| Some((said.by, said.about[at].report?)));
        // One source as long as it tells.
        let same = |by: u32| server.relayed.is_some_and(|(from, _)| from == by);
        let Some((by, (count, report))) = reports().find(|(by, _)| same(*by)).or_else(|| reports().next())
        else {
            return;
        };
        if server.relayed == Some((by, count)) {
            return;
        }
        (server.relayed, server.relayed_at) = (Some((by, count)), Some(now));
        if !scrapes {
            self.take(at as u32, Source::Scrape, &report, true, now);
        }
    }
}
