//! Keeping the number of replicas: what has died is replaced under a fresh name, crash loops are slowed down, and where
//! scaling is on the number follows the load.
//!
//! The number is never stored: it is the members there are, those starting and those the pool is short of. Whoever dies
//! leaves an order behind, so nothing can be forgotten between a death and its replacement.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use lb_core::Tick;
use lb_core::backoff::Backoff;
use lb_core::fact::Fact;
use lb_core::membership::fresh_name;
use lb_core::scale::Scaler;
use tokio::sync::watch;
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

/// Replicas started at once: a machine that starts a hundred at a time starts none of them soon.
const STARTS_AT_ONCE: usize = 16;
/// How long a replica that has never passed a check may take to begin, beyond `replicas.replace_after`.
const START_GRACE: Duration = Duration::from_secs(60);
/// Tries to stop a replica, with pauses in between, before it is left to the next start.
const STOP_TRIES: u32 = 5;
/// Longest wait at the end for replicas that are just being stopped.
const LAST_STOPS: Duration = Duration::from_secs(10);

/// Replicas on their way out, each with what closes when it has gone.
type Stopping = Rc<RefCell<BTreeMap<String, watch::Receiver<()>>>>;

/// What is known about replicas beyond their entries.
pub(super) struct Supply {
    provider: Option<Rc<dyn Provider>>,
    /// What ran at the start has been found and taken over: before that nothing is started.
    adopted: bool,
    /// The pool is short of these.
    pub(super) missing: VecDeque<Order>,
    /// Those of them that are being started.
    starting: Vec<Order>,
    /// Being started for somebody who waits: members once all of them run, else nothing.
    requested: Vec<Order>,
    stopping: Stopping,
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
            adopted: false,
            missing: VecDeque::new(),
            starting: Vec::new(),
            requested: Vec::new(),
            stopping: Rc::default(),
            stillborn: Vec::new(),
            failures: 0,
            next_try: now,
            scaler: Scaler::new(),
            last_scaled: now,
            wanted: config.replicas.provider.starts(),
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

    /// The pool is not short of this one after all. If it is just being started, it will be stopped.
    pub(super) fn cancel(&mut self, name: &str) {
        self.missing.retain(|order| order.name != name);
        self.starting.retain(|order| order.name != name);
    }

    /// Somebody waits for replicas to start, or some are just being started.
    pub(super) fn is_asked(&self) -> bool {
        !self.requested.is_empty() || !self.starting.is_empty()
    }

    /// Nothing more to wait for at the start: all there, or failing.
    pub(super) fn settled(&self) -> bool {
        !self.wanted || (self.adopted && self.orders().next().is_none()) || self.failures > 0
    }
}

impl Control {
    /// Has the provider find what runs already; [`Control::adopted`] goes on from there.
    pub(super) fn start_supply(&mut self, provider: Option<Rc<dyn Provider>>) {
        self.supply.provider = provider;
        self.find_running();
    }

    fn find_running(&self) {
        let (Some(provider), Some(events)) = (self.supply.provider(), self.events.clone()) else { return };
        tokio::task::spawn_local(async move {
            // Nobody listens any more: the process is ending.
            let _ = events.send(Event::Adopted(provider.adopt().await));
        });
    }

    /// Takes over what runs already. Where that cannot be found out, it is asked again later: starting replicas beside
    /// ones that may be there would double them.
    pub(super) fn adopted(&mut self, running: Result<Vec<Replica>, String>) -> bool {
        match running {
            Ok(running) => {
                self.supply.adopted = true;
                running.into_iter().for_each(|replica| self.adopt(replica));
            }
            Err(reason) => self.failed_to_start(reason),
        }
        true
    }

    fn failed_to_start(&mut self, reason: String) {
        self.stumble(self.clock.now());
        let next_try_seconds = PAUSES.wait(self.supply.failures).as_secs_f64();
        self.tell(Fact::ReplicaFailed { reason, next_try_seconds });
    }

    /// A replica of ours runs already: welcome where it is missed, else an orphan to be ended.
    fn adopt(&mut self, replica: Replica) {
        match self.supply.missing.iter().position(|order| order.name == replica.name) {
            Some(at) => {
                if let Some(order) = self.supply.missing.remove(at) {
                    self.join_replica(&order, &replica, Duration::ZERO, false);
                }
            }
            // A predecessor still has it: it drains there, and is ended there.
            None if self.awaited => {}
            None => self.stop_replica(replica.name),
        }
    }

    fn join_replica(&mut self, order: &Order, replica: &Replica, took: Duration, added: bool) {
        let address = Address::Ip(replica.address);
        self.tell(Fact::ReplicaStarted {
            replica: order.name.clone(),
            address: address.to_string(),
            milliseconds: took.as_millis() as u64,
        });
        // It may have announced itself before its start was reported.
        let same = |e: &Entry| e.origin == Origin::Registered && e.backend.address == address;
        if let Some(at) = self.entries.iter().position(same) {
            self.drop_entry(at);
        }
        let at = self.join(Origin::Replica, &order.name, address, order.weight, &order.region);
        self.entries[at].added = added;
        self.count_joined(at);
    }

    /// What is due at `now`: replicas that hang are replaced, the number is scaled, missing ones are started.
    pub(super) fn keep_number(&mut self, now: Tick) -> bool {
        // A successor keeps it: two would start two of each.
        if self.supply.provider.is_none() || self.held {
            return false;
        }
        if !self.supply.adopted {
            if self.supply.failures > 0 && now >= self.supply.next_try {
                self.supply.next_try = now.after(PAUSES.longest);
                self.find_running();
            }
            return false;
        }
        let mut changed = self.replace_hung(now);
        if now.since(self.supply.last_scaled) >= SCALING_PERIOD {
            self.supply.last_scaled = now;
            changed |= self.scale(now);
            let doubtful = |e: &Entry| {
                e.origin == Origin::Replica && (now.since(e.born) < SHORT_LIFE || e.down_since.is_some())
            };
            // A loop of deaths is short of somebody all the time, if only of one that is just being started.
            if self.supply.orders().next().is_none() && !self.entries.iter().any(doubtful) {
                self.supply.failures = 0;
            }
        }
        while now >= self.supply.next_try && self.supply.starting.len() < STARTS_AT_ONCE {
            let Some(order) = self.supply.missing.pop_front() else { break };
            // Members stand in the order in which they were called for, whoever is ready first.
            let number = self.next_ordinal;
            let given = *self.remembered.entry(order.name.clone()).or_insert(number);
            self.next_ordinal = self.next_ordinal.max(given + 1);
            self.create(vec![order], None);
        }
        changed
    }

    /// Replaces a replica whose checks have failed for too long. Where most of them fail, the fault is more likely theirs
    /// in common than each one's own (a database, the checks themselves): then one at a time, ever more slowly.
    fn replace_hung(&mut self, now: Tick) -> bool {
        let staying = |e: &&Entry| e.origin == Origin::Replica && e.leaving.is_none();
        let limit = self.config.replicas.replace_after;
        let hung = |e: &Entry| {
            let grace = if e.was_up { Duration::ZERO } else { START_GRACE };
            staying(&e) && e.down_since.is_some_and(|since| now.since(since) >= limit + grace)
        };
        let Some(at) = self.entries.iter().position(hung) else { return false };
        let total = self.entries.iter().filter(staying).count();
        let down = self.entries.iter().filter(staying).filter(|e| e.down_since.is_some()).count();
        if down * 2 > total && now < self.supply.next_try {
            return false;
        }
        self.stumble(now);
        let entry = &self.entries[at];
        let (replica, weight, region) =
            (entry.backend.name.clone(), entry.backend.weight, entry.backend.region.clone());
        self.tell(Fact::ReplicaDied {
            replica: replica.clone(),
            reason: format!("failed its checks for {limit:?}"),
        });
        self.leave(&replica, false);
        self.call_for(weight, region);
        true
    }

    /// Has the provider start replicas; [`Event::Created`] tells what came of it.
    pub(super) fn create(&mut self, orders: Vec<Order>, asked: Option<Waiting>) {
        let (Some(provider), Some(events)) = (self.supply.provider(), self.events.clone()) else { return };
        let under_way = if asked.is_some() { &mut self.supply.requested } else { &mut self.supply.starting };
        under_way.extend(orders.iter().cloned());
        let (clock, stopping) = (self.clock, Rc::clone(&self.supply.stopping));
        tokio::task::spawn_local(async move {
            let began = clock.now();
            let results = start_all(&provider, &stopping, orders).await;
            let created = Created { results, took: clock.now().since(began), asked };
            // Nobody listens any more: the process is ending, and its provider stops everything.
            let _ = events.send(Event::Created(created));
        });
    }

    pub(super) fn created(&mut self, created: Created) -> bool {
        let Created { mut results, took, asked } = created;
        for (order, result) in &mut results {
            let dead = self.supply.stillborn.iter().position(|death| death.name == order.name);
            if let Some(at) = dead {
                *result = Err(format!("it ended at once: {}", self.supply.stillborn.remove(at).reason));
            }
            let taken = |e: &Entry| e.leaving.is_none() && e.backend.name == order.name;
            if result.is_ok() && self.entries.iter().any(taken) {
                self.came_second(order, result, asked.is_some());
            }
        }
        match asked {
            Some(waiting) => self.created_for(waiting, results, took),
            None => self.created_missing(results, took),
        }
        true
    }

    /// Another balancer has brought in one of this name meanwhile: ours goes, and where nobody waits for just this name,
    /// another comes.
    fn came_second(&mut self, order: &Order, result: &mut Result<Replica, String>, asked: bool) {
        if asked {
            self.stop_replica(order.name.clone());
            *result = Err("another balancer has added one of that name".to_owned());
        } else {
            self.supply.cancel(&order.name);
            self.call_for(order.weight, order.region.clone());
        }
    }

    /// Somebody waits for these: all of them join, or none.
    fn created_for(&mut self, waiting: Waiting, results: Vec<Started>, took: Duration) {
        self.supply.requested.retain(|order| !results.iter().any(|(done, _)| done.name == order.name));
        let Waiting { asker, kept } = waiting;
        let fault =
            results.iter().find_map(|(order, r)| Some(format!("{}: {}", order.name, r.as_ref().err()?)));
        let answer = match fault {
            Some(reason) => {
                kept.iter().for_each(|name| self.leave(name, true));
                for (order, _) in results.into_iter().filter(|(_, r)| r.is_ok()) {
                    self.stop_replica(order.name);
                }
                Err(Refused::Failed(reason))
            }
            None => {
                for (order, result) in &results {
                    if let Ok(replica) = result {
                        self.join_replica(order, replica, took, true);
                    }
                }
                Ok(self.names())
            }
        };
        self.answer(asker, answer);
    }

    /// The pool was short of these: whoever has started joins, the others are tried again.
    fn created_missing(&mut self, results: Vec<Started>, took: Duration) {
        for (order, result) in results {
            let awaited = self.supply.starting.iter().position(|starting| starting.name == order.name);
            let Some(at) = awaited else {
                // Called off meanwhile.
                if result.is_ok() {
                    self.stop_replica(order.name);
                }
                continue;
            };
            self.supply.starting.remove(at);
            match result {
                Ok(replica) => self.join_replica(&order, &replica, took, false),
                Err(reason) => {
                    self.failed_to_start(format!("{}: {reason}", order.name));
                    self.supply.missing.push_back(order);
                }
            }
        }
    }

    /// A replica ended by itself.
    pub(super) fn replica_died(&mut self, death: Death) -> bool {
        let ours = |e: &Entry| e.origin == Origin::Replica && e.backend.name == death.name;
        let Some(at) = self.entries.iter().position(ours) else {
            let mut started = self.supply.starting.iter().chain(&self.supply.requested);
            if started.any(|order| order.name == death.name) {
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
            self.call_for(weight, region);
        }
    }

    fn stumble(&mut self, now: Tick) {
        self.supply.failures += 1;
        self.supply.next_try = now.after(PAUSES.wait(self.supply.failures));
    }

    /// The pool is short of one more replica, whatever its name.
    pub(super) fn call_for(&mut self, weight: u32, region: String) {
        let name = self.fresh_name();
        self.supply.missing.push_back(Order { name, weight, region });
    }

    fn fresh_name(&mut self) -> String {
        let taken: Vec<String> =
            self.entries.iter().map(|e| e.backend.name.clone()).chain(self.supply.spoken_for()).collect();
        fresh_name(|name| taken.iter().any(|t| t == name), &mut self.rng)
    }

    /// Has the provider stop one, in its own time.
    pub(super) fn stop_replica(&self, name: String) {
        let Some(provider) = self.supply.provider() else { return };
        let (gone, going) = watch::channel(());
        let stopping = Rc::clone(&self.supply.stopping);
        stopping.borrow_mut().insert(name.clone(), going);
        tokio::task::spawn_local(async move {
            for tries in 1..=STOP_TRIES {
                match provider.remove(&name).await {
                    Ok(()) => break,
                    Err(error) => {
                        tracing::error!(replica = name, tries, error, "a replica cannot be stopped");
                    }
                }
                tokio::time::sleep(PAUSES.wait(tries)).await;
            }
            stopping.borrow_mut().remove(&name);
            drop(gone);
        });
    }

    /// The end: what is just being stopped is waited for, the rest is stopped now.
    pub(super) async fn end_supply(&self) {
        let Some(provider) = self.supply.provider() else { return };
        let stopping: Vec<_> = self.supply.stopping.borrow().values().cloned().collect();
        let stopped = async {
            for mut going in stopping {
                // Nothing is ever sent: the error is the end.
                let _ = going.changed().await;
            }
        };
        // Who takes longer is left to the next start.
        let _ = tokio::time::timeout(LAST_STOPS, stopped).await;
        if self.awaited {
            // What was taken over is the predecessor's as before.
            provider.release();
        }
        provider.shutdown().await;
    }

    /// Follows the load where scaling is on.
    fn scale(&mut self, now: Tick) -> bool {
        let Some(scaling) = self.config.replicas.scaling else { return false };
        let serving = |e: &&Entry| e.origin == Origin::Replica && e.leaving.is_none();
        let mut serves = self.entries.iter().filter(serving).count() as u32;
        let coming = (self.supply.orders().count() + self.supply.requested.len()) as u32;
        let (have, in_flight) = (serves + coming, self.pool.in_flight());
        let Some(want) = self.supply.scaler.observe(now, in_flight, have, &scaling) else { return false };
        self.tell(Fact::Scaled { from: have, to: want, in_flight: self.supply.scaler.in_flight() });
        for _ in have..want {
            let replicas = &self.config.replicas;
            self.call_for(replicas.weight, replicas.region.clone());
        }
        for _ in want..have {
            // Whoever has not started yet goes first; nobody who serves goes for one that may never.
            if self.supply.missing.pop_back().is_some() || serves <= want {
                continue;
            }
            let failing = self.entries.iter().filter(serving).rfind(|e| e.down_since.is_some());
            if let Some(entry) = failing.or_else(|| self.entries.iter().rfind(serving)) {
                let name = entry.backend.name.clone();
                self.leave(&name, false);
                serves -= 1;
            }
        }
        self.unsaved = true;
        true
    }
}

/// What was ordered, and what came of it.
type Started = (Order, Result<Replica, String>);

/// Starts all, side by side, each once a predecessor of its name has gone; results in the order of the orders.
async fn start_all(provider: &Rc<dyn Provider>, stopping: &Stopping, orders: Vec<Order>) -> Vec<Started> {
    let mut tasks = JoinSet::new();
    for (at, order) in orders.iter().cloned().enumerate() {
        let provider = Rc::clone(provider);
        let before = stopping.borrow().get(&order.name).cloned();
        tasks.spawn_local(async move {
            if let Some(mut going) = before {
                // Nothing is ever sent: the error is the end.
                let _ = going.changed().await;
            }
            (at, provider.create(order).await)
        });
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
