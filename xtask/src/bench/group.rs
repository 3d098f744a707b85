//! The questions a bench can be asked by name: what each measures, on whom, and how long.
//!
//! Together (`--scenario all`) they take less than twenty minutes; each alone may be given longer windows.

use clap::ValueEnum;

use super::peer::Peer;
use super::scenario::{Scenario, Way};

/// A named question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// CPU per request beside every peer: 64 connections, 100 bytes
    Plain,
    /// 1, 16 and 512 connections
    Connections,
    /// Answers of 1 KiB, 64 KiB and 1 MiB
    Bodies,
    /// A connection for each request
    Churn,
    /// TLS from clients
    Tls,
    /// HTTP/2 from clients, in clear and over TLS
    Http2,
    /// Latency at fixed rates, in an open loop
    Latency,
    /// What each feature of ours costs
    Prices,
    /// 6, 100, 1,000 and 10,000 backends
    Backends,
    /// Memory at rest, and of each of 10,000 idle connections
    Idle,
    /// 10,000 clients at once for a minute
    Crowd,
    /// Every one of these
    All,
}

/// How long a group measures, where nobody says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) rounds: u32,
    pub(crate) seconds: u32,
    pub(crate) warm_up: u32,
}

/// Idle connections, and clients of a crowd.
pub(crate) const MANY: usize = 10_000;

/// Every peer that is somebody else's, ours, and the limit.
const EVERYBODY: &[Peer] =
    &[Peer::Haproxy, Peer::Nginx, Peer::Envoy, Peer::Caddy, Peer::Pingora, Peer::Ours, Peer::Relay];
/// Those that ours is near to.
const NEAR: &[Peer] = &[Peer::Haproxy, Peer::Nginx, Peer::Ours, Peer::Relay];

impl Group {
    /// All but `All`, in the order they are measured.
    pub(crate) fn every() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied().filter(|group| *group != Self::All)
    }

    /// Its name in results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Connections => "connections",
            Self::Bodies => "bodies",
            Self::Churn => "churn",
            Self::Tls => "tls",
            Self::Http2 => "http2",
            Self::Latency => "latency",
            Self::Prices => "prices",
            Self::Backends => "backends",
            Self::Idle => "idle",
            Self::Crowd => "crowd",
            Self::All => "all",
        }
    }

    /// Whom it measures; who does not speak a scenario's way is left out of that scenario.
    pub(crate) const fn peers(self) -> &'static [Peer] {
        match self {
            Self::Connections | Self::Bodies => NEAR,
            Self::Latency => &[Peer::Haproxy, Peer::Ours],
            Self::Prices => Peer::PRICED,
            Self::Backends => &[Peer::Ours, Peer::Unchecked],
            Self::Crowd => &[Peer::Ours],
            Self::Plain | Self::Churn | Self::Tls | Self::Http2 | Self::Idle | Self::All => EVERYBODY,
        }
    }

    pub(crate) fn scenarios(self) -> Vec<Scenario> {
        let plain = Scenario::PLAIN;
        match self {
            Self::Plain | Self::Prices | Self::All => vec![plain],
            Self::Connections => [1, 16, 512].map(|connections| Scenario { connections, ..plain }).to_vec(),
            Self::Bodies => [1 << 10, 64 << 10, 1 << 20].map(|body| Scenario { body, ..plain }).to_vec(),
            Self::Churn => vec![Scenario { way: Way::Churn, ..plain }],
            Self::Tls => vec![Scenario { way: Way::Tls, ..plain }],
            Self::Http2 => [Way::H2c, Way::H2].map(|way| Scenario { way, connections: 8, ..plain }).to_vec(),
            Self::Latency => [10_000, 30_000].map(|rate| Scenario { rate: Some(rate), ..plain }).to_vec(),
            Self::Backends => [6, 100, 1_000, 10_000].map(|backends| Scenario { backends, ..plain }).to_vec(),
            Self::Idle | Self::Crowd => vec![Scenario { connections: MANY, ..plain }],
        }
    }

    pub(crate) const fn windows(self) -> Windows {
        let (rounds, seconds, warm_up) = match self {
            Self::Plain => (5, 3, 1),
            Self::Prices => (6, 2, 1),
            Self::Latency => (3, 5, 1),
            Self::Idle => (1, 0, 0),
            Self::Crowd => (1, 60, 0),
            _ => (3, 3, 1),
        };
        Windows { rounds, seconds, warm_up }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_them_fit_twenty_minutes() {
        let seconds: usize = Group::every()
            .map(|group| {
                let Windows { rounds, seconds, warm_up } = group.windows();
                let measured: usize = group
                    .scenarios()
                    .iter()
                    .map(|scenario| group.peers().iter().filter(|peer| peer.speaks(scenario.way)).count())
                    .sum();
                measured * rounds as usize * (seconds + warm_up) as usize
            })
            .sum();
        // What is left is for starting them, and for the idle connections.
        assert!(seconds < 18 * 60, "{seconds} s");
        assert!(Group::every().all(|group| !group.scenarios().is_empty()));
    }
}
