//! The sending engine: a plan goes in, a run comes out.
//!
//! One thread with one loop: what it does for one request takes some microseconds, so that it is seldom late, and how late
//! it was is in the records. In a closed loop each of `concurrency` tasks sends its next request when its last one has
//! ended; in an open loop each request is a task of its own, begun when it is due whatever became of the others, and its
//! latency counts from then: no coordinated omission.
//! How it fails: only what keeps the first request from being sent is an error; whatever happens to a request is its record.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, ensure};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, timeout_at};

use super::alarm::Alarm;
use super::connection::{Connection, reason};
use super::plan::{Message, Pace, Plan};
use super::watch::Watch;
use super::{descriptors, offset, teller};
use crate::clock::{self, Origin};
use crate::results::{Record, Run, Summary, VERSION};

/// Sends it all, and waits for the last answer.
#[cfg(test)]
pub(crate) fn send(plan: &Plan) -> Result<Run> {
    send_watched(plan, &Arc::default())
}

/// Sends it all, and waits for the last answer; `watch` tells how far it is, and can stop it.
pub(crate) fn send_watched(plan: &Plan, watch: &Arc<Watch>) -> Result<Run> {
    let message = plan.message()?;
    descriptors::make_room(plan.concurrency())?;
    // A thread of its own: a caller may be inside a runtime, where another one cannot be driven.
    std::thread::scope(|scope| {
        let sender = std::thread::Builder::new().name("sender".to_owned());
        let sender = sender.spawn_scoped(scope, || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, run(plan, message, Arc::clone(watch)))
        });
        sender?.join().map_err(|_| anyhow!("the sending thread broke"))?
    })
}

/// What all requests of a run share.
struct Sender {
    plan: Plan,
    message: Message,
    addresses: Vec<SocketAddr>,
    origin: Origin,
    watch: Arc<Watch>,
    /// Number and record of each request that has ended.
    records: RefCell<Vec<(u64, Record)>>,
}

async fn run(plan: &Plan, message: Message, watch: Arc<Watch>) -> Result<Run> {
    let found = tokio::net::lookup_host((message.host.as_str(), message.port)).await;
    let addresses: Vec<SocketAddr> =
        found.with_context(|| format!("the host {:?} is not known", message.host))?.collect();
    ensure!(!addresses.is_empty(), "the host {:?} has no address", message.host);
    let (origin, records) = (Origin::now(), RefCell::default());
    let sender = Rc::new(Sender { plan: plan.clone(), message, addresses, origin, watch, records });
    match plan.pace {
        Pace::Closed => closed(&sender).await?,
        Pace::Open { rate, arrivals } => {
            let times = arrivals.times(rate, plan.seed).map(|after| origin.at.checked_add(after));
            open(&sender, times).await?;
        }
    }
    let mut records = sender.records.take();
    records.sort_unstable_by_key(|(number, _)| *number);
    let records: Vec<Record> = records.into_iter().map(|(_, record)| record).collect();
    let started = origin.unix(origin.at);
    let id = plan.id.clone().unwrap_or_else(|| format!("run-{:.0}-{}", started * 1e3, std::process::id()));
    Ok(Run {
        version: VERSION,
        id,
        title: plan.title.clone(),
        target: plan.url.clone(),
        started,
        sending: plan.sending(),
        clock: offset::estimate(&records),
        summary: Summary::of(&records),
        records,
    })
}

async fn closed(sender: &Rc<Sender>) -> Result<()> {
    let next = Rc::new(Cell::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..sender.plan.concurrency() {
        let (sender, next) = (Rc::clone(sender), Rc::clone(&next));
        tasks.spawn_local(async move {
            let mut connection = None;
            while sender.goes_on(next.get(), clock::now()) {
                let number = next.replace(next.get() + 1);
                sender.one(number, None, &mut connection).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done?;
    }
    Ok(())
}

async fn open(sender: &Rc<Sender>, times: impl Iterator<Item = Option<Instant>>) -> Result<()> {
    let alarm = Alarm::new().context("no timer")?;
    let room = Rc::new(Semaphore::new(sender.plan.concurrency().min(Semaphore::MAX_PERMITS)));
    let idle = Rc::new(RefCell::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for (number, due) in (0..).zip(times) {
        let Some(due) = due.filter(|due| sender.goes_on(number, *due)) else { break };
        tokio::select! {
            biased;
            () = sender.watch.stopping() => break,
            rung = alarm.until(due) => rung?,
        }
        let (sender, room, idle) = (Rc::clone(sender), Rc::clone(&room), Rc::clone(&idle));
        tasks.spawn_local(async move {
            let Ok(Ok(_room)) = timeout_at(due + sender.plan.timeout, room.acquire()).await else {
                sender.never_sent(number, due);
                return;
            };
            let mut connection = idle.borrow_mut().pop();
            sender.one(number, Some(due), &mut connection).await;
            idle.borrow_mut().extend(connection);
        });
        while let Some(done) = tasks.try_join_next() {
            done?;
        }
    }
    while let Some(done) = tasks.join_next().await {
        done?;
    }
    Ok(())
}

impl Sender {
    /// Whether request `number` is still to be sent at `at`.
    fn goes_on(&self, number: u64, at: Instant) -> bool {
        self.plan.requests.is_none_or(|requests| number < requests)
            && self
                .plan
                .duration
                .is_none_or(|duration| at.saturating_duration_since(self.origin.at) < duration)
            && !self.watch.is_stopped()
    }

    /// One request, and its record. A connection that is left for the next one stays in `connection`.
    async fn one(&self, number: u64, due: Option<Instant>, connection: &mut Option<Connection>) {
        let (text, key) = self.message.head.fill(self.plan.seed, self.plan.first + number);
        let mut message = text.into_bytes();
        message.extend_from_slice(&self.message.body);
        let kept = connection.take().filter(Connection::idle);
        let sent = clock::now();
        let exchange = async {
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(&self.addresses).await?,
            };
            let answer = connection.exchange(&message, self.message.to_head).await?;
            Ok((answer, connection))
        };
        let exchanged = timeout_at(due.unwrap_or(sent) + self.plan.timeout, exchange).await;
        let ended = clock::now();
        // Answers that are there already are read first, so that none is charged for the records and requests of the others.
        tokio::task::yield_now().await;
        let mut record = Record {
            req_due_time: due.map(|due| self.origin.unix(due)),
            req_snd_time: self.origin.unix(sent),
            resp_rcv_time: self.origin.unix(ended),
            key,
            region: self.plan.region.clone(),
            ..Record::default()
        };
        match exchanged {
            Ok(Ok((answer, kept))) => {
                *connection = (answer.again && self.plan.keep_alive).then_some(kept);
                let told = teller::told(&answer.body);
                record.status = Some(answer.status);
                (record.instance, record.req_rcv_time, record.resp_snd_time) =
                    (told.instance, told.received, told.answered);
            }
            Ok(Err(error)) => record.error = Some(reason(&error).to_owned()),
            Err(_) => record.error = Some("timeout".to_owned()),
        }
        self.keep(number, record);
    }

    /// The record of a request that found no connection free in time.
    fn never_sent(&self, number: u64, due: Instant) {
        let ended = self.origin.unix(clock::now());
        let record = Record {
            req_due_time: Some(self.origin.unix(due)),
            req_snd_time: ended,
            resp_rcv_time: ended,
            key: self.message.head.fill(self.plan.seed, self.plan.first + number).1,
            region: self.plan.region.clone(),
            error: Some("no_connection".to_owned()),
            ..Record::default()
        };
        self.keep(number, record);
    }

    fn keep(&self, number: u64, record: Record) {
        self.watch.count(record.good());
        self.records.borrow_mut().push((number, record));
    }
}
