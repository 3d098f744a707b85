//! What the parts of one HTTP/2 connection know of each other: its socket, its driver and the tasks of its streams.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lb_core::Tick;

use super::calm::{Calm, Flood};
use super::frames::{Frame, Kind};
use crate::listener::Client;
use crate::worker::Worker;

/// One connection. Never leaves its worker.
pub(super) struct Link {
    pub(super) worker: Rc<Worker>,
    /// The connection's own facts: who the peer is.
    pub(super) client: Rc<Client>,
    /// The stream whose task is about to be made.
    pub(super) next: RefCell<Option<Rc<Client>>>,
    /// Told to take no further streams.
    pub(super) last: Cell<bool>,
    /// Streams that are WebSockets' tunnels.
    pub(super) tunnels: Cell<usize>,
    /// The driver ends it before its time.
    pub(super) cut: Cell<bool>,
    /// Why it must end.
    pub(super) flood: Cell<Option<Flood>>,
    calm: RefCell<Calm>,
    /// Streams that are being answered.
    open: Cell<usize>,
    /// The newest of all.
    newest: Cell<u32>,
    /// Since when none is open.
    idle_since: Cell<Tick>,
    /// Since when the client owes the rest of a head, or, at first, its settings.
    head_since: Cell<Option<Tick>>,
    /// Since when the client takes in nothing of what we have to say.
    stuck_since: Cell<Option<Tick>>,
}

/// What a connection is late with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// The client, with a head.
    Head,
    /// The client, with reading.
    Reading,
    /// Nobody: there is nothing to do.
    Idle,
}

impl Link {
    pub(super) fn new(worker: &Rc<Worker>, client: &Rc<Client>) -> Rc<Self> {
        let (now, limits) = (worker.now(), &worker.config().http2);
        Rc::new(Link {
            worker: Rc::clone(worker),
            client: Rc::clone(client),
            next: RefCell::new(None),
            last: Cell::new(false),
            tunnels: Cell::new(0),
            cut: Cell::new(false),
            flood: Cell::new(None),
            calm: RefCell::new(Calm::new(limits.resets, limits.control_frames, now)),
            open: Cell::new(0),
            newest: Cell::new(0),
            idle_since: Cell::new(now),
            head_since: Cell::new(Some(now)),
            stuck_since: Cell::new(None),
        })
    }

    /// Time has come to now, for what is about to be counted.
    pub(super) fn tick(&self) {
        self.calm.borrow_mut().pass(self.worker.now());
    }

    /// The client has sent the beginning of this frame.
    pub(super) fn received(&self, frame: Frame) {
        match frame.kind {
            Kind::Reset => self.worker.meters.reset("client", frame.code),
            Kind::Headers => self.newest.set(self.newest.get().max(frame.stream)),
            _ => {}
        }
        self.judge(self.calm.borrow_mut().received(frame));
    }

    /// We have sent it.
    pub(super) fn sent(&self, frame: Frame) {
        if frame.kind == Kind::Reset {
            self.worker.meters.reset("balancer", frame.code);
        }
        self.judge(self.calm.borrow_mut().sent(frame));
    }

    fn judge(&self, verdict: Result<(), Flood>) {
        if let Err(flood) = verdict
            && self.flood.get().is_none()
        {
            self.flood.set(Some(flood));
            self.client.wake();
        }
    }

    /// Whether the client owes the rest of a head, `anew` where it is another one than before.
    pub(super) fn owes_head(&self, owes: bool, anew: bool) {
        let since = if owes && !anew { self.head_since.get() } else { None };
        self.head_since.set(owes.then(|| since.unwrap_or_else(|| self.worker.now())));
    }

    /// What we wrote went out, or did not.
    pub(super) fn wrote(&self, gone: bool) {
        if gone {
            self.stuck_since.set(None);
        } else if self.stuck_since.get().is_none() {
            self.stuck_since.set(Some(self.worker.now()));
        }
    }

    /// The newest stream that there was.
    pub(super) fn newest(&self) -> u32 {
        self.newest.get()
    }

    /// Since when there is nothing to do, as long as there is nothing to do.
    pub(super) fn idle_since(&self) -> Tick {
        self.idle_since.get()
    }

    /// A stream begins.
    pub(super) fn opened(&self) {
        self.open.set(self.open.get() + 1);
        self.worker.meters.http2().streams.add(1);
    }

    /// A stream has ended.
    pub(super) fn closed(&self) {
        self.open.set(self.open.get() - 1);
        self.worker.meters.http2().streams.add(-1);
        self.idle_since.set(self.worker.now());
    }

    /// When the connection is late, and with what, as things are.
    pub(super) fn due(&self) -> Option<(Tick, Late)> {
        let timeouts = &self.worker.config().timeouts;
        let head = self.head_since.get().map(|since| (since.after(timeouts.request_head), Late::Head));
        let stuck = self.stuck_since.get().zip(timeouts.body_idle);
        let stuck = stuck.map(|(since, limit)| (since.after(limit), Late::Reading));
        let idle =
            (self.open.get() == 0).then(|| (self.idle_since.get().after(timeouts.client_idle), Late::Idle));
        [head, stuck, idle].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}
