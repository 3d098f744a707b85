//! One attempt: a connection, the request, the response head, and the verdict on the backend.

use std::net::SocketAddr;
use std::rc::Rc;

use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response, StatusCode};
use lb_core::{Cause, Tick};

use super::{Exchange, Flight, Live, Plan, RequestBody, Slot, body};
use crate::config::{Config, Spoken};
use crate::error::{Kind, ProxyError};
use crate::http::headers;
use crate::listener::{Client, Phase};
use crate::proxy_protocol::{self, Ends};
use crate::worker::{Lane, Scene, Worker};

/// A response head, already judged, and what its body comes from.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    live: Live,
    flight: Flight,
    /// When its head came.
    pub(super) at: Tick,
}

/// One failed attempt.
pub(super) struct Failed {
    pub(super) error: ProxyError,
    /// The body, where nothing of the request reached the backend.
    pub(super) unsent: Option<RequestBody>,
    /// The backend said that it has done nothing for it.
    pub(super) untouched: bool,
}

impl Failed {
    fn sent(error: ProxyError) -> Self {
        Failed { error, unsent: None, untouched: false }
    }
}

impl Answer {
    /// Makes it the client's.
    pub(super) fn pass_on(
        self,
        worker: &Rc<Worker>,
        client: &Rc<Client>,
        lane: &Rc<Lane>,
        mut exchange: Exchange,
    ) -> Response<body::Body> {
        exchange.flight = Some(self.flight);
        body::respond(worker, client, lane, self.live, self.response, exchange, self.at)
    }

    /// Puts it aside: another backend is asked.
    pub(super) fn put_aside(self, worker: &Worker, client: &Client, lane: &Lane, exchange: &Exchange) {
        exchange.waits.end(self.at);
        // A connection that still takes the body would go on reading what the next attempt needs.
        if client.body_done.get() {
            body::discard(worker, lane, self.live, self.response.into_body(), self.at);
        }
        self.flight.complete(self.at);
    }
}

/// Sends the request to `lane`'s backend and waits for the response head. `trial` where it has taken the backend's trial.
///
/// # Errors
/// Why none came.
pub(super) async fn attempt(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    scene: &Scene,
    plan: &Plan,
    lane: &Rc<Lane>,
    (body, trial, slot): (RequestBody, bool, Option<Slot>),
    exchange: &Exchange,
) -> Result<Answer, Failed> {
    let started = if exchange.attempts == 1 { exchange.started } else { worker.now() };
    let mut flight = Flight::begin(lane, scene.snapshot.view.pool(), started, trial, slot);
    let mut live = match connection(worker, client, (scene, plan), lane, started, exchange).await {
        Ok(live) => live,
        Err(error) => {
            let now = worker.now();
            // What this process lacks is no backend's fault.
            if error.kind != Kind::NoDescriptors {
                flight.fail(now, Cause::Connect);
            }
            exchange.waits.end(now);
            return Err(Failed { error, unsent: Some(body), untouched: true });
        }
    };
    let bodiless = body.is_end_stream();
    if !bodiless {
        // What an earlier attempt passed on is not passed on in this one.
        client.body_done.set(false);
        client.starving.set(false);
    }
    let request = match request(plan, lane, body, exchange, live.shared()) {
        Ok(request) => request,
        Err(error) => return Err(Failed::sent(error)),
    };
    let sent_at = worker.now();
    exchange.waits.begin(sent_at);
    let timeouts = &scene.snapshot.config.timeouts;
    let limit = if bodiless { timeouts.first_byte } else { timeouts.body_idle };
    client.arm(limit.map(|t| sent_at.after(t)));
    flight.send(sent_at);
    exchange.sent.set(Some(sent_at));
    let mut sent = client.within(live.send(request)).await;
    if live.shared()
        && let Ok(Err(refused)) = &mut sent
        && let Some(request) = refused.unsent.take()
    {
        // Over before it took the request: nobody could see that it was. Another one is made, once.
        sent = match Box::pin(another(worker, client, scene, lane, &[], exchange)).await {
            Ok(next) => {
                live = next;
                client.arm(limit.map(|t| worker.now().after(t)));
                client.within(live.send(request)).await
            }
            Err(error) => {
                let (now, unsent) = (worker.now(), Some(request.into_body()));
                flight.fail(now, Cause::Connect);
                exchange.waits.end(now);
                return Err(Failed { error, unsent, untouched: true });
            }
        };
    }
    let now = worker.now();
    if !matches!(sent, Ok(Ok(_))) {
        exchange.waits.end(now);
    }
    let response = match sent {
        Ok(Ok(response)) if unasked(&response, plan) => {
            flight.fail(now, Cause::Reset);
            exchange.waits.end(now);
            let error = ProxyError::new(Kind::UpstreamProtocol, "the backend switched protocols unasked");
            return Err(Failed::sent(error));
        }
        Ok(Ok(mut response)) => {
            if scene.snapshot.config.signals.headers {
                lane.read_report(now, response.headers_mut());
            }
            response
        }
        Ok(Err(refused)) => {
            let kind = client.fault.take().unwrap_or(refused.kind);
            if !kind.blames_client() {
                flight.fail(now, Cause::Reset);
            }
            let unsent = refused.unsent.map(Request::into_body);
            let untouched = refused.untouched;
            return Err(Failed { error: ProxyError::new(kind, refused.detail), unsent, untouched });
        }
        Err(_elapsed) => {
            let error = late(worker, client, now);
            if error.kind != Kind::RequestTimeout {
                flight.fail(now, Cause::Timeout);
            }
            return Err(Failed::sent(error));
        }
    };
    if !bodiless && client.body_done.get() {
        // The latency of an upload counts from its last byte: what the client took to send it says nothing.
        flight.send(client.sent_at.get());
    }
    flight.answered(now, &response);
    if let Some(regret) = flight.regret(now).filter(|_| !trial) {
        worker.meters.regretted(plan.algorithm, regret);
    }
    if untunnelled(&response, plan) {
        exchange.waits.end(now);
        flight.complete(now);
        let detail = format!("this is no WebSocket: the backend answered {}", response.status().as_u16());
        return Err(Failed::sent(ProxyError::new(Kind::BadRequest, detail)));
    }
    if let Some(id) = &plan.logged {
        lane.log.borrow_mut().add(now, id, scene.snapshot.config.control.request_log);
    }
    Ok(Answer { response, live, flight, at: now })
}

/// A 101 that no upgrade asked for: passed on, it would let a backend's bytes pose as answers.
fn unasked(response: &Response<Incoming>, plan: &Plan) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS && !plan.seen.upgrade
}

/// An ordinary answer to a stream that asks for a tunnel: there any 2xx would mean one (RFC 8441, 5). The backend has done
/// nothing wrong.
fn untunnelled(response: &Response<Incoming>, plan: &Plan) -> bool {
    let stream = plan.seen.upgrade && plan.head.version == hyper::Version::HTTP_2;
    stream && response.status().is_success()
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

fn request(
    plan: &Plan,
    lane: &Lane,
    body: RequestBody,
    exchange: &Exchange,
    http2: bool,
) -> Result<Request<RequestBody>, ProxyError> {
    let chunked = !body.is_end_stream() && body.size_hint().exact().is_none();
    let mut request = Request::new(body);
    *request.method_mut() = plan.head.method.clone();
    *request.uri_mut() = plan.target.clone();
    *request.headers_mut() = headers::outgoing(&plan.head, plan.seen, &plan.added, &lane.backend.host);
    exchange.mark(request.headers_mut());
    if http2 {
        let (target, secure) = (plan.target.clone(), lane.backend.secure.is_some());
        *request.uri_mut() = headers::authority_of_host(target, request.headers_mut(), secure)?;
    } else if chunked {
        // Said outright: for methods that rarely have a body hyper would otherwise take it that there is none.
        let chunked = hyper::header::HeaderValue::from_static("chunked");
        request.headers_mut().insert(hyper::header::TRANSFER_ENCODING, chunked);
    }
    Ok(request)
}

/// An idle connection that still works, or a new one.
async fn connection(
    worker: &Worker,
    client: &Client,
    (scene, plan): (&Scene, &Plan),
    lane: &Lane,
    now: Tick,
    exchange: &Exchange,
) -> Result<Live, ProxyError> {
    let config = &scene.snapshot.config;
    if config.pool.protocol == Spoken::Http2 {
        return match Live::place(&lane.multiplex) {
            Some(live) => Ok(live),
            None => Box::pin(another(worker, client, scene, lane, &[], exchange)).await,
        };
    }
    let hello = hello(config, client, plan);
    // What rests is from before the backend was to be told whose a connection is.
    while hello.is_empty() {
        let Some(live) = lane.idle.borrow_mut().pop() else { break };
        lane.meters.idle.add(-1);
        if let Some(live) = live.still_idle(now, config.timeouts.upstream_idle) {
            return Ok(live);
        }
    }
    Box::pin(another(worker, client, scene, lane, &hello, exchange)).await
}

/// A new connection, or a place on one. Seldom made, and large (name, TCP, TLS): boxed, so that not every request carries its
/// room about.
async fn another(
    worker: &Worker,
    client: &Client,
    scene: &Scene,
    lane: &Lane,
    hello: &[u8],
    exchange: &Exchange,
) -> Result<Live, ProxyError> {
    client.enter(Phase::Waiting, None);
    let began = worker.now();
    exchange.waits.begin(began);
    client.arm(Some(began.after(worker.config().timeouts.connect)));
    let tls = scene.snapshot.certified.backends.as_deref();
    let connect = || async {
        match worker.config().pool.protocol {
            Spoken::Http1 => Live::connect(&lane.backend, tls, hello).await.map(|live| (live, true)),
            Spoken::Http2 => Live::multiplexed(&lane.multiplex, &lane.backend, tls).await,
        }
    };
    let mut connected = client.within(connect()).await;
    if matches!(&connected, Ok(Err(unreached)) if unreached.starved()) {
        worker.drop_idle();
        connected = client.within(connect()).await;
    }
    match connected {
        Ok(Err(unreached)) if unreached.starved() => {
            Err(ProxyError::new(Kind::NoDescriptors, "no file descriptor is left to connect with"))
        }
        Ok(Ok((live, made))) => {
            if made {
                lane.meters.connected("ok");
            }
            Ok(live)
        }
        Ok(Err(unreached)) => {
            let (result, kind) = unreached.told();
            lane.meters.connected(result);
            Err(ProxyError::new(kind, format!("{}: {unreached}", lane.backend.address)))
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

/// What a new connection to a backend begins with: who the client is, where backends are told so.
fn hello(config: &Config, client: &Client, plan: &Plan) -> Vec<u8> {
    let Some(version) = config.pool.proxy_protocol else { return Vec::new() };
    // Behind a proxy that speaks HTTP the port is not known.
    let own = plan.client_ip == client.peer.ip().to_canonical();
    let from = SocketAddr::new(plan.client_ip, if own { client.peer.port() } else { 0 });
    proxy_protocol::header(version, client.server.map(|server| Ends { client: from, server }))
}
