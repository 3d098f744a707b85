//! The way of a request, top to bottom: one clock read, one snapshot, one client, one algorithm, then [`forward`].

use std::rc::Rc;

use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, Version};
use lb_core::Tick;
use tower::ServiceExt as _;

use crate::config::Config;
use crate::error::{Kind, ProxyError};
use crate::forward::{self, Body, Exchange, Plan};
use crate::journal::Draft;
use crate::listener::Client;
use crate::worker::{Scene, Worker};

mod algo;
mod client_id;
pub mod grpc;
pub mod headers;
mod hygiene;
mod key;
mod locality;
pub mod paths;
pub mod refusal;
pub mod upgrade;

/// Bytes of an unread body that usually have come with the head, so that the connection goes on behind them: the library looks
/// once, and reads no further.
const READ_AWAY: u64 = 4_096;

/// Answers one request.
pub async fn handle(worker: &Rc<Worker>, client: &Rc<Client>, request: Request<Incoming>) -> Response<Body> {
    let now = client.head_at.take().unwrap_or_else(|| worker.now());
    let scene = worker.scene();
    let grpc = request.version() == Version::HTTP_2 && grpc::is(request.headers());
    let told = if grpc { grpc::timeout(request.headers()) } else { None };
    client.told.set(told.is_some());
    let config = &scene.snapshot.config;
    let total = [config.timeouts.total, told].into_iter().flatten().min();
    client.begin(total.map(|t| now.after(t)));
    let mut exchange = Exchange::begin(worker, client, now, &request);
    exchange.follow(worker, client, &request);
    // What is refused from here on may leave a body behind, to be read away before the connection closes.
    client.body_done.set(request.body().is_end_stream());
    if config.control.on_traffic_port && crate::admin::owns(request.uri().path()) {
        return Box::pin(answer_as_admin(worker, client, request, exchange)).await;
    }
    let (head, body) = request.into_parts();
    let mut seen = headers::Seen::of(&head.headers);
    seen.upgrade = seen.hop && body.is_end_stream() && headers::upgrade_of(&head.headers).is_some();
    let id = headers::request_id(&head.headers, seen, &mut worker.rng.borrow_mut());
    exchange.known_as(&id);
    let explain = client.chooser && seen.ours && head.headers.contains_key(headers::DEBUG);
    let declared = body.size_hint().upper();
    let understood = understand(config, client, (head, seen), declared, id.clone());
    let admitted = understood.and_then(|plan| limited(worker, &scene, &plan, now).map(|()| plan));
    let result = match admitted {
        Ok(mut plan) => {
            plan.region = locality::region(&scene, client, plan.client_ip);
            exchange.planned(&scene, &plan);
            if explain || worker.records() {
                exchange.draft = Draft::begin(&scene.snapshot, plan.algorithm, &id, &plan.key);
            }
            forward::forward(worker, client, &scene, &plan, body, exchange).await
        }
        Err(error) => Err(Box::new((error, exchange))),
    };
    match result {
        Ok(mut response) => {
            response.headers_mut().insert(headers::REQUEST_ID, id);
            response
        }
        Err(failed) => {
            let (error, mut exchange) = *failed;
            // Who left in the middle of the body reads no refusal: the exchange is counted as closed by the client.
            if !client.gone.get() {
                exchange.refused(error.kind);
            }
            let mut response = match grpc {
                true => grpc::refusal(&error, &id),
                false => refusal::response(&error, &id, explain.then_some(&exchange)),
            };
            // Nobody reads the rest of the body to its end, so the connection is over: the next request must not be sent on it.
            if !client.body_done.get() && declared.is_none_or(|bytes| bytes > READ_AWAY) {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// Reads everything that decides about the request out of its head, but for the client's region. `declared` is how long the
/// body says it is. Pure: the way of every head, and of those that the fuzz targets make.
///
/// # Errors
/// Why the request is not passed on.
pub fn understand(
    config: &Config,
    client: &Client,
    (mut head, mut seen): (Parts, headers::Seen),
    declared: Option<u64>,
    id: HeaderValue,
) -> Result<Plan, ProxyError> {
    admit(config, &head, seen, declared)?;
    if !paths::is_allowed(&config.pool.allowed_paths, head.uri.path()) {
        let detail = format!("<Error> '{}' endpoint does not exist in server replicas", head.uri.path());
        return Err(ProxyError::new(Kind::PathNotAllowed, detail));
    }
    headers::host_of_target(&mut head, &mut seen);
    let (algorithm, target) = algo::choose(config, client, &head, seen)?;
    let client_ip = client_id::address(client, &head.headers, &config.client.trusted_proxies);
    let key = match algorithm {
        lb_core::Algorithm::ConsistentHash => key::of(&config.hash.key, &head, client_ip),
        _ => Vec::new(),
    };
    let logged = if config.control.request_log > 0 { key::id(&config.hash.key, &head) } else { None };
    let added = headers::Added::new(config, client, &head.headers, algorithm, id);
    Ok(Plan { head, seen, target, algorithm, client_ip, region: None, key, logged, added })
}

/// Refuses what is more than the balancer, or whoever asks, may have.
fn limited(worker: &Worker, scene: &Scene, plan: &Plan, now: Tick) -> Result<(), ProxyError> {
    let config = &scene.snapshot.config;
    shed(worker, scene, plan)?;
    let limiters = &scene.snapshot.limiters;
    limiters.iter().try_for_each(|limiter| limiter.admit(&plan.head, plan.client_ip, &config.limits, now))
}

/// Refuses one request too many, before it costs anything: what is in flight holds memory.
fn shed(worker: &Worker, scene: &Scene, plan: &Plan) -> Result<(), ProxyError> {
    // Two workers that look at once may both let one in: the bound is exceeded by less than there are workers.
    let pool = scene.snapshot.view.pool();
    let with_waiting = |requests: u32| requests as usize + worker.shared.queue.waiting();
    let in_flight = || with_waiting(pool.in_flight());
    // What goes on for hours must not keep out what comes and goes, but more of the same.
    let holding = || if plan.seen.upgrade { in_flight() } else { with_waiting(pool.passing()) };
    match (scene.snapshot.config.limits.in_flight, scene.snapshot.pressed) {
        (_, Some(most)) if holding() >= most => {
            let detail = format!("limits.memory is reached: {most} requests may be in flight");
            Err(ProxyError::new(Kind::Memory, detail))
        }
        (Some(most), _) if in_flight() >= most => {
            Err(ProxyError::new(Kind::Shed, format!("limits.in_flight ({most}) is reached")))
        }
        _ => Ok(()),
    }
}

/// Refuses what is never passed on.
fn admit(
    config: &Config,
    head: &Parts,
    seen: headers::Seen,
    declared: Option<u64>,
) -> Result<(), ProxyError> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(ProxyError::new(Kind::MethodNotAllowed, format!("{} is not proxied", head.method)));
    }
    let target = head.uri.path_and_query().map_or(0, |pq| pq.as_str().len());
    if target > config.limits.target_bytes {
        return Err(ProxyError::new(
            Kind::TargetTooLong,
            "the request target is longer than limits.target_bytes",
        ));
    }
    // Over HTTP/1.1 the number is the parser's to judge.
    if head.headers.len() > config.limits.headers {
        return Err(ProxyError::new(Kind::HeadersTooLarge, "the head exceeds limits.headers"));
    }
    hygiene::check(head, seen)?;
    if let (Some(limit), Some(declared)) = (config.limits.body_bytes, declared)
        && declared > limit
    {
        let detail = format!("the body has {declared} bytes, limits.body_bytes is {limit}");
        return Err(ProxyError::new(Kind::BodyTooLarge, detail));
    }
    Ok(())
}

/// Hands a path of the admin router's to it.
async fn answer_as_admin(
    worker: &Rc<Worker>,
    client: &Client,
    mut request: Request<Incoming>,
    exchange: Exchange,
) -> Response<Body> {
    let peer = crate::admin::Peer { ip: client.own_ip(), on_traffic_port: true, misdirected: false };
    request.extensions_mut().insert(peer);
    match worker.shared.admin.clone().oneshot(request.map(axum::body::Body::new)).await {
        Ok(response) => forward::answer(worker, client, response, exchange),
        Err(never) => match never {},
    }
}
