//! The attempt loop: pick → send → judge → perhaps again elsewhere.
//!
//! A retry happens only where it is safe (nothing was sent, or the method is idempotent and none of the body is lost), to
//! a backend this request has not tried, within the retry budget. A failure is a measurement: it costs its backend.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use hyper::{Response, Uri};
use lb_core::{Algorithm, Tick};

use crate::config::Spoken;
use crate::error::ProxyError;
use crate::http::headers;
use crate::listener::Client;
use crate::worker::{Lane, Scene, Worker};

mod attempt;
mod body;
mod connect;
mod exchange;
mod multiplex;
mod nudge;
mod queue;
mod retry;
mod room;
mod trail;
mod upload;
mod upstream;

pub use body::{Body, Broken, answer};
pub use connect::{Unreached, connect};
pub use exchange::{Exchange, Flight};
pub use multiplex::{Local, Multiplex};
pub use queue::Queue;
pub use room::Slot;
pub use upload::RequestBody;
pub use upstream::Live;

use attempt::attempt;
use retry::Retries;
use trail::Why;

/// A request, ready to be sent on.
pub struct Plan {
    /// The head as the client sent it.
    pub head: Parts,
    /// What a pass over it found.
    pub seen: headers::Seen,
    /// The target to send, without `algo`.
    pub target: Uri,
    /// The policy that picks.
    pub algorithm: Algorithm,
    /// The client's address after the trust rules.
    pub client_ip: IpAddr,
    /// The client's region, as a number in the list of regions; `None` where it is not known or regions do not matter.
    pub region: Option<u8>,
    /// The hash key's bytes.
    pub key: Vec<u8>,
    /// The id to remember the request by, where ids are remembered and it has one.
    pub logged: Option<Box<str>>,
    /// Headers that the balancer adds.
    pub added: headers::Added,
}

/// How long a trial waits for a request that can be repeated before it takes any.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);

/// Sends the request to a backend and returns its response, the exchange riding on the response's body.
///
/// # Errors
/// The last attempt's error; the exchange is handed back with it.
pub async fn forward(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    scene: &Scene,
    plan: &Plan,
    body: Incoming,
    mut exchange: Exchange,
) -> Result<Response<Body>, Box<(ProxyError, Exchange)>> {
    let config = &scene.snapshot.config;
    let most = config.retry.attempts;
    // Over HTTP/2 a backend may say that it has not begun with a request, whatever its method (RFC 9113, 8.7).
    let http2 = config.pool.protocol == Spoken::Http2;
    let keep = most > 0 && (http2 || plan.head.method.is_idempotent());
    let mut body = RequestBody::new(body, plan.head.version, client, worker, keep);
    let mut retries = Retries::default();
    worker.budget.borrow_mut().deposit(exchange.started);
    loop {
        let trial = if scene.snapshot.trials.is_empty() {
            None
        } else {
            trial(scene, plan, &exchange, most > 0 && body.is_end_stream())
        };
        let tries = trial.is_some();
        let chosen = match trial {
            Some((member, lane)) => {
                if let Some(draft) = &mut exchange.draft {
                    draft.trial(member);
                }
                let slot = Slot::of_trial(worker, scene, &lane);
                Ok((member, lane, slot))
            }
            None => room::choose(worker, client, scene, plan, &mut retries, &mut exchange).await,
        };
        let (member, lane, slot) = match chosen {
            Ok(chosen) => chosen,
            Err(error) => return Err(Box::new((error, exchange))),
        };
        retries.sending_to(worker, &lane);
        if exchange.attempts == 0 {
            scene.located(plan.region, member);
        }
        exchange.backend = Some(Rc::clone(&lane));
        exchange.attempts += 1;
        let spare = (exchange.attempts as usize <= most).then(|| body.spare());
        let why = if tries { Why::Trial } else { retries.why() };
        exchange.attempting(worker, plan, &lane, why);
        let began = exchange.draft.as_ref().map(|_| worker.now());
        let mut ended = attempt(worker, client, scene, plan, &lane, (body, tries, slot), &exchange).await;
        retries.ended(worker, &ended);
        exchange.attempted(&ended);
        if let (Some(draft), Some(began)) = (&mut exchange.draft, began) {
            draft.ended(outcome(&ended), began, worker.now());
        }
        let again = spare.and_then(|spare| {
            let body = retries.repeatable(worker, plan, tries, &mut ended, spare)?;
            retries.pass_over_the_gone(scene, &worker.scene(), most + 1 - exchange.attempts as usize + 1);
            retries.allowed(worker, client, scene, (member, &lane), body)
        });
        let Some((wait, next_body)) = again else {
            return match ended {
                Ok(answer) => Ok(answer.pass_on(worker, client, &lane, exchange)),
                Err(failed) => Err(Box::new((failed.error, exchange))),
            };
        };
        if let Ok(answer) = ended {
            exchange.set_aside();
            answer.put_aside(worker, client, &lane, &exchange);
        }
        retry::pause(worker, client, wait).await;
        body = next_body;
    }
}

/// What came of an attempt, in a word or two.
fn outcome(ended: &Result<attempt::Answer, attempt::Failed>) -> String {
    match ended {
        Ok(answer) => answer.response.status().as_u16().to_string(),
        Err(failed) => format!("{}: {}", failed.error.kind.reason(), failed.error.detail),
    }
}

/// The backend that waits for its trial, where this request is the one to make it: its first attempt, and one that could be
/// made again elsewhere (`repeatable` but for its method) if it is refused, breaks off or is answered by an error; after a
/// while any will do, or a pool that only takes orders would never heal. A trial that times out is its client's to bear.
fn trial(scene: &Scene, plan: &Plan, exchange: &Exchange, repeatable: bool) -> Option<(u32, Rc<Lane>)> {
    if exchange.attempts > 0 {
        return None;
    }
    let safe = repeatable && plan.head.method.is_idempotent() && !plan.seen.upgrade;
    let due = |since: Tick| safe || exchange.started.since(since) >= TRIAL_PATIENCE;
    let taken = |(at, since): &(u32, Tick)| {
        let trial = &scene.snapshot.backends[*at as usize].trial;
        due(*since) && trial.offered() && trial.take()
    };
    let &(member, _) = scene.snapshot.trials.iter().find(|each| taken(each))?;
    let lane = &scene.lanes[member as usize];
    lane.meters.picked(plan.algorithm);
    Some((member, Rc::clone(lane)))
}
