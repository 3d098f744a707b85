//! Following a request that is traced or logged: decided at its head, before anything is made for it, and told when its
//! exchange ends. Every other request costs two comparisons.

use std::borrow::Cow;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{HeaderMap, Request};
use lb_core::Tick;

use super::attempt::{Answer, Failed};
use super::{Exchange, Plan};
use crate::clock;
use crate::config::{Address, Config};
use crate::listener::Client;
use crate::observe::trace::{Attempt, Parent, TRACEPARENT, TRACESTATE};
use crate::observe::trail::{Ending, Passing, Trail};
use crate::observe::{local, trace};
use crate::worker::{Lane, Scene, Worker};

/// Why a backend was picked, where the request has no record of its decisions.
#[derive(Debug, Clone, Copy)]
pub(super) enum Why {
    /// The algorithm said so.
    Picked,
    /// It waits for a trial.
    Trial,
    /// Another one failed.
    Retry,
}

impl Why {
    const fn word(self) -> &'static str {
        match self {
            Why::Picked => "picked",
            Why::Trial => "trial",
            Why::Retry => "retry",
        }
    }
}

impl Exchange {
    /// Follows the request, where it is to be traced or logged.
    pub fn follow<B>(&mut self, worker: &Worker, client: &Client, request: &Request<B>) {
        let config = worker.config();
        let logged = config.access_log.format.is_some() && worker.draws(config.access_log.share);
        let spans = worker
            .shared
            .traces
            .as_ref()
            .and_then(|traces| begin(worker, &config, client, request.headers(), (traces, self.method)));
        if !logged && spans.is_none() {
            return;
        }
        let (method, uri) = (request.method(), request.uri());
        let ip = client.peer.ip().to_canonical();
        let mut passing = Passing::new(method, uri, request.version(), request.headers(), ip);
        passing.secure = client.secure.get();
        self.trail = Some(worker.boxed(Trail { passing, spans, logged }));
    }

    /// The request has got an id.
    pub fn known_as(&mut self, id: &HeaderValue) {
        if let Some(trail) = &mut self.trail {
            trail.passing.id = Some(id.clone());
        }
    }

    /// What is known about it once it is planned.
    pub fn planned(&mut self, scene: &Scene, plan: &Plan) {
        self.algorithm = Some(plan.algorithm);
        self.region = scene.regional.clone().map(|meters| (meters, plan.region));
        if let Some(trail) = &mut self.trail {
            trail.passing.client = plan.client_ip;
        }
    }

    /// An attempt begins.
    pub(super) fn attempting(&mut self, worker: &Worker, plan: &Plan, lane: &Lane, why: Why) {
        let Some(trail) = &mut self.trail else { return };
        let now = if self.attempts == 1 { self.started } else { worker.now() };
        trail.passing.phases.begin(now);
        let Some(spans) = &mut trail.spans else { return };
        let backend = &*lane.backend;
        let (host, port) = match &backend.address {
            Address::Ip(address) => (Cow::from(address.ip().to_string()), address.port()),
            Address::Name(host, port) => (Cow::from(host), *port),
        };
        let scheme = if backend.secure.is_some() { "https" } else { "http" };
        let recorded = self.draft.as_deref().and_then(crate::journal::Draft::why);
        let attempt = Attempt {
            pool: &worker.shared.metrics.pool,
            algorithm: plan.algorithm.name(),
            backend: &backend.name,
            scheme,
            host: &host,
            port,
            weight: backend.weight,
            region: &backend.region,
            reason: recorded.as_deref().unwrap_or(why.word()),
            nth: self.attempts,
        };
        spans.attempt(&trail.passing, &attempt);
    }

    /// It has ended, or has an answer. `sent` is when it had a connection.
    pub(super) fn attempted(&mut self, ended: &Result<Answer, Failed>) {
        let sent = self.sent.take();
        let Some(trail) = &mut self.trail else { return };
        trail.passing.phases.end(sent, ended.as_ref().ok().map(|answer| answer.at));
        match (&mut trail.spans, ended) {
            (Some(spans), Ok(answer)) => spans.answered(answer.response.status().as_u16()),
            (Some(spans), Err(failed)) => spans.failed(failed.error.kind.reason()),
            (None, _) => {}
        }
    }

    /// The last attempt's answer is not the client's.
    pub(super) fn set_aside(&mut self) {
        if let Some(spans) = self.trail.as_mut().and_then(|trail| trail.spans.as_mut()) {
            spans.set_aside();
        }
    }

    /// Tells a backend which span its request comes from, where there is one; else it reads what the client said.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        let Some(spans) = self.trail.as_ref().and_then(|trail| trail.spans.as_ref()) else { return };
        let Some(traceparent) = spans.traceparent() else { return };
        headers.insert(TRACEPARENT, traceparent);
        if !spans.continued() {
            // It belongs to a trace that ends here.
            headers.remove(TRACESTATE);
        }
    }

    /// The exchange has ended: the trail is told.
    pub(super) fn tell(&self, mut trail: Box<Trail>, code: u16, now: Tick, took: Duration) {
        let ending = Ending {
            pool: &self.worker.shared.metrics.pool,
            algorithm: self.algorithm.map(lb_core::Algorithm::name),
            backend: self.backend.as_ref().map(|lane| lane.backend.name.as_str()),
            region: self.region.as_ref().map(|(meters, region)| meters.name(*region)),
            code,
            reason: self.reason,
            attempts: self.attempts,
            bytes_in: self.client.uploaded.get(),
            bytes_out: self.bytes_out,
            total: took,
            overhead: self.waits.rest(took),
        };
        if trail.logged
            && let Some(style) = self.worker.config().access_log.style()
        {
            self.worker.lines.add(&trail, &ending, style, (now, clock::unix_millis()));
        }
        if let Some(spans) = trail.spans.take() {
            spans.finish(&trail.passing, &ending);
        }
        self.worker.keep(trail);
    }
}

/// The spans of a request that is to be traced: as whoever is believed has decided, or else by a draw.
fn begin(
    worker: &Worker,
    config: &Config,
    client: &Client,
    headers: &HeaderMap,
    (traces, method): (&trace::Traces, u8),
) -> Option<trace::Spans> {
    let traces_config = &config.traces;
    let parent = if traces_config.parent.includes(client.trusted) { Parent::of(headers) } else { None };
    let traced = match &parent {
        Some(parent) => parent.sampled(),
        None => worker.draws(traces_config.sample),
    };
    traced.then(|| traces.begin(local::method_name(method), parent))
}
