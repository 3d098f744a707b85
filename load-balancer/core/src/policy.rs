//! The picks: ten algorithms over one [`View`], so that any request may use any of them and all see the same state.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::rng::Rng;
use crate::view::View;
use sight::{Live, Sight};

mod adaptive;
mod consistent_hash;
mod ip_hash;
mod least_connections;
mod least_response_time;
mod min_eta;
mod power_of_two;
mod random;
mod round_robin;
mod scan;
pub(crate) mod sight;
mod weighted_round_robin;

/// What a pick may look at beside the view.
#[derive(Debug)]
pub struct Pick<'a> {
    /// The client's address, after the trusted-proxy rules.
    pub client: IpAddr,
    /// The client's region, an index into the pool's regions, where there are any and it is known.
    pub region: Option<u8>,
    /// The hash key's bytes.
    pub key: &'a [u8],
    /// Members this request has failed on.
    pub tried: &'a Tried,
    /// The caller's randomness.
    pub rng: &'a mut Rng,
}

/// The chosen member, as a position in [`View::members`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Position in the view that was asked.
    pub member: u32,
}

/// Why nothing was picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPick {
    /// The pool has no members.
    Empty,
    /// It has members, but none is eligible.
    NoneEligible,
    /// This request has tried every eligible member.
    AllTried,
}

impl fmt::Display for NoPick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoPick::Empty => "the pool has no backends",
            NoPick::NoneEligible => "no backend of the pool is healthy",
            NoPick::AllTried => "every healthy backend was tried",
        })
    }
}

/// Anything that picks. [`Algorithm`] is the product's; tests put the bugs of others behind it.
pub trait Policy {
    /// Picks an eligible member that was not tried, in constant or bounded time and without allocating.
    ///
    /// # Errors
    /// [`NoPick`] where there is no such member.
    fn pick(&self, view: &View, pick: &mut Pick<'_>) -> Result<Decision, NoPick>;
}

/// Most attempts a request can make, and so most members it can have tried.
pub const MAX_TRIED: usize = 8;

/// The members one request has failed on: a few positions, held inline.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tried {
    at: [u32; MAX_TRIED],
    len: u8,
}

impl Tried {
    /// Adds a member; beyond [`MAX_TRIED`] it is forgotten.
    pub fn insert(&mut self, member: u32) {
        if let Some(slot) = self.at.get_mut(usize::from(self.len)) {
            *slot = member;
            self.len += 1;
        }
    }

    /// Whether `member` was tried.
    #[must_use]
    pub fn contains(&self, member: u32) -> bool {
        self.members().contains(&member)
    }

    /// The members that were tried.
    pub(crate) fn members(&self) -> &[u32] {
        &self.at[..usize::from(self.len)]
    }

    /// How many were tried.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether none was tried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The product's algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Algorithm {
    /// In turn, weights ignored.
    RoundRobin,
    /// In turn, smoothly in proportion to weight.
    WeightedRoundRobin,
    /// Fewest in flight for its weight.
    LeastConnections,
    /// By the client's address.
    IpHash,
    /// The less loaded of two distinct draws.
    PowerOfTwo,
    /// By the request's key, with bounded loads.
    ConsistentHash,
    /// In-flight, latency and errors as one cost.
    #[default]
    Adaptive,
    /// Smallest latency estimate times requests in flight.
    LeastResponseTime,
    /// Smallest sum of expected durations in flight.
    MinEta,
    /// A draw in proportion to weight.
    Random,
}

impl Algorithm {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Algorithm; 10] = [
        Algorithm::RoundRobin,
        Algorithm::WeightedRoundRobin,
        Algorithm::LeastConnections,
        Algorithm::IpHash,
        Algorithm::PowerOfTwo,
        Algorithm::ConsistentHash,
        Algorithm::Adaptive,
        Algorithm::LeastResponseTime,
        Algorithm::MinEta,
        Algorithm::Random,
    ];

    /// The name used in `?algo=`, in configuration and in metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::RoundRobin => "round_robin",
            Algorithm::WeightedRoundRobin => "weighted_round_robin",
            Algorithm::LeastConnections => "least_connections",
            Algorithm::IpHash => "ip_hash",
            Algorithm::PowerOfTwo => "power_of_two",
            Algorithm::ConsistentHash => "consistent_hash",
            Algorithm::Adaptive => "adaptive",
            Algorithm::LeastResponseTime => "least_response_time",
            Algorithm::MinEta => "min_eta",
            Algorithm::Random => "random",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of [`Algorithm::ALL`]; its message lists the valid ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownAlgorithm;

impl fmt::Display for UnknownAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("use one of")?;
        Algorithm::ALL
            .iter()
            .enumerate()
            .try_for_each(|(i, a)| write!(f, "{} {a}", if i == 0 { ":" } else { "," }))
    }
}

impl std::error::Error for UnknownAlgorithm {}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        if name == "power_of_two_choices" {
            return Ok(Algorithm::PowerOfTwo);
        }
        Algorithm::ALL.into_iter().find(|a| a.name() == name).ok_or(UnknownAlgorithm)
    }
}

impl Policy for Algorithm {
    fn pick(&self, view: &View, pick: &mut Pick<'_>) -> Result<Decision, NoPick> {
        self.pick_by(view, pick, &mut Live)
    }
}

impl Algorithm {
    /// The pick, over whatever `sight` shows.
    pub(crate) fn pick_by(
        self,
        view: &View,
        pick: &mut Pick<'_>,
        sight: &mut impl Sight,
    ) -> Result<Decision, NoPick> {
        let member = match self {
            Algorithm::RoundRobin => round_robin::pick(view, pick, sight),
            Algorithm::WeightedRoundRobin => weighted_round_robin::pick(view, pick, sight),
            Algorithm::LeastConnections => least_connections::pick(view, pick, sight),
            Algorithm::IpHash => ip_hash::pick(view, pick),
            Algorithm::PowerOfTwo => power_of_two::pick(view, pick, sight),
            Algorithm::ConsistentHash => consistent_hash::pick(view, pick, sight),
            Algorithm::Adaptive => adaptive::pick(view, pick, sight),
            Algorithm::LeastResponseTime => least_response_time::pick(view, pick, sight),
            Algorithm::MinEta => min_eta::pick(view, pick, sight),
            Algorithm::Random => random::pick(view, pick),
        };
        member.map(|member| Decision { member }).ok_or_else(|| {
            if view.members().is_empty() {
                NoPick::Empty
            } else if view.eligible().is_empty() {
                NoPick::NoneEligible
            } else {
                NoPick::AllTried
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for a in Algorithm::ALL {
            assert_eq!(a.name().parse(), Ok(a));
        }
        assert_eq!("power_of_two_choices".parse(), Ok(Algorithm::PowerOfTwo));
        let err = "fastest".parse::<Algorithm>().unwrap_err().to_string();
        assert!(Algorithm::ALL.iter().all(|a| err.contains(a.name())), "{err}");
        assert_eq!(Algorithm::default(), Algorithm::Adaptive);
    }

    #[test]
    fn tried_holds_what_fits() {
        let mut tried = Tried::default();
        (0..10).for_each(|i| tried.insert(i));
        assert_eq!(tried.len(), MAX_TRIED);
        assert!(tried.contains(7) && !tried.contains(8) && !tried.is_empty());
    }
}
