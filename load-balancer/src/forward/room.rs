//! Who takes the next attempt, where backends are bounded in how many requests they are given at once (`max_in_flight`).
//!
//! A full backend is passed over like one that was tried: the algorithm picks among the others. Places are counted over all
//! workers and taken before anything is sent, so a ceiling is never exceeded. Where all are full, the request waits in the
//! pool's [`Queue`](super::Queue). Without ceilings none of this happens but one look that there are none.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;

use lb_core::{NoPick, Pick, Policy as _, Tried};

use super::queue::{LOOK, Queue};
use super::retry::Retries;
use super::{Exchange, Plan};
use crate::error::{Kind, ProxyError};
use crate::listener::{Client, Phase};
use crate::worker::{Lane, Scene, Worker};

/// A place at a backend, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    taken: Arc<AtomicU32>,
    queue: Arc<Queue>,
}

impl Slot {
    fn take(worker: &Worker, lane: &Lane, ceiling: u32) -> Option<Slot> {
        let taken = &lane.backend.taken;
        taken.fetch_update(SeqCst, SeqCst, |taken| (taken < ceiling).then_some(taken + 1)).ok()?;
        Some(Slot { taken: Arc::clone(taken), queue: Arc::clone(&worker.shared.queue) })
    }

    /// A place for a backend's trial: there is one of it, whatever is still in flight from before.
    pub(super) fn of_trial(worker: &Worker, scene: &Scene, lane: &Lane) -> Option<Slot> {
        scene.snapshot.ceilings.as_ref().and_then(|_| Slot::take(worker, lane, u32::MAX))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, SeqCst);
        self.queue.free();
    }
}

/// Who takes an attempt: position, lane, and a place where places are counted.
pub(super) type Chosen = (u32, Rc<Lane>, Option<Slot>);

/// What one look came to.
enum Look {
    Chosen(Chosen),
    /// Whoever may be picked is full.
    Full,
}

/// Picks a backend that has room, and waits for one where none has.
///
/// # Errors
/// Where nobody may be picked, too many wait, or it took too long.
pub(super) async fn choose(
    worker: &Rc<Worker>,
    client: &Client,
    scene: &Scene,
    plan: &Plan,
    retries: &mut Retries,
    exchange: &mut Exchange,
) -> Result<Chosen, ProxyError> {
    // Whoever waits was here before.
    let free = scene.snapshot.ceilings.is_none() || worker.shared.queue.waiting() == 0;
    if free && let Look::Chosen(chosen) = look(worker, scene, plan, retries, exchange)? {
        return Ok(chosen);
    }
    let began = worker.now();
    exchange.waits.begin(began);
    // Boxed, as whatever is seldom: every request would be larger by it.
    let chosen = Box::pin(wait(worker, client, scene, plan, retries, exchange)).await;
    let now = worker.now();
    exchange.waits.end(now);
    worker.meters.queued(now.since(began));
    chosen
}

async fn wait(
    worker: &Rc<Worker>,
    client: &Client,
    scene: &Scene,
    plan: &Plan,
    retries: &mut Retries,
    exchange: &mut Exchange,
) -> Result<Chosen, ProxyError> {
    let (length, limit) = (worker.config().queue.length, worker.config().queue.wait);
    let Some(waiting) = worker.shared.queue.join(length) else {
        let detail = "every backend has max_in_flight requests, and queue.length of them wait";
        return Err(ProxyError::new(Kind::QueueFull, detail));
    };
    let until = worker.now().after(limit);
    client.enter(Phase::Waiting, None);
    // A place that was freed before anybody waited woke nobody.
    let mut first = worker.shared.queue.waiting() == 1;
    loop {
        let mut freed = pin!(waiting.freed());
        // From here on: what is freed while we look is not missed.
        freed.as_mut().enable();
        if std::mem::take(&mut first)
            && let Look::Chosen(chosen) = look(worker, scene, plan, retries, exchange)?
        {
            return Ok(chosen);
        }
        client.arm(Some(until.min(worker.now().after(LOOK))));
        let woken = client.within(freed.as_mut()).await.is_ok();
        let now = worker.now();
        if !woken && client.out_of_time(now) {
            let detail = "the exchange waited for a backend with room until timeouts.total";
            return Err(ProxyError::new(Kind::TotalTimeout, detail));
        }
        retries.pass_over_the_gone(scene, &worker.scene(), 1);
        if let Look::Chosen(chosen) = look(worker, scene, plan, retries, exchange)? {
            return Ok(chosen);
        }
        if now >= until {
            return Err(ProxyError::new(Kind::QueueTimeout, "no backend had room within queue.wait"));
        }
    }
}

/// Picks among those that have room.
fn look(
    worker: &Worker,
    scene: &Scene,
    plan: &Plan,
    retries: &Retries,
    exchange: &mut Exchange,
) -> Result<Look, ProxyError> {
    let nobody = |why: NoPick| ProxyError::new(Kind::NoBackend, why.to_string());
    let Some(ceilings) = &scene.snapshot.ceilings else {
        let (member, lane) = pick(worker, scene, plan, retries.tried(), exchange).map_err(nobody)?;
        lane.meters.picked(plan.algorithm);
        return Ok(Look::Chosen((member, lane, None)));
    };
    let mut passed_over = *retries.tried();
    loop {
        let (member, lane) = match pick(worker, scene, plan, &passed_over, exchange) {
            Ok(picked) => picked,
            Err(_) if passed_over.len() > retries.tried().len() => break,
            Err(why) => return Err(nobody(why)),
        };
        if let Some(slot) = Slot::take(worker, &lane, ceilings[member as usize]) {
            lane.meters.picked(plan.algorithm);
            return Ok(Look::Chosen((member, lane, Some(slot))));
        }
        // Only the pick that counts is told.
        if let Some(draft) = &mut exchange.draft {
            draft.forgo();
        }
        let before = passed_over.len();
        passed_over.insert(member);
        if passed_over.len() == before {
            return Ok(anybody(worker, scene, plan, retries.tried(), ceilings));
        }
    }
    Ok(Look::Full)
}

/// More are full than a pick can pass over: then anybody with room will do.
fn anybody(worker: &Worker, scene: &Scene, plan: &Plan, tried: &Tried, ceilings: &[u32]) -> Look {
    let eligible = scene.snapshot.view.eligible();
    let from = worker.rng.borrow_mut().below(eligible.len() as u32) as usize;
    let (behind, before) = eligible.split_at(from);
    for &member in before.iter().chain(behind).filter(|member| !tried.contains(**member)) {
        let lane = &scene.lanes[member as usize];
        if let Some(slot) = Slot::take(worker, lane, ceilings[member as usize]) {
            lane.meters.picked(plan.algorithm);
            return Look::Chosen((member, Rc::clone(lane), Some(slot)));
        }
    }
    Look::Full
}

/// A pick by the request's algorithm, noted where its decisions are recorded.
fn pick(
    worker: &Worker,
    scene: &Scene,
    plan: &Plan,
    tried: &Tried,
    exchange: &mut Exchange,
) -> Result<(u32, Rc<Lane>), NoPick> {
    let mut rng = worker.rng.borrow_mut();
    let mut pick = Pick { client: plan.client_ip, region: plan.region, key: &plan.key, tried, rng: &mut rng };
    let draft = exchange.draft.as_deref_mut();
    // Where the pick is recorded, recording would be most of the time.
    let began = (draft.is_none() && worker.meters.times(plan.algorithm)).then(|| worker.now());
    let decision = match draft {
        None => plan.algorithm.pick(&scene.snapshot.view, &mut pick),
        Some(draft) => draft.pick(&mut pick, &worker.shared.clock),
    }?;
    if let Some(began) = began {
        worker.meters.decided(plan.algorithm, worker.now().since(began));
    }
    Ok((decision.member, Rc::clone(&scene.lanes[decision.member as usize])))
}
