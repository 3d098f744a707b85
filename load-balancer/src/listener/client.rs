//! What is known about one client connection, or one stream of it, and the one timer it has.
//!
//! A timer per request would cost more than a pick. Instead a request only writes its deadline into a cell; the
//! connection's single sleep is armed once per timeout period and, when it fires, looks whether the deadline has moved.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::header::HeaderValue;
use lb_core::Tick;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

use super::admit::Origin;
use super::gate::Fault;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Kind;
use crate::forward::{Exchange, Live};
use crate::worker::Worker;

/// What a connection is doing, and so what its deadline means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between requests: past the deadline it is closed.
    Idle,
    /// A request head has begun to arrive: past the deadline 408.
    Head,
    /// A request is being answered: past the deadline the waiting handler is told.
    Waiting,
    /// A response is being sent: past the deadline the connection is cut, unless bytes have moved.
    Streaming,
    /// hyper has all of the response and still writes: the same.
    Flushing,
}

/// The deadline passed before what was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

/// An upgraded exchange, to be carried on once both HTTP halves have let go of their sockets.
pub struct Tunnel {
    /// The upstream half.
    pub live: Live,
    /// The request it grew from, still counted as in flight.
    pub exchange: Exchange,
}

/// An address that was looked up, and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The address.
    pub ip: IpAddr,
    /// [`crate::geo::Geo::number`] of who said so.
    pub by: u64,
    /// Its region.
    pub region: Option<u8>,
}

/// State shared by a connection's socket, its driver and the request being handled. Never leaves its worker.
pub struct Client {
    /// The peer's address, or the one that a proxy said it speaks for (PROXY protocol).
    pub peer: SocketAddr,
    /// What it connected to, where backends are told.
    pub server: Option<SocketAddr>,
    /// A proxy said so: whatever the address is, it is nobody on this machine.
    pub relayed: bool,
    /// The same as a header value, made once.
    pub peer_ip: HeaderValue,
    /// TLS is spoken with it.
    pub secure: Cell<bool>,
    /// The peer is one of `client.trusted_proxies`.
    pub trusted: bool,
    /// Where the client was that the last request came from, for the next one.
    pub place: Cell<Option<Place>>,
    /// The peer may choose algorithms and ask for reasons.
    pub chooser: bool,
    /// Set by a request body that broke a rule, for the handler to tell apart from a broken backend.
    pub fault: Cell<Option<Kind>>,
    /// What the gate has found wrong with what the client sent.
    pub refused: Cell<Option<Fault>>,
    /// The request's body has been passed on to its end.
    pub body_done: Cell<bool>,
    /// Bytes of the request's body so far.
    pub uploaded: Cell<u64>,
    /// When the last piece of the next request's head was read; `None` where that was before its turn.
    pub head_at: Cell<Option<Tick>>,
    /// When the request was sent to its last byte.
    pub sent_at: Cell<Tick>,
    /// Bytes have moved since the deadline was set.
    pub moved: Cell<bool>,
    /// The client waits for a piece of the response's body that the backend has not sent.
    pub backend_silent: Cell<bool>,
    /// The backend waits for a piece of the request's body that the client has not sent.
    pub starving: Cell<bool>,
    /// The client left in the middle of its request's body.
    pub gone: Cell<bool>,
    /// Why the driver cut the connection, for the exchange's record.
    pub cut: Cell<Option<&'static str>>,
    /// The client has said how long it will wait (`grpc-timeout`).
    pub told: Cell<bool>,
    /// Set when a response upgrades the connection.
    pub tunnel: RefCell<Option<Tunnel>>,
    /// The connection is a tunnel, which ends by a deadline of its own.
    pub tunnelled: Cell<bool>,
    /// What drives it.
    pub(super) task: RefCell<Option<AbortHandle>>,
    phase: Cell<Phase>,
    deadline: Cell<Tick>,
    total: Cell<Tick>,
    idle_until: Cell<Tick>,
    park_at: Cell<Tick>,
    expired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A connection that rests for so long is parked: what serves it is made anew for the next request, for a microsecond or two, so
/// seldom that nobody pays for it.
const PARK_AFTER: Duration = Duration::from_secs(1);
/// No deadline.
const NEVER: Tick = Tick::from_nanos(u64::MAX);

impl Client {
    /// A connection that has just been accepted.
    #[must_use]
    pub(super) fn new(origin: &Origin, worker: &Worker) -> Self {
        let client = Client::of(origin.client, &worker.config(), worker.now());
        // Behind a proxy that says nobody could be anybody.
        let chooser = client.chooser && origin.named;
        Client { server: origin.server, relayed: origin.relayed, chooser, ..client }
    }

    /// The same under these settings, accepted at `now`.
    #[must_use]
    pub fn of(peer: SocketAddr, config: &Config, now: Tick) -> Self {
        let ip = peer.ip().to_canonical();
        let text = HeaderValue::from_str(&ip.to_string());
        let text = text.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let trusted = config.client.trusted_proxies.iter().any(|net| net.contains(&ip));
        Client::known(
            peer,
            text,
            trusted,
            config.choosers.includes(ip),
            now.after(config.timeouts.request_head),
        )
    }

    /// What is known about one of several requests at once on this client's connection: a state of its own.
    #[must_use]
    pub fn of_stream(&self, worker: &Worker) -> Self {
        let head_by = worker.now().after(worker.config().timeouts.request_head);
        let stream = Client::known(self.peer, self.peer_ip.clone(), self.trusted, self.chooser, head_by);
        stream.place.set(self.place.get());
        stream.secure.set(self.secure.get());
        Client { server: self.server, relayed: self.relayed, ..stream }
    }

    /// `head_by` is when a request's head must have come.
    fn known(peer: SocketAddr, peer_ip: HeaderValue, trusted: bool, chooser: bool, head_by: Tick) -> Self {
        Client {
            peer,
            secure: Cell::new(false),
            server: None,
            relayed: false,
            peer_ip,
            trusted,
            place: Cell::new(None),
            chooser,
            fault: Cell::new(None),
            refused: Cell::new(None),
            body_done: Cell::new(true),
            uploaded: Cell::new(0),
            head_at: Cell::new(None),
            sent_at: Cell::new(Tick::ZERO),
            moved: Cell::new(false),
            backend_silent: Cell::new(false),
            starving: Cell::new(false),
            gone: Cell::new(false),
            cut: Cell::new(None),
            told: Cell::new(false),
            tunnel: RefCell::new(None),
            tunnelled: Cell::new(false),
            task: RefCell::new(None),
            phase: Cell::new(Phase::Head),
            deadline: Cell::new(head_by),
            total: Cell::new(NEVER),
            idle_until: Cell::new(NEVER),
            park_at: Cell::new(NEVER),
            expired: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// The scheme of what it asks for.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.secure.get() { "https" } else { "http" }
    }

    /// Whose address it is that connected, where nobody stands between.
    #[must_use]
    pub fn own_ip(&self) -> Option<IpAddr> {
        (!self.relayed).then(|| self.peer.ip().to_canonical())
    }

    /// What the connection is doing.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Enters `phase` with a deadline; `None` is none.
    pub fn enter(&self, phase: Phase, deadline: Option<Tick>) {
        self.phase.set(phase);
        self.expired.set(false);
        self.deadline.set(deadline.unwrap_or(NEVER));
    }

    /// Begins a request that may take until `total`.
    pub fn begin(&self, total: Option<Tick>) {
        self.total.set(total.unwrap_or(NEVER));
        self.fault.set(None);
        self.uploaded.set(0);
        self.cut.set(None);
        self.backend_silent.set(false);
        self.body_done.set(true);
        self.starving.set(false);
        self.gone.set(false);
        self.enter(Phase::Waiting, total);
    }

    /// Moves the deadline of the current phase; never beyond the request's total.
    pub fn arm(&self, deadline: Option<Tick>) {
        self.deadline.set(deadline.unwrap_or(NEVER).min(self.total.get()));
    }

    /// All of the response has been handed to hyper at `now`: it has until `flush` to be written, and the connection may then
    /// rest for `idle`.
    pub fn handed_over(&self, now: Tick, flush: Option<Tick>, idle: Duration) {
        self.enter(Phase::Flushing, flush);
        self.rests(now, idle);
    }

    fn rests(&self, now: Tick, idle: Duration) {
        self.idle_until.set(now.after(idle));
        self.park_at.set(now.after(PARK_AFTER));
    }

    /// The response is written: the connection waits for its next request, from `late` on where that differs from when the
    /// response was handed over.
    pub(super) fn rest(&self, late: Option<(Tick, Duration)>) {
        self.total.set(NEVER);
        if let Some((now, idle)) = late {
            self.rests(now, idle);
        }
        self.enter(Phase::Idle, Some(self.idle_until.get().min(self.park_at.get())));
    }

    /// Where the deadline that has passed was not that of `timeouts.client_idle`: sets that, and returns true.
    pub(super) fn rests_on(&self) -> bool {
        let rests_on = self.deadline.get() < self.idle_until.get();
        self.deadline.set(self.idle_until.get());
        rests_on
    }

    /// Past a deadline while sending: if bytes have moved since it was set, the next one is set, and true returned.
    pub(super) fn goes_on(&self, worker: &Worker) -> bool {
        let now = worker.now();
        let goes_on = self.moved.take() && !self.out_of_time(now);
        if goes_on {
            self.arm(worker.config().timeouts.body_idle.map(|t| now.after(t)));
        }
        goes_on
    }

    /// Lifts the total, for exchanges that are meant to last.
    pub fn unbounded(&self) {
        self.total.set(NEVER);
    }

    /// The present deadline.
    #[must_use]
    pub fn deadline(&self) -> Tick {
        self.deadline.get()
    }

    /// Whether the request as a whole is out of time.
    #[must_use]
    pub fn out_of_time(&self, now: Tick) -> bool {
        now >= self.total.get()
    }

    /// Tells the waiting handler that its deadline has passed. The next deadline is the handler's to set.
    pub fn expire(&self) {
        self.expired.set(true);
        self.deadline.set(NEVER);
    }

    /// Runs `future` until it ends or the connection's deadline (see [`Client::arm`]) passes.
    ///
    /// # Errors
    /// [`Elapsed`] where the deadline came first.
    pub async fn within<F: Future>(&self, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(out) => Poll::Ready(Ok(out)),
            Poll::Pending if self.expired.take() => Poll::Ready(Err(Elapsed)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Remembers whom to wake; the driver's task never changes.
    pub(super) fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if waker.is_none() {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Ends the connection at once, unless it is a tunnel; whether it was ended.
    pub(super) fn end_request(&self) -> bool {
        let ends = !self.tunnelled.get();
        if let Some(task) = self.task.borrow().as_ref().filter(|_| ends) {
            task.abort();
        }
        ends
    }

    /// Has the driver look again.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

/// A connection's one sleep.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Tick,
    polled: bool,
}

impl Timer {
    pub(super) fn new(clock: &Clock, deadline: Tick) -> Self {
        Timer {
            sleep: Box::pin(tokio::time::sleep_until(clock.instant(deadline))),
            armed: deadline,
            polled: false,
        }
    }

    /// Ready once `deadline` has passed. A deadline later than the armed one costs nothing until the sleep fires.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, clock: &Clock, deadline: Tick) -> Poll<()> {
        if deadline == NEVER {
            return Poll::Pending;
        }
        if deadline < self.armed {
            self.rearm(clock, deadline);
        }
        loop {
            if self.polled && !self.sleep.is_elapsed() {
                return Poll::Pending;
            }
            self.polled = true;
            if self.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.armed >= deadline {
                return Poll::Ready(());
            }
            self.rearm(clock, deadline);
        }
    }

    fn rearm(&mut self, clock: &Clock, deadline: Tick) {
        self.armed = deadline;
        self.polled = false;
        self.sleep.as_mut().reset(clock.instant(deadline));
    }
}
