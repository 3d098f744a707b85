//! Rate limits as requests meet them: a key is read out of the request, hashed, and asked about in a table that all workers
//! share. The arithmetic, and why flooding the table forgives nobody, is [`lb_core::rate`]'s.
//!
//! A table is in pieces with a lock each, held for some tens of nanoseconds; where no limits are configured nothing of this
//! is on a request's way. A limit that is shared with other balancers notes who used it, and is charged with what was used
//! elsewhere, once a round ([`usage`]); no request ever waits for a store.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::http::request::Parts;
use lb_core::Tick;
use lb_core::rate::{Debtors, Rate, Verdict};
use prometheus::IntCounter;
use sha2::{Digest, Sha256};

use crate::config::{Limits, RateKey, RateLimit};
use crate::error::{Kind, ProxyError, Quota};
use crate::http::paths;
use crate::observe::Metrics;

pub mod usage;

use usage::{Round, Usage};

/// Pieces of a table: far more than there are workers that could meet at one.
const PIECES: usize = 16;

/// One limit, with what its keys owe. Lives as long as its configuration stays the same.
#[derive(Debug)]
pub struct Limiter {
    settings: RateLimit,
    rate: Rate,
    pieces: Box<[Mutex<Debtors>]>,
    seed: RandomState,
    /// Who used it since the others heard of it; `None` where it is this balancer's alone.
    usage: Option<Mutex<Usage>>,
    limited: IntCounter,
}

impl Limiter {
    /// A limit whose keys owe nothing yet; it is shared where its settings say so and there are others to share it with.
    #[must_use]
    pub fn new(settings: &RateLimit, metrics: &Metrics, shares: bool) -> Self {
        let pieces = if settings.key == RateKey::All { 1 } else { PIECES };
        let room = settings.keys.div_ceil(pieces);
        Limiter {
            rate: Rate::new(settings.rate, settings.burst),
            pieces: (0..pieces).map(|_| Mutex::new(Debtors::new(room))).collect(),
            seed: RandomState::new(),
            usage: (settings.shared && shares).then(Mutex::default),
            limited: metrics.rate_limited.with_label_values(&[&metrics.pool, &settings.name]),
            settings: settings.clone(),
        }
    }

    /// The limits of `settings`: those of `before` that are the same go on.
    #[must_use]
    pub fn all(
        settings: &[RateLimit],
        before: &[Arc<Limiter>],
        metrics: &Metrics,
        shares: bool,
    ) -> Arc<[Arc<Limiter>]> {
        let kept = |each: &RateLimit| before.iter().find(|limiter| limiter.settings == *each).map(Arc::clone);
        settings
            .iter()
            .map(|each| kept(each).unwrap_or_else(|| Arc::new(Limiter::new(each, metrics, shares))))
            .collect()
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Counts a request at `now`.
    ///
    /// # Errors
    /// Where its key has made too many.
    pub fn admit(&self, head: &Parts, client: IpAddr, limits: &Limits, now: Tick) -> Result<(), ProxyError> {
        if !paths::may_be(&self.settings.paths, head.uri.path()) {
            return Ok(());
        }
        let key = self.key(head, client, limits);
        let Verdict::Limited(wait) =
            lock(&self.pieces[key as usize % self.pieces.len()]).take(&self.rate, key, now)
        else {
            if let Some(usage) = &self.usage {
                lock(usage).note(key);
            }
            return Ok(());
        };
        self.limited.inc();
        let name = self.name();
        let quota =
            Quota { name: name.to_owned(), burst: self.rate.burst(), window: self.rate.window(), wait };
        let mut error = ProxyError::new(Kind::RateLimited, format!("the limit \"{name}\" is reached"));
        error.quota = Some(Box::new(quota));
        Err(error)
    }

    /// Who is asked about. Without the header it is the client's network: leaving it out is no way around the limit.
    fn key(&self, head: &Parts, client: IpAddr, limits: &Limits) -> u64 {
        match &self.settings.key {
            RateKey::All => 0,
            RateKey::Header(name) => match head.headers.get(name) {
                Some(value) => self.hash(b"h", value.as_bytes()),
                None => self.network(client, limits),
            },
            RateKey::Client => self.network(client, limits),
        }
    }

    fn network(&self, client: IpAddr, limits: &Limits) -> u64 {
        match limits.networks.of(client.to_canonical()).network() {
            IpAddr::V4(ip) => self.hash(b"4", &ip.octets()),
            IpAddr::V6(ip) => self.hash(b"6", &ip.octets()),
        }
    }

    /// Nobody may find two keys that are one. Balancers that share a limit must find the same, so theirs is not seeded but
    /// costs more.
    fn hash(&self, kind: &[u8], key: &[u8]) -> u64 {
        if self.usage.is_none() {
            return self.seed.hash_one((kind, key));
        }
        let digest =
            Sha256::new().chain_update(self.name()).chain_update([0]).chain_update(kind).chain_update(key);
        digest.finalize().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }

    /// What the others are to know at `now`; `None` where it is not shared.
    pub(crate) fn told(&self, now: Tick, interval: Duration) -> Option<Vec<Round>> {
        Some(lock(self.usage.as_ref()?).told(now, interval))
    }

    /// Takes in what others used. Whoever says so is believed as far as an honest balancer could be right.
    pub(crate) fn charge(&self, now: Tick, round: &Round) {
        if self.usage.is_none() {
            return;
        }
        let most = self.rate.most_within(usage::LONGEST).min(u64::from(u32::MAX)) as u32;
        for &(key, requests) in round.used.iter().take(usage::MOST) {
            let piece = &self.pieces[key as usize % self.pieces.len()];
            lock(piece).charge(&self.rate, key, now, requests.min(most));
        }
    }
}

/// What a thread died of while it held this is no reason to let everybody in, nor nobody: numbers stay numbers.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
