//! What is counted about one request, and when: by guards that run however the request ends.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::RETRY_AFTER;
use hyper::{Request, Response, StatusCode, Version};
use lb_core::{Algorithm, Cause, Outcome, PoolLoad, Tick, Ticket};

use super::Slot;
use crate::error::Kind;
use crate::http::grpc;
use crate::journal::Draft;
use crate::listener::Client;
use crate::observe::lane::Attempt;
use crate::observe::{RegionMeters, Trail};
use crate::worker::{Lane, Worker};

/// One attempt in flight. Dropping it counts it out.
pub struct Flight {
    lane: Rc<Lane>,
    pool: Arc<PoolLoad>,
    ticket: Option<Ticket>,
    verdict: Cell<Option<Outcome>>,
    /// It holds its backend's trial, until there is a verdict.
    trial: Cell<bool>,
    /// It goes on for as long as it likes, and is counted so.
    lasts: bool,
    /// The lowest latency estimate (µs) there was to choose when it began.
    best: f32,
    /// Its place at the backend, where places are counted.
    _slot: Option<Slot>,
}

impl Flight {
    /// Counts an attempt in; `trial` where it has taken its backend's trial.
    #[must_use]
    pub fn begin(lane: &Rc<Lane>, pool: &Arc<PoolLoad>, now: Tick, trial: bool, slot: Option<Slot>) -> Self {
        lane.meters.active.add(1);
        let ticket = lane.backend.load.begin(now, pool);
        Flight {
            lane: Rc::clone(lane),
            pool: Arc::clone(pool),
            ticket: Some(ticket),
            best: pool.best(),
            verdict: Cell::new(None),
            trial: Cell::new(trial),
            lasts: false,
            _slot: slot,
        }
    }

    /// It goes on for as long as it likes from here.
    fn goes_on(&mut self) {
        if !std::mem::replace(&mut self.lasts, true) {
            self.pool.lasts();
        }
    }

    /// When it began.
    #[must_use]
    pub fn started(&self) -> Tick {
        self.ticket.map_or(Tick::ZERO, |t| t.at())
    }

    /// The request goes out at `now`, later than the attempt began.
    pub fn send(&mut self, now: Tick) {
        if let Some(ticket) = &mut self.ticket {
            ticket.send(now);
        }
    }

    /// The response head came, with a status that speaks for or against the backend.
    pub fn answered(&self, now: Tick, head: &Response<Incoming>) {
        self.lane.meters.ended(Attempt::Answered(head.status().as_u16()));
        self.judge(now, verdict(head));
    }

    /// Seconds that the answer, come at `now`, took longer than the best backend's would have; `None` where that is not
    /// known, and for a failure, which may have been quick.
    #[must_use]
    pub fn regret(&self, now: Tick) -> Option<f64> {
        let good = self.verdict.get() == Some(Outcome::Success) && self.best > 0.0;
        let sent = self.ticket.as_ref().filter(|_| good)?.sent();
        Some((now.since(sent).as_secs_f64() - f64::from(self.best) / 1e6).max(0.0))
    }

    fn judge(&self, now: Tick, outcome: Outcome) {
        self.verdict.set(Some(outcome));
        if let Some(ticket) = &self.ticket {
            self.lane.backend.load.observe(now, ticket, outcome, &self.pool);
        }
        if self.trial.take() {
            self.lane.backend.trial.report(!matches!(outcome, Outcome::Failure(_)));
        }
    }

    /// The attempt failed: without a response head, or in the middle of the body.
    pub fn fail(self, now: Tick, cause: Cause) {
        if self.verdict.get().is_none() {
            self.lane.meters.ended(Attempt::Failed);
        }
        self.judge(now, Outcome::Failure(cause));
        self.measure(now);
    }

    /// The last byte of the response came.
    pub fn complete(self, now: Tick) {
        if let Some(ticket) = self.ticket.as_ref().filter(|_| self.verdict.get() == Some(Outcome::Success)) {
            self.lane.backend.load.complete(now, ticket);
        }
        self.measure(now);
    }

    fn measure(&self, now: Tick) {
        self.lane.meters.took(now.since(self.started()));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // The client, not the backend, broke the attempt off: that says nothing about the backend.
        if self.verdict.get().is_none() {
            self.lane.meters.ended(Attempt::Canceled);
        }
        if self.trial.take() {
            self.lane.backend.trial.give_back();
        }
        if self.lasts {
            self.pool.ended();
        }
        if let Some(ticket) = self.ticket.take() {
            self.lane.backend.load.end(ticket, &self.pool);
            self.lane.meters.active.add(-1);
        }
    }
}

/// Longest that a backend's `Retry-After` is honoured: it may recover earlier, and a typing error must not stop it for hours.
const LONGEST_HOLD: Duration = Duration::from_secs(10);

/// What a response head says about its backend. `Retry-After` with 429 or 503 means that it is full (RFC 9110, 10.2.3;
/// only the form in seconds, a date counts as one second).
fn verdict(head: &Response<Incoming>) -> Outcome {
    let full = matches!(head.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    match full.then(|| head.headers().get(RETRY_AFTER)).flatten() {
        Some(after) => {
            let seconds = after.to_str().ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1);
            Outcome::Saturated(Duration::from_secs(seconds).min(LONGEST_HOLD))
        }
        None if head.status().is_server_error() => Outcome::Failure(Cause::Status),
        None if grpc::is(head.headers()) && grpc::blames_backend(head.headers()) => {
            Outcome::Failure(Cause::Status)
        }
        None => Outcome::Success,
    }
}

/// One request from head to last byte. Dropped exactly once, wherever it is then: in the handler, in the response's body,
/// or with the connection that broke; so every request is counted once.
pub struct Exchange {
    /// When its head was complete.
    pub started: Tick,
    /// The chosen algorithm, once it is chosen.
    pub algorithm: Option<Algorithm>,
    /// The client's region, once it is known, and where to count it.
    pub region: Option<(Rc<RegionMeters>, Option<u8>)>,
    /// The attempt whose response is being sent.
    pub flight: Option<Flight>,
    /// The backend of the last attempt.
    pub backend: Option<Rc<Lane>>,
    /// The record of its decisions, where one is made.
    pub draft: Option<Box<Draft>>,
    /// What is followed of it, where it is traced or logged.
    pub trail: Option<Box<Trail>>,
    /// Attempts made.
    pub attempts: u32,
    /// Where its time went.
    pub waits: Waits,
    /// When the present attempt had its connection.
    pub(super) sent: Cell<Option<Tick>>,
    /// Bytes of the response's body that were passed on.
    pub(super) bytes_out: u64,
    pub(super) worker: Rc<Worker>,
    pub(super) client: Rc<Client>,
    pub(super) method: u8,
    /// Why it failed, if it did.
    pub(super) reason: Option<&'static str>,
    code: Option<u16>,
    complete: bool,
    /// Between the last byte that is handed over and the end of this lies what the client takes for it (HTTP/2's windows).
    waits_for_client: bool,
    /// When its last byte was handed over, where that was the end.
    ended: Option<Tick>,
}

/// How long a request waited for backends: from when an attempt connects, or is sent over a connection that is there, to the
/// last byte of its response or its failure. The rest of its time is the balancer's own.
#[derive(Debug, Default)]
pub struct Waits {
    since: Cell<Option<Tick>>,
    total: Cell<Duration>,
}

impl Waits {
    /// Waiting begins at `now`, unless it has begun.
    pub fn begin(&self, now: Tick) {
        self.since.set(self.since.get().or(Some(now)));
    }

    /// What of `took` was not waited.
    pub fn rest(&self, took: Duration) -> Duration {
        took.saturating_sub(self.total.get())
    }

    /// Waiting is over at `now`, where it had begun.
    pub fn end(&self, now: Tick) {
        if let Some(since) = self.since.take() {
            self.total.set(self.total.get() + now.since(since));
        }
    }
}

/// The status recorded for a request whose client went away before a response head (nginx's convention).
const CLIENT_CLOSED: u16 = 499;

impl Exchange {
    /// Counts a request in.
    #[must_use]
    pub fn begin(worker: &Rc<Worker>, client: &Rc<Client>, now: Tick, request: &Request<Incoming>) -> Self {
        worker.meters.in_flight.add(1);
        Exchange {
            worker: Rc::clone(worker),
            client: Rc::clone(client),
            started: now,
            algorithm: None,
            region: None,
            flight: None,
            backend: None,
            draft: None,
            trail: None,
            attempts: 0,
            waits: Waits::default(),
            sent: Cell::new(None),
            bytes_out: 0,
            reason: None,
            method: crate::observe::local::method_index(request.method().as_str()),
            code: None,
            complete: false,
            waits_for_client: request.version() == Version::HTTP_2,
            ended: None,
        }
    }

    /// The response head is on its way to the client.
    pub fn answered(&mut self, code: u16) {
        self.code = Some(code);
    }

    /// So many bytes of its body are too.
    pub(super) fn passed_on(&mut self, bytes: u64) {
        self.bytes_out += bytes;
    }

    fn aborted(&mut self, reason: &'static str) {
        self.worker.meters.aborted(reason);
        self.reason = Some(reason);
    }

    /// The balancer answers for itself.
    pub fn refused(&mut self, kind: Kind) {
        self.aborted(kind.reason());
        self.code = Some(kind.status().as_u16());
        self.complete = true;
    }

    /// What follows may go on for ever: the record of its decisions is told now, and lets go of its snapshot.
    pub fn goes_on(&mut self) {
        if let Some(flight) = &mut self.flight {
            flight.goes_on();
        }
        if let (Some(draft), Some(code)) = (self.draft.take(), self.code) {
            let took = self.worker.now().since(self.started);
            draft.finish(&self.worker.shared.journal, code, took);
        }
    }

    /// The backend says, behind its whole answer, that it has failed.
    pub(super) fn failed_late(&mut self, now: Tick) {
        if let Some(flight) = self.flight.take() {
            flight.fail(now, Cause::Status);
        }
    }

    /// The last byte was handed over at `now`.
    pub fn finish(&mut self, now: Tick) {
        self.complete = true;
        self.ended = Some(now).filter(|_| !self.waits_for_client);
        self.waits.end(now);
        if let Some(flight) = self.flight.take() {
            flight.complete(now);
        }
    }

    /// The response broke off: the backend's doing, unless the client left or spoilt the upload beside it.
    pub fn broken(&mut self, now: Tick) {
        if self.client.gone.get() {
            return;
        }
        self.waits.end(now);
        let fault = self.client.fault.get();
        self.aborted(fault.unwrap_or(Kind::UpstreamReset).reason());
        self.complete = true;
        if let Some(flight) = self.flight.take().filter(|_| fault.is_none()) {
            flight.fail(now, Cause::Reset);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let now = self.ended.unwrap_or_else(|| self.worker.now());
        if !self.complete {
            let cut = self.client.cut.get();
            self.aborted(cut.unwrap_or(Kind::CLIENT_CLOSED));
            // Cut while the backend was silent: that is the backend's failure.
            if let Some(flight) =
                self.flight.take().filter(|_| cut.is_some() && self.client.backend_silent.get())
            {
                flight.fail(now, Cause::Timeout);
            }
        }
        let code = self.code.unwrap_or(CLIENT_CLOSED);
        let took = now.since(self.started);
        self.worker.meters.answered(self.algorithm, self.method, code, took);
        self.waits.end(now);
        if let Some(algorithm) = self.algorithm.filter(|_| self.attempts > 0) {
            self.worker.meters.overhead(algorithm, self.waits.rest(took));
        }
        if let Some((meters, region)) = &self.region {
            meters.took(*region, took);
        }
        self.worker.meters.in_flight.add(-1);
        if let Some(draft) = self.draft.take() {
            draft.finish(&self.worker.shared.journal, code, now.since(self.started));
        }
        if let Some(trail) = self.trail.take() {
            self.tell(trail, code, now, took);
        }
        let timeouts = &self.worker.config().timeouts;
        self.client.handed_over(now, timeouts.body_idle.map(|t| now.after(t)), timeouts.client_idle);
    }
}
