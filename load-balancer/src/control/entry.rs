//! One backend as the control side knows it, and the one state that follows from all of it.

use std::sync::Arc;
use std::time::Duration;

use lb_core::breaker::{self, Breaker};
use lb_core::health::{Checks, Health};
use lb_core::outlier::Window;
use lb_core::warmth::{recovery, warmth};
use lb_core::{Tallies, Tick};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::scraper::Told;
use super::weights::Weight;
use crate::config::{Config, Finder};
use crate::observe::series::Series;
use crate::registry::Backend;

/// Share that a backend begins its slow start with.
const WARMTH_LEAST: f64 = 0.1;

/// Where a backend came from, and so who may take it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The configuration file gives its address.
    Configured,
    /// It announced itself.
    Registered,
    /// The provider started it.
    Replica,
    /// Another balancer's provider started it.
    Shared,
    /// A source of discovery names it.
    Discovered(Known),
}

/// Where a backend is known from: the value of the label `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// The configuration file.
    Config,
    /// `/add`, while this process runs.
    Admin,
    /// It announced itself.
    Registration,
    /// A replica that the balancer keeps: of the file, of the state file, or for the load.
    Provider,
    /// A replica that another balancer keeps.
    Shared,
    /// A file of discovery.
    File,
    /// EndpointSlices.
    Kubernetes,
    /// The DNS.
    Dns,
}

impl Known {
    pub(super) const ALL: [(Known, &'static str); 8] = [
        (Known::Config, "config"),
        (Known::Admin, "admin"),
        (Known::Registration, "registration"),
        (Known::Provider, "provider"),
        (Known::Shared, "shared"),
        (Known::File, "file"),
        (Known::Kubernetes, "kubernetes"),
        (Known::Dns, "dns"),
    ];

    /// Where whoever `finder` names is known from.
    pub(super) fn by(finder: &Finder) -> Self {
        match finder {
            Finder::File(_) => Known::File,
            Finder::Kubernetes(_) => Known::Kubernetes,
            Finder::Dns(_) => Known::Dns,
        }
    }

    /// Whether it is a source of discovery.
    pub(super) fn is_found(self) -> bool {
        matches!(self, Known::File | Known::Kubernetes | Known::Dns)
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        Known::ALL.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }
}

/// What a backend is, seen from outside: the value of the label `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Unknown,
    Healthy,
    Warming,
    Saturated,
    Ejected,
    Trial,
    Unhealthy,
    Draining,
}

impl State {
    pub(super) const ALL: [(State, &'static str); 8] = [
        (State::Unknown, "unknown"),
        (State::Healthy, "healthy"),
        (State::Warming, "warming"),
        (State::Saturated, "saturated"),
        (State::Ejected, "ejected"),
        (State::Trial, "trial"),
        (State::Unhealthy, "unhealthy"),
        (State::Draining, "draining"),
    ];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        State::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }
}

/// One member of the pool.
pub(super) struct Entry {
    pub(super) backend: Arc<Backend>,
    /// What its metrics are called.
    pub(super) series: Arc<Series>,
    pub(super) ordinal: u32,
    pub(super) origin: Origin,
    /// Somebody asked for it by `/add`.
    pub(super) added: bool,
    pub(super) born: Tick,
    pub(super) checks: Checks,
    pub(super) breaker: Breaker,
    /// When the present ejection began.
    pub(super) ejected_at: Tick,
    /// The last ejection followed from this balancer's own traffic.
    pub(super) concluded: bool,
    /// The last one that followed from others' lasts until then.
    pub(super) followed: Option<Tick>,
    /// Ejection was due and the cap forbade it: last told then.
    pub(super) spared: Option<Tick>,
    pub(super) window: Window,
    /// The tallies as of the last second.
    pub(super) counted: Tallies,
    /// Slow start began then.
    pub(super) warming: Option<Tick>,
    /// And had been under way for so long elsewhere.
    pub(super) ahead: Duration,
    /// It asked to be left alone.
    pub(super) held: bool,
    /// It was full until then.
    pub(super) relieved: Option<Tick>,
    /// What the last snapshot gave it of its weight.
    pub(super) warmth: f64,
    /// Out of the pool, but for what is in flight: since when, and until when it may go on.
    pub(super) leaving: Option<Leaving>,
    /// It has passed its checks at least once.
    pub(super) was_up: bool,
    /// Its checks fail since then.
    pub(super) down_since: Option<Tick>,
    /// Connects kept failing: a check at once has been asked for.
    pub(super) suspected: bool,
    /// What its reports have come to.
    pub(super) weight: Weight,
    /// Where it is: the number of its region, or beyond all of them.
    pub(super) region: u8,
    pub(super) prober: Option<(AbortHandle, mpsc::Sender<()>)>,
    /// What it says about itself.
    pub(super) told: Told,
}

/// The bounds of a drain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaving {
    pub(super) since: Tick,
    pub(super) until: Tick,
}

impl Entry {
    pub(super) fn new(
        backend: Backend,
        series: Arc<Series>,
        ordinal: u32,
        origin: Origin,
        checks: Checks,
        now: Tick,
    ) -> Self {
        Entry {
            backend: Arc::new(backend),
            series,
            ordinal,
            origin,
            added: false,
            born: now,
            checks,
            breaker: Breaker::new(),
            ejected_at: now,
            concluded: false,
            followed: None,
            spared: None,
            window: Window::new(),
            counted: Tallies::default(),
            warming: None,
            ahead: Duration::ZERO,
            held: false,
            relieved: None,
            warmth: 1.0,
            leaving: None,
            was_up: false,
            down_since: None,
            suspected: false,
            weight: Weight::default(),
            region: u8::MAX,
            prober: None,
            told: Told::default(),
        }
    }

    /// In the pool for new requests, as far as anybody but traffic can say.
    pub(super) fn ready(&self, checked: bool) -> bool {
        self.leaving.is_none() && (!checked || self.checks.health() == Health::Up)
    }

    /// Where it is known from.
    pub(super) fn known(&self) -> Known {
        match self.origin {
            _ if self.added => Known::Admin,
            Origin::Configured => Known::Config,
            Origin::Registered => Known::Registration,
            Origin::Replica => Known::Provider,
            Origin::Shared => Known::Shared,
            Origin::Discovered(known) => known,
        }
    }

    /// Not ejected.
    pub(super) fn closed(&self) -> bool {
        self.breaker.state() == breaker::State::Closed
    }

    /// Since when it is half-open: one request may show whether it works again.
    pub(super) fn trying(&self) -> Option<Tick> {
        match self.breaker.state() {
            breaker::State::HalfOpen { since } => Some(since),
            _ => None,
        }
    }

    /// The share of its weight that is due at `now`, 0.1..=1: slow start and recovery from saturation.
    pub(super) fn warmth_at(&self, now: Tick, config: &Config) -> f64 {
        let now_there = now.after(self.ahead);
        let warm = self.warming.map_or(1.0, |at| warmth(at, now_there, config.pool.slow_start, WARMTH_LEAST));
        let relieved = self.relieved.map_or(1.0, |at| recovery(at, now));
        warm.min(relieved)
    }

    /// The state that matters most.
    pub(super) fn state(&self, checked: bool) -> State {
        if self.leaving.is_some() {
            return State::Draining;
        }
        match self.checks.health() {
            Health::Unknown if checked => return State::Unknown,
            Health::Down if checked => return State::Unhealthy,
            _ => {}
        }
        match self.breaker.state() {
            breaker::State::Ejected { .. } => State::Ejected,
            breaker::State::HalfOpen { .. } => State::Trial,
            breaker::State::Closed if self.held => State::Saturated,
            breaker::State::Closed if self.warmth < 1.0 => State::Warming,
            breaker::State::Closed => State::Healthy,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some((prober, _)) = &self.prober {
            prober.abort();
        }
    }
}
