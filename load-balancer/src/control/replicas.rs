//! Keeping the number of replicas: what has died is replaced under a fresh name, crash loops are slowed down, and where
//! scaling is on the number follows the load.
//!
//! The number is never stored: it is the members there are, those starting and those the pool is short of. Whoever dies
//! leaves an order behind, so nothing can be forgotten between a death and its replacement.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use lb_core::Tick;
use lb_core::backoff::Backoff;
use lb_core::fact::Fact;
use lb_core::membership::fresh_name;
use lb_core::scale::Scaler;
use tokio::task::JoinSet;

use super::Control;
use super::entry::{Entry, Origin};
use crate::config::{Address, Config};
use crate::event::{Created, Event, Refused, Waiting};
use crate::provision::{Death, Order, Provider, Replica};

/// A replica that dies younger than this may be in a crash loop.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// Pauses before the replacement of what keeps dying or does not start.
const PAUSES: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(60) };
/// Between two looks at the load for scaling.
const SCALING_PERIOD: Duration = Duration::from_secs(1);

/// What is known about replicas beyond their entries.
pub(super) struct Supply {
    provider: Option<Rc<dyn Provider>>,
    /// The pool is short of these.
    pub(super) missing: VecDeque<Order>,
    /// Those of them that are being started.
    starting: Vec<Order>,
    /// Being started for somebody who waits: members once all of them run, else nothing.
    requested: Vec<Order>,
    /// Started and dead before they could join.
    stillborn: Vec<Death>,
    /// Starts that failed and short lives, in a row.
    failures: u32,
    next_try: Tick,
    scaler: Scaler,
    last_scaled: Tick,
    wanted: bool,
}

impl Supply {
    pub(super) fn new(config: &Config, now: Tick) -> Self {
        Supply {
            provider: None,
            missing: VecDeque::new(),
            starting: Vec::new(),
            requested: Vec::new(),
            stillborn: Vec::new(),
            failures: 0,
            next_try: now,
            scaler: Scaler::new(),
            last_scaled: now,
            wanted: config.replicas.provider != crate::config::Provider::Static,
        }
    }

    pub(super) fn provider(&self) -> Option<Rc<dyn Provider>> {
        self.provider.clone()
    }

    /// Names that are spoken for.
    pub(super) fn spoken_for(&self) -> impl Iterator<Item = String> + '_ {
        self.orders().chain(&self.requested).map(|order| order.name.clone())
    }

    /// What the pool is short of: being started, or to be started.
    pub(super) fn orders(&self) -> impl Iterator<Item = &Order> {
        self.starting.iter().chain(&self.missing)
    }

    /// Nothing more to wait for at the start: all there, or failing.
    pub(super) fn settled(&self) -> bool {
        !self.wanted || (self.provider.is_some() && self.orders().next().is_none()) || self.failures > 0
    }
}

impl Control {
    /// Takes over what runs already and starts what is missing.
    pub(super) async fn start_supply(&mut self, provider: Option<Rc<dyn Provider>>) {
        let Some(provider) = provider else { return };
        self.supply.provider = Some(Rc::clone(&provider));
        match provider.adopt().await {
            Ok(running) => running.into_iter().for_each(|replica| self.adopt(replica)),
            Err(reason) => self.tell(Fact::ReplicaFailed { reason, next_try_seconds: 0.0 }),
        }
        self.rederive(false);
        self.publish();
        self.keep_number(self.clock.now());
    }

    /// A replica of ours runs already: welcome where it is missed, else an orphan to be ended.
    fn adopt(&mut self, replica: Replica) {
        match self.supply.missing.iter().position(|order| order.name == replica.name) {
            Some(at) => {
                if let Some(order) = self.supply.missing.remove(at) {
                    self.join_replica(&order, &replica, Duration::ZERO);
                }
            }
            None => self.stop_replica(replica.name),
        }
    }

    fn join_replica(&mut self, order: &Order, replica: &Replica, took: Duration) {
        let address = Address::Ip(replica.address);
        self.tell(Fact::ReplicaStarted {
            replica: order.name.clone(),
            address: address.to_string(),
            milliseconds: took.as_millis() as u64,
        });
        self.join(Origin::Replica, &order.name, address, order.weight, &order.region);
    }

    /// What is due at `now`: dead-alive replicas are replaced, the number is scaled, missing ones are started.
    pub(super) fn keep_number(&mut self, now: Tick) {
        if self.supply.provider.is_none() {
            return;
        }
        let limit = self.config.replicas.replace_after;
        let hung = |e: &Entry| {
            e.origin == Origin::Replica
                && e.leaving.is_none()
                && e.down_since.is_some_and(|since| now.since(since) >= limit)
        };
        if let Some(at) = self.entries.iter().position(hung) {
            let name = self.entries[at].backend.name.clone();
            self.bury(at, format!("failed its checks for {limit:?}"), now);
            self.stop_replica(name);
            self.publish();
        }
        if now.since(self.supply.last_scaled) >= SCALING_PERIOD {
            self.supply.last_scaled = now;
            self.scale(now);
            let young = |e: &Entry| e.origin == Origin::Replica && now.since(e.born) < SHORT_LIFE;
            // A loop of deaths is short of somebody all the time, if only of one that is just being started.
            if self.supply.orders().next().is_none() && !self.entries.iter().any(young) {
                self.supply.failures = 0;
            }
        }
        if now >= self.supply.next_try && !self.supply.missing.is_empty() {
            let orders = self.supply.missing.drain(..).collect();
            self.create(orders, None);
        }
        self.metrics.replicas_missing.with_label_values(&[self.metrics.pool.as_str()]).set(
            // Far below 2⁶³.
            self.supply.orders().count() as i64,
        );
    }

    /// Has the provider start replicas, all at once; [`Event::Created`] tells what came of it.
    pub(super) fn create(&mut self, orders: Vec<Order>, asked: Option<Waiting>) {
        let (Some(provider), Some(events)) = (self.supply.provider(), self.events.clone()) else { return };
        let under_way = if asked.is_some() { &mut self.supply.requested } else { &mut self.supply.starting };
        under_way.extend(orders.iter().cloned());
        let clock = self.clock;
        tokio::task::spawn_local(async move {
            let began = clock.now();
            let results = start_all(&provider, orders).await;
            let created = Created { results, took: clock.now().since(began), asked };
            // Nobody listens any more: the process is ending, and its provider stops everything.
            let _ = events.send(Event::Created(created));
        });
    }

    pub(super) fn created(&mut self, created: Created) -> bool {
        let Created { mut results, took, asked } = created;
        let under_way = if asked.is_some() { &mut self.supply.requested } else { &mut self.supply.starting };
        under_way.retain(|order| !results.iter().any(|(done, _)| done.name == order.name));
        for (order, result) in &mut results {
            let dead = self.supply.stillborn.iter().position(|death| death.name == order.name);
            if let Some(at) = dead {
                *result = Err(format!("it ended at once: {}", self.supply.stillborn.remove(at).reason));
            }
        }
        let fault =
            results.iter().find_map(|(order, r)| Some(format!("{}: {}", order.name, r.as_ref().err()?)));
        match (asked, fault) {
            (Some(Waiting { asker, kept }), Some(reason)) => {
                kept.iter().for_each(|name| self.leave(name, true));
                self.rederive(false);
                for (order, _) in results.into_iter().filter(|(_, r)| r.is_ok()) {
                    self.stop_replica(order.name);
                }
                self.answer(asker, Err(Refused::Failed(reason)));
                return true;
            }
            (Some(Waiting { asker, .. }), None) => {
                self.join_started(&results, took);
                let names = self.names();
                self.answer(asker, Ok(names));
            }
            (None, fault) => {
                self.join_started(&results, took);
                let failed = results.into_iter().filter(|(_, r)| r.is_err()).map(|(order, _)| order);
                self.supply.missing.extend(failed);
                if let Some(reason) = fault {
                    self.stumble(self.clock.now());
                    let next_try_seconds = PAUSES.wait(self.supply.failures).as_secs_f64();
                    self.tell(Fact::ReplicaFailed { reason, next_try_seconds });
                }
            }
        }
        self.rederive(false);
        self.save();
        true
    }

    fn join_started(&mut self, results: &[(Order, Result<Replica, String>)], took: Duration) {
        for (order, result) in results {
            if let Ok(replica) = result {
                self.join_replica(order, replica, took);
            }
        }
    }

    /// A replica ended by itself.
    pub(super) fn replica_died(&mut self, death: Death) -> bool {
        let ours = |e: &Entry| e.origin == Origin::Replica && e.backend.name == death.name;
        let Some(at) = self.entries.iter().position(ours) else {
            if self.supply.spoken_for().any(|name| name == death.name) {
                self.supply.stillborn.push(death);
            }
            return false;
        };
        self.bury(at, death.reason, self.clock.now());
        true
    }

    /// Takes a dead replica out and orders another in its place, unless it was leaving anyway.
    fn bury(&mut self, at: usize, reason: String, now: Tick) {
        let entry = &self.entries[at];
        let (leaving, young) = (entry.leaving.is_some(), now.since(entry.born) < SHORT_LIFE);
        let (replica, weight, region) =
            (entry.backend.name.clone(), entry.backend.weight, entry.backend.region.clone());
        if !leaving {
            self.tell(Fact::ReplicaDied { replica, reason });
        }
        self.drop_entry(at);
        if !leaving {
            if young {
                self.stumble(now);
            } else {
                self.supply.failures = 0;
                self.supply.next_try = now;
            }
            let name = self.fresh_name();
            self.supply.missing.push_back(Order { name, weight, region });
        }
        self.rederive(false);
        self.save();
    }

    fn stumble(&mut self, now: Tick) {
        self.supply.failures += 1;
        self.supply.next_try = now.after(PAUSES.wait(self.supply.failures));
    }

    fn fresh_name(&mut self) -> String {
        let taken: Vec<String> =
            self.entries.iter().map(|e| e.backend.name.clone()).chain(self.supply.spoken_for()).collect();
        fresh_name(|name| taken.iter().any(|t| t == name), &mut self.rng)
    }

    /// Has the provider stop one, in its own time.
    pub(super) fn stop_replica(&self, name: String) {
        if let Some(provider) = self.supply.provider() {
            tokio::task::spawn_local(async move {
                if let Err(error) = provider.remove(&name).await {
                    tracing::error!(replica = name, error, "a replica cannot be stopped");
                }
            });
        }
    }

    /// Follows the load where scaling is on.
    fn scale(&mut self, now: Tick) {
        let Some(scaling) = self.config.replicas.scaling else { return };
        let serving = |e: &&Entry| e.origin == Origin::Replica && e.leaving.is_none();
        let have = (self.entries.iter().filter(serving).count() + self.supply.orders().count()) as u32;
        let in_flight = self.pool.in_flight();
        let Some(want) = self.supply.scaler.observe(now, in_flight, have, &scaling) else { return };
        self.tell(Fact::Scaled { from: have, to: want, in_flight: self.supply.scaler.in_flight() });
        for _ in have..want {
            let replicas = &self.config.replicas;
            let (weight, region) = (replicas.weight, replicas.region.clone());
            let name = self.fresh_name();
            self.supply.missing.push_back(Order { name, weight, region });
        }
        for _ in want..have {
            // Whoever has not started yet goes first, then the youngest.
            if self.supply.missing.pop_back().is_none()
                && let Some(entry) = self.entries.iter().rfind(serving)
            {
                let name = entry.backend.name.clone();
                self.leave(&name, false);
            }
        }
        self.rederive(false);
        self.save();
        self.publish();
    }
}

/// Starts all, side by side; results in the order of the orders.
async fn start_all(provider: &Rc<dyn Provider>, orders: Vec<Order>) -> Vec<(Order, Result<Replica, String>)> {
    let mut tasks = JoinSet::new();
    for (at, order) in orders.iter().cloned().enumerate() {
        let provider = Rc::clone(provider);
        tasks.spawn_local(async move { (at, provider.create(order).await) });
    }
    let mut results: Vec<_> = orders
        .into_iter()
        .map(|order| (order, Err("the task that starts it broke off".to_owned())))
        .collect();
    while let Some(done) = tasks.join_next().await {
        if let Ok((at, result)) = done {
            results[at].1 = result;
        }
    }
    results
}
