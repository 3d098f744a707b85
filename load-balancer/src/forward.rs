//! The attempt loop: pick → send → judge → perhaps again elsewhere.
//!
//! A retry happens only where it is safe (nothing was sent, or the method is idempotent and there was no body to lose), to
//! a backend this request has not tried, within the retry budget. A failure is a measurement: it costs its backend.

use std::net::IpAddr;
use std::rc::Rc;

use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use lb_core::{Algorithm, Cause, Pick, Tick, Tried};

use crate::error::{Kind, ProxyError};
use crate::http::headers;
use crate::listener::{Client, Phase};
use crate::worker::{Lane, Scene, Worker};

mod body;
mod exchange;
mod upstream;

pub use body::{Body, RequestBody};
pub use exchange::{Exchange, Flight};
pub use upstream::Live;

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
    /// The hash key's bytes.
    pub key: Vec<u8>,
    /// Headers that the balancer adds.
    pub added: headers::Added,
}

/// One failed attempt.
struct Failed {
    error: ProxyError,
    /// The body, where none of it was lost.
    body: Option<RequestBody>,
    /// Nothing of the request reached the backend.
    unsent: bool,
}

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
    let mut body = RequestBody::new(body, client, worker);
    let mut tried = Tried::default();
    worker.budget.borrow_mut().deposit(exchange.started);
    loop {
        let picked = {
            let mut rng = worker.rng.borrow_mut();
            let mut pick = Pick { client: plan.client_ip, key: &plan.key, tried: &tried, rng: &mut rng };
            scene.pick(plan.algorithm, &mut pick)
        };
        let (member, lane) = match picked {
            Ok(picked) => picked,
            Err(why) => return Err(Box::new((ProxyError::new(Kind::NoBackend, why.to_string()), exchange))),
        };
        exchange.backend = Some(Rc::clone(&lane));
        exchange.attempts += 1;
        let failed = match attempt(worker, client, scene, plan, &lane, body, exchange).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let (failed, back) = *failed;
        exchange = back;
        let reason = failed.error.kind.reason();
        let again = tried.len() < worker.config().retry.attempts && repeatable(&plan.head.method, &failed);
        tried.insert(member);
        // With nobody left to ask, this failure is the answer: it says more than that every backend was tried.
        let again = again && scene.snapshot.view.eligible().iter().any(|&m| !tried.contains(m));
        let Some(next_body) = failed.body.filter(|_| again) else {
            return Err(Box::new((failed.error, exchange)));
        };
        if !worker.budget.borrow_mut().withdraw(worker.now()) {
            worker.meters.retry(reason, "over_budget");
            return Err(Box::new((failed.error, exchange)));
        }
        worker.meters.retry(reason, "retried");
        body = next_body;
    }
}

/// Whether a failed attempt may be made again without the backend seeing a request twice that it must not.
fn repeatable(method: &Method, failed: &Failed) -> bool {
    let broken = matches!(
        failed.error.kind,
        Kind::UpstreamConnect | Kind::UpstreamConnectTimeout | Kind::UpstreamReset | Kind::UpstreamProtocol
    );
    broken && (failed.unsent || method.is_idempotent())
}

async fn attempt(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    scene: &Scene,
    plan: &Plan,
    lane: &Rc<Lane>,
    body: RequestBody,
    mut exchange: Exchange,
) -> Result<Response<Body>, Box<(Failed, Exchange)>> {
    let started = if exchange.attempts == 1 { exchange.started } else { worker.now() };
    let mut flight = Flight::begin(lane, scene.snapshot.view.pool(), started);
    let (mut live, sent_at) = match connection(worker, client, lane, started).await {
        Ok(connected) => connected,
        Err(error) => {
            flight.fail(worker.now(), Cause::Connect);
            return Err(Box::new((Failed { error, body: Some(body), unsent: true }, exchange)));
        }
    };
    let bodiless = body.is_end_stream();
    let timeouts = &worker.config().timeouts;
    let limit = if bodiless { timeouts.first_byte } else { timeouts.body_idle };
    client.arm(limit.map(|t| sent_at.after(t)));
    flight.send(sent_at);
    let request = request(plan, lane, body);
    let sent = client.within(live.send(request)).await;
    let now = worker.now();
    let response = match sent {
        Ok(Ok(response)) if unasked(&response, plan) => {
            flight.fail(now, Cause::Reset);
            let error = ProxyError::new(Kind::UpstreamProtocol, "the backend switched protocols unasked");
            let body = bodiless.then_some(RequestBody::empty());
            return Err(Box::new((Failed { error, body, unsent: false }, exchange)));
        }
        Ok(Ok(response)) => response,
        Ok(Err(refused)) => {
            let kind = client.fault.take().unwrap_or(refused.kind);
            let ours = matches!(kind, Kind::BodyTooLarge | Kind::RequestTimeout | Kind::BadRequest);
            if !ours {
                flight.fail(now, Cause::Reset);
            }
            let unsent = !ours && refused.unsent.is_some();
            let body = match refused.unsent {
                Some(request) => Some(request.into_body()),
                None => bodiless.then_some(RequestBody::empty()),
            };
            let failed = Failed { error: ProxyError::new(kind, refused.detail), unsent, body };
            return Err(Box::new((failed, exchange)));
        }
        Err(_elapsed) => {
            let error = late(worker, client, now);
            if error.kind != Kind::RequestTimeout {
                flight.fail(now, Cause::Timeout);
            }
            return Err(Box::new((Failed { error, body: None, unsent: false }, exchange)));
        }
    };
    if !bodiless && client.body_done.get() {
        // The latency of an upload counts from its last byte: what the client took to send it says nothing.
        flight.send(client.sent_at.get());
    }
    flight.answered(now, &response);
    exchange.flight = Some(flight);
    Ok(body::respond(worker, client, lane, live, response, exchange, now))
}

/// A 101 that no upgrade asked for: passed on, it would let a backend's bytes pose as answers.
fn unasked(response: &Response<Incoming>, plan: &Plan) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS && !plan.seen.upgrade
}

/// What an expired deadline means here: whose slowness it was.
fn late(worker: &Worker, client: &Client, now: Tick) -> ProxyError {
    if !client.body_done.get() && client.starving.get() && client.out_of_time(now) {
        ProxyError::new(Kind::RequestTimeout, "the request body was not complete within timeouts.total")
    } else if client.out_of_time(now) {
        ProxyError::new(Kind::TotalTimeout, "the exchange took longer than timeouts.total")
    } else if client.body_done.get() {
        ProxyError::new(Kind::FirstByteTimeout, "no response head within timeouts.first_byte")
    } else {
        let limit = worker.config().timeouts.body_idle.unwrap_or_default();
        let kind = if client.starving.get() { Kind::RequestTimeout } else { Kind::FirstByteTimeout };
        ProxyError::new(kind, format!("the request body made no progress for {limit:?}"))
    }
}

fn request(plan: &Plan, lane: &Lane, body: RequestBody) -> Request<RequestBody> {
    let chunked = !body.is_end_stream() && body.size_hint().exact().is_none();
    let mut request = Request::new(body);
    *request.method_mut() = plan.head.method.clone();
    *request.uri_mut() = plan.target.clone();
    *request.headers_mut() = headers::outgoing(&plan.head, plan.seen, &plan.added, &lane.backend.host);
    if chunked {
        // Said outright: for methods that rarely have a body hyper would otherwise take it that there is none.
        let chunked = hyper::header::HeaderValue::from_static("chunked");
        request.headers_mut().insert(hyper::header::TRANSFER_ENCODING, chunked);
    }
    request
}

/// An idle connection that still works, or a new one; and when it was there.
async fn connection(
    worker: &Worker,
    client: &Client,
    lane: &Lane,
    now: Tick,
) -> Result<(Live, Tick), ProxyError> {
    let max_idle = worker.config().timeouts.upstream_idle;
    loop {
        let Some(live) = lane.idle.borrow_mut().pop() else { break };
        lane.meters.idle.add(-1);
        if let Some(live) = live.still_idle(now, max_idle) {
            return Ok((live, now));
        }
    }
    client.enter(Phase::Waiting, None);
    client.arm(Some(worker.now().after(worker.config().timeouts.connect)));
    match client.within(Live::connect(&lane.backend.address)).await {
        Ok(Ok(live)) => {
            lane.meters.connected("ok");
            Ok((live, worker.now()))
        }
        Ok(Err(error)) => {
            lane.meters.connected("refused");
            Err(ProxyError::new(Kind::UpstreamConnect, format!("{}: {error}", lane.backend.address)))
        }
        Err(_elapsed) => {
            lane.meters.connected("timeout");
            let detail = format!("{} did not accept a connection in time", lane.backend.address);
            let late = client.out_of_time(worker.now());
            let kind = if late { Kind::TotalTimeout } else { Kind::UpstreamConnectTimeout };
            Err(ProxyError::new(kind, detail))
        }
    }
}
