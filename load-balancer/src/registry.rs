//! The one picture everybody reads: an immutable [`Snapshot`], swapped whole.
//!
//! Only the control task publishes; workers read through their own cache and hold one snapshot for a whole request, so
//! a decision never sees half of a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};

use arc_swap::ArcSwap;
use hyper::header::HeaderValue;
use lb_core::trial::Trial;
use lb_core::view::Hashing;
use lb_core::{Load, Tick, View};

use crate::config::{Address, Config};
use crate::geo::{Geo, Places};
use crate::limiter::Limiter;
use crate::tls::Certified;

/// What never changes about a backend while it is in the pool.
#[derive(Debug)]
pub struct Backend {
    /// Identity within the process; never reused.
    pub id: u64,
    /// Identity towards people: metrics, rings, logs.
    pub name: String,
    /// Where it listens.
    pub address: Address,
    /// What its certificate must name; `None` where it is spoken with in clear.
    pub secure: Option<String>,
    /// `Host` for clients that sent none (HTTP/1.0).
    pub host: HeaderValue,
    /// Configured weight.
    pub weight: u32,
    /// The metric label `region`.
    pub region: String,
    /// Live numbers, shared with the view.
    pub load: Arc<Load>,
    /// The one request that may show whether it works again, after an ejection.
    pub trial: Arc<Trial>,
    /// When it last told about itself (or began to be asked), as nanoseconds of a [`Tick`]; 0 while nobody asks.
    pub scraped: Arc<AtomicU64>,
    /// Requests in flight there, where the pool bounds them.
    pub taken: Arc<AtomicU32>,
}

/// One state of the pool. `backends[i]` is `view.members()[i]`.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows by one with each publication.
    pub epoch: u64,
    /// The configuration in force.
    pub config: Arc<Config>,
    /// What policies see.
    pub view: View,
    /// Positions of backends that are not leaving, in the order in which they joined.
    pub members: Box<[u32]>,
    /// Positions of backends that wait for their trial, and since when; nearly always none.
    pub trials: Box<[(u32, Tick)]>,
    /// The state of each backend: the metric label `state`.
    pub states: Box<[&'static str]>,
    /// Why discovery cannot be relied on now; `None` where it is off or well.
    pub trouble: Option<String>,
    /// What places clients; `None` where regions do not matter.
    pub geo: Option<Arc<Geo>>,
    /// Where the members are.
    pub places: Places,
    /// What TLS is spoken by.
    pub certified: Certified,
    /// Requests in flight that each backend is given at most, `u32::MAX` for any number; `None` where none is bounded.
    pub ceilings: Option<Box<[u32]>>,
    /// Requests in flight that memory leaves room for; `None` for any number, which is nearly always.
    pub pressed: Option<usize>,
    /// Rate limits.
    pub limiters: Arc<[Arc<Limiter>]>,
    /// What the proxy needs beyond that.
    pub backends: Box<[Arc<Backend>]>,
}

impl Snapshot {
    /// Before anything has joined.
    #[must_use]
    pub fn empty(config: &Arc<Config>) -> Self {
        let hashing = Hashing::Ring { bound: None };
        let view = View::new(Vec::new(), Arc::default(), Arc::default(), hashing);
        Snapshot {
            epoch: 0,
            config: Arc::clone(config),
            view,
            members: Box::default(),
            trials: Box::default(),
            states: Box::default(),
            trouble: None,
            geo: None,
            places: Places::default(),
            certified: Certified::default(),
            ceilings: None,
            pressed: None,
            limiters: Arc::default(),
            backends: Box::default(),
        }
    }
}

/// Holder of the current snapshot.
#[derive(Debug)]
pub struct Registry {
    current: ArcSwap<Snapshot>,
}

impl Registry {
    /// Starts with `first`.
    #[must_use]
    pub fn new(first: Snapshot) -> Arc<Self> {
        Arc::new(Registry { current: ArcSwap::from_pointee(first) })
    }

    /// The current snapshot.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The swap itself, for readers that keep a cache.
    pub(crate) fn source(&self) -> &ArcSwap<Snapshot> {
        &self.current
    }

    /// Replaces the snapshot. Called by the control task alone.
    pub(crate) fn publish(&self, next: Snapshot) {
        self.current.store(Arc::new(next));
    }
}
