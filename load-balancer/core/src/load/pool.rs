//! What a pool shares: typical latency and duration, all requests in flight, and the turn of the round robins.

use std::sync::atomic::Ordering::{AcqRel, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use super::Load;
use crate::turns::Turns;
use crate::word::AtomicF32;

/// What a pool shares: the typical latency and duration, all requests in flight, and the turn of the round robins.
#[derive(Debug, Default)]
pub struct PoolLoad {
    latency: AtomicF32,
    /// The same without what the way to a backend costs beyond the way to the nearest region.
    service: AtomicF32,
    /// Half-width of the latency ratio's dead-band.
    slack: AtomicF32,
    duration: AtomicF32,
    /// The lowest latency estimate among the eligible backends.
    best: AtomicF32,
    /// Other balancers are likely to have requests at some backend.
    others: AtomicBool,
    /// Recent failures weigh on some backend.
    indebted: AtomicBool,
    pub(super) in_flight: Padded,
    lasting: AtomicU32,
    turn: PaddedTurn,
    /// The order that other balancers draw from as well; `None` where there are none.
    shared: Option<Turns>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Padded(pub(super) AtomicU32);

#[derive(Debug, Default)]
#[repr(align(128))]
struct PaddedTurn(AtomicU64);

impl PoolLoad {
    /// With turns that other balancers draw from as well.
    #[must_use]
    pub fn sharing() -> Self {
        PoolLoad { shared: Some(Turns::default()), ..PoolLoad::default() }
    }

    /// The order that is shared with other balancers, and this one's next turn in it; `None` where nothing is shared.
    #[must_use]
    pub fn turns(&self) -> Option<(&Turns, u64)> {
        Some((self.shared.as_ref()?, self.turn.0.load(Relaxed)))
    }

    /// The median of the measured backends' latencies (µs); 0 while none is measured.
    #[must_use]
    pub fn latency(&self) -> f32 {
        self.latency.get()
    }

    /// The same without the distances of regions: what backends themselves take (µs).
    #[must_use]
    pub fn service(&self) -> f32 {
        self.service.get()
    }

    /// One plus the half-width of the dead-band within which a backend's latency counts as the pool's.
    #[must_use]
    pub fn band(&self) -> f32 {
        1.0 + self.slack.get()
    }

    /// The lowest latency estimate (µs) among the backends that may be picked, as of the last refresh; 0 while nothing is
    /// known. What a pick is measured against.
    #[must_use]
    pub fn best(&self) -> f32 {
        self.best.get()
    }

    /// Sets what [`PoolLoad::best`] tells. One caller only.
    pub(crate) fn set_best(&self, best: f32) {
        self.best.set(best);
    }

    /// Whether other balancers are likely to have requests at any of the backends, as of the last refresh. A pick that
    /// need not look for them is a tenth quicker.
    #[must_use]
    pub fn others(&self) -> bool {
        self.others.load(Relaxed)
    }

    /// Sets what [`PoolLoad::others`] tells. One caller only.
    pub(crate) fn set_others(&self, any: bool) {
        self.others.store(any, Relaxed);
    }

    /// Whether recent failures weigh on any of the backends. A pick that need not look for them is a tenth quicker.
    #[must_use]
    pub fn indebted(&self) -> bool {
        self.indebted.load(Relaxed)
    }

    /// Failures weigh on a backend from now on.
    pub(super) fn indebt(&self) {
        self.indebted.store(true, Release);
    }

    /// Looks whether failures still weigh on `loads`, which are all there are. One caller only.
    pub(crate) fn settle_debts<'a>(&self, loads: &(impl Iterator<Item = &'a Load> + Clone)) {
        let any = || loads.clone().any(|load| load.failure_debt() > 0.0);
        // A failure may come between the look and the answer: looked again after it, one is missed for a tick at most.
        if any() || (self.indebted.swap(false, AcqRel) && any()) {
            self.indebt();
        }
    }

    /// Sets the half-width of that dead-band, 0 or more. One caller only.
    pub fn set_slack(&self, slack: f32) {
        self.slack.set(slack);
    }

    /// The median of the measured backends' mean durations, first byte to last included (µs); 0 while none is measured.
    #[must_use]
    pub fn duration(&self) -> f32 {
        self.duration.get()
    }

    /// Requests in flight to the whole pool.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.0.load(Relaxed)
    }

    /// Of the requests in flight, those that go on for as long as they like: tunnels, event streams, streams of gRPC.
    fn lasting(&self) -> u32 {
        self.lasting.load(Relaxed)
    }

    /// The other ones: those that come and go.
    #[must_use]
    pub fn passing(&self) -> u32 {
        // Read one after the other: a stream may end between the two.
        self.in_flight().saturating_sub(self.lasting())
    }

    /// One request in flight more goes on for as long as it likes; `ended` has to follow.
    pub fn lasts(&self) {
        self.lasting.fetch_add(1, Relaxed);
    }

    /// One of those has ended.
    pub fn ended(&self) {
        self.lasting.fetch_sub(1, Relaxed);
    }

    /// The next turn of the round robins: one order over all workers, and over all balancers where it is shared.
    pub fn next_turn(&self) -> u64 {
        let own = self.turn.0.fetch_add(1, Relaxed);
        match &self.shared {
            None => own,
            Some(turns) => turns.resolve(own),
        }
    }

    /// Publishes the medians of what `loads` have measured; `scratch` is reused between calls. One caller only.
    pub fn settle<'a>(&self, loads: impl Iterator<Item = &'a Load> + Clone, scratch: &mut Vec<f32>) {
        let latencies = loads.clone().filter_map(|l| l.estimate.answered());
        median(latencies, scratch).inspect(|&m| self.latency.set(m));
        let service =
            loads.clone().filter_map(|l| Some((l.estimate.answered()? - l.distance.get()).max(1.0)));
        median(service, scratch).inspect(|&m| self.service.set(m));
        let durations = loads.map(|l| l.mean_duration.get()).filter(|&d| d > 0.0);
        median(durations, scratch).inspect(|&m| self.duration.set(m));
    }
}

/// The (lower) median, if there is any value.
fn median(values: impl Iterator<Item = f32>, scratch: &mut Vec<f32>) -> Option<f32> {
    scratch.clear();
    scratch.extend(values);
    let middle = scratch.len().checked_sub(1)? / 2;
    Some(*scratch.select_nth_unstable_by(middle, f32::total_cmp).1)
}
