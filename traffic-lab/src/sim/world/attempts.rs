//! An attempt's way: picked, sent, served, returned, and perhaps made again elsewhere.

use std::time::Duration;

use lb_core::backoff::Backoff;
use lb_core::{Cause, Outcome, Tick};

use super::super::agenda::Event;
use super::super::balancer::{Ask, Client, Flight, Truth};
use super::super::draw::{Concern, between};
use super::super::recorded::Played;
use super::super::tally::End;
use super::{Again, Attempt, MILLI, World};

/// One way through the network (ns).
const ONE_WAY: [f64; 2] = [0.4e6, 0.6e6];
/// The wait before a retry of what had been sent: the product's `retry.backoff` and its longest wait.
const RETRY: Backoff = Backoff { first: Duration::from_millis(25), longest: Duration::from_millis(250) };
/// What a full server answers.
const UNAVAILABLE: u16 = 503;
/// Answers that are made again elsewhere: the product's `retry.statuses`.
const RETRIED: [u16; 3] = [502, 503, 504];
/// Bits that tell the attempts of one request apart.
const ATTEMPT_BITS: u32 = 3;

impl World<'_> {
    /// Picks a server for a request and sends it there.
    pub(super) fn send(&mut self, at: u32) {
        let now = self.tick_now();
        let zone_ns = self.cell.zones.round_trip_ms * MILLI as f64;
        let Some(number) = self.requests.get_mut(at).map(|request| request.number) else { return };
        let recorded = self.recorded(number);
        let Some(request) = self.requests.get_mut(at) else { return };
        let (balancer, work) = (request.balancer, request.work);
        let seat = &mut self.seats[balancer as usize];
        let mean_work = self.cell.service.mean_ms() * MILLI as f64;
        let truth = Truth { servers: &self.servers, mean_work, zone_ns };
        let picked = seat.policy.pick(&mut Ask {
            now,
            rng: &mut seat.rng,
            up: &self.up,
            tried: &request.tried,
            client: recorded.map_or(Client::of(seat.zone as u8), |arrival| arrival.client()),
            truth,
            probes: &mut self.probes,
        });
        let Some(server) = picked else { return self.finish(at, End::Failed) };
        let cross = self.servers[server as usize].zone != seat.zone;
        let zone = if cross { zone_ns / 2.0 } else { 0.0 };
        let item = (request.number << ATTEMPT_BITS) + u64::from(request.attempts);
        let mut network = self.streams.of(Concern::Network, item);
        let mut way = || recorded.map_or_else(|| (between(&mut network, ONE_WAY) + zone) as u64, |r| r.way);
        let (out, back) = (way(), way());
        let attempt = self.attempts.insert(Attempt {
            request: at,
            number: request.number,
            balancer,
            server,
            sent: self.now,
            reached: 0,
            held: 0,
            work,
            back,
            coin: network.unit(),
            outcome: Outcome::Success,
            again: Again::AfterWait,
            report: None,
        });
        request.attempt = attempt;
        request.attempts += 1;
        request.server = Some(server);
        seat.policy.on_start(&Flight { attempt, server, sent: now });
        let to = &mut self.servers[server as usize];
        to.transit.0 += 1;
        to.transit.1 += work;
        let faulty = self.cell.faulty.contains(server);
        self.tally.attempt(self.now, server, (faulty, cross), self.cell.newcomer(balancer));
        self.agenda.at(self.now + out, Event::Reach { attempt });
        self.send_probes(balancer);
    }

    /// An attempt reaches its server, which refuses it, fails it, or takes it.
    pub(super) fn reach(&mut self, at: u32) {
        let Some(attempt) = self.attempts.get_mut(at) else { return };
        let index = attempt.server;
        let server = &mut self.servers[index as usize];
        server.advance(self.now);
        server.transit.0 -= 1;
        server.transit.1 -= attempt.work;
        (attempt.reached, attempt.held) = (self.now, server.held());
        self.tokens[index as usize] = self.tokens[index as usize].saturating_sub(1);
        let refused = if server.down {
            attempt.again = Again::AtOnce;
            Some(Cause::Connect)
        } else if attempt.coin < server.failing || server.held() >= server.limit {
            server.bad += 1;
            let status = if attempt.coin < server.failing { server.status } else { UNAVAILABLE };
            attempt.again = if RETRIED.contains(&status) { Again::AfterWait } else { Again::Never };
            Some(Cause::Status)
        } else {
            None
        };
        if let Some(cause) = refused {
            return self.reply(at, Outcome::Failure(cause), 0.0);
        }
        server.admit(at, attempt.work);
        self.replan(index);
    }

    /// Sends an attempt's answer on its way; `service_ns` is what its work alone took.
    fn reply(&mut self, at: u32, outcome: Outcome, service_ns: f64) {
        let header = self.policy.header;
        let Some(attempt) = self.attempts.get_mut(at) else { return };
        attempt.outcome = outcome;
        let (server, back) = (attempt.server, attempt.back);
        self.agenda.at(self.now + back, Event::Return { attempt: at });
        if header && outcome == Outcome::Success {
            let report = self.header(server, service_ns);
            self.attempts.get_mut(at).into_iter().for_each(|attempt| attempt.report = Some(report));
        }
        if self.policy.tokens {
            self.offer_tokens(server);
        }
    }

    /// A server may be done with something.
    pub(super) fn depart(&mut self, index: u32) {
        if self.servers[index as usize].planned != self.now {
            // Something came in between: another event is planned.
            return;
        }
        let server = &mut self.servers[index as usize];
        server.planned = u64::MAX;
        server.advance(self.now);
        while let Some(at) = self.servers[index as usize].done() {
            let Some(attempt) = self.attempts.get_mut(at) else { continue };
            let server = &mut self.servers[index as usize];
            server.good += 1;
            server.remember(attempt.held, ((self.now - attempt.reached) / 1_000) as u32);
            let (request, number, work) = (attempt.request, attempt.number, attempt.work);
            let wanted =
                self.requests.get_mut(request).is_some_and(|r| r.number == number && r.attempt == at);
            self.tally.work(self.now, work, !wanted);
            let server = &self.servers[index as usize];
            // A pause may begin at the very nanosecond.
            let speed = if server.pauses > 0 { server.built } else { server.speed() };
            self.reply(at, Outcome::Success, work / speed);
        }
        self.replan(index);
    }

    /// Plans a server's next completion, unless an earlier look at it is planned already.
    pub(super) fn replan(&mut self, index: u32) {
        let server = &mut self.servers[index as usize];
        if let Some(next) = server.next_done().filter(|&next| next < server.planned) {
            server.planned = next;
            self.agenda.at(next, Event::Depart { server: index });
        }
    }

    /// A server crashes: what it held breaks off.
    pub(super) fn lose(&mut self, server: u32) {
        for attempt in self.servers[server as usize].crash() {
            self.reply(attempt, Outcome::Failure(Cause::Reset), 0.0);
        }
    }

    /// An answer reaches its balancer.
    pub(super) fn back(&mut self, at: u32) {
        let Some(attempt) = self.attempts.remove(at) else { return };
        let now = self.tick_now();
        let wanted = |number, current| number == attempt.number && current == at;
        let Some(request) = self.requests.get_mut(attempt.request).filter(|r| wanted(r.number, r.attempt))
        else {
            return;
        };
        let seat = &mut self.seats[attempt.balancer as usize];
        let flight = Flight { attempt: at, server: attempt.server, sent: Tick::from_nanos(attempt.sent) };
        if let Some(report) = &attempt.report {
            seat.policy.on_report(attempt.server, super::super::balancer::Source::Header, report, now);
        }
        let trial = seat.policy.trying(&flight);
        seat.policy.on_end(&flight, attempt.outcome, now);
        if attempt.outcome == Outcome::Success {
            let micros = (self.now - request.arrived) / 1_000;
            return self.finish(attempt.request, End::Good(micros));
        }
        request.tried.insert(attempt.server);
        let more = (trial || attempt.again != Again::Never) && request.attempts <= self.cell.retries;
        if !more || !seat.budget.withdraw(now) {
            return self.finish(attempt.request, End::Failed);
        }
        if attempt.again == Again::AtOnce {
            return self.send(attempt.request);
        }
        let wait = RETRY.jittered(request.attempts, &mut seat.network).as_nanos() as u64;
        let (request, number) = (attempt.request, attempt.number);
        self.agenda.at(self.now + wait, Event::Again { request, number });
    }

    /// A retry has waited long enough, unless its client has gone meanwhile.
    pub(super) fn again(&mut self, at: u32, number: u64) {
        if self.requests.get_mut(at).is_some_and(|request| request.number == number) {
            self.send(at);
        }
    }

    /// A client gives up, if its request is not over. The server works on.
    pub(super) fn deadline(&mut self, at: u32, number: u64) {
        let now = self.tick_now();
        let Some(request) = self.requests.get_mut(at).filter(|r| r.number == number) else { return };
        // Between two attempts its number may be another's.
        if let Some(attempt) = self.attempts.get_mut(request.attempt).filter(|a| a.number == number) {
            let sent = Tick::from_nanos(attempt.sent);
            let flight = Flight { attempt: request.attempt, server: attempt.server, sent };
            let seat = &mut self.seats[request.balancer as usize];
            seat.policy.on_cancel(&flight, now);
        }
        self.finish(at, End::Missed);
    }

    fn finish(&mut self, at: u32, end: End) {
        if let Some(request) = self.requests.remove(at) {
            let newcomer = self.cell.newcomer(request.balancer);
            self.tally.request(request.arrived, end, request.work, newcomer);
            if let Some(played) = self.played.get_mut(request.number as usize) {
                *played = Played { server: request.server, took: self.now - request.arrived, end };
            }
        }
    }
}
