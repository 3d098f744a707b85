//! Settings of what keeps the pool whole: ejection, the control endpoints, replicas and their providers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use lb_core::breaker::Rules;
use lb_core::scale::Scaling;

use super::Deployment;

/// Passive ejection: what traffic shows about a backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Ejection {
    /// Whether anything is ever ejected.
    pub enabled: bool,
    /// When, and for how long.
    pub rules: Rules,
    /// Largest share of the pool that may be ejected at once, rounded up: at least one backend, never all.
    pub max_share: f64,
    /// Share of backends without fault below which ejections are ignored, 0..=1.
    pub panic: f64,
}

/// The control endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Control {
    /// Whether they also answer on the traffic port, hiding backends' paths of the same names.
    pub on_traffic_port: bool,
    /// What a change must present; `None` lets loopback peers change things, and nobody else.
    pub token: Option<Token>,
    /// Whether `/server_up` takes backends in.
    pub registration: bool,
    /// Networks that a registered backend must lie in.
    pub networks: Vec<IpNet>,
    /// Members the pool may have, however they came.
    pub max_backends: usize,
    /// Request ids that each backend is remembered for, 0..=100,000; 0 for none.
    pub request_log: usize,
}

/// A secret that no log and no error shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub(super) String);

impl Token {
    /// Whether `offered` is the token. Takes the same time wherever the two differ.
    #[must_use]
    pub fn is(&self, offered: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differs = own.iter().zip(offered).fold(0, |all, (a, b)| all | (a ^ b));
        std::hint::black_box(differs) == 0 && own.len() == offered.len()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Replicas that the balancer starts and stops itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Replicas {
    /// By what.
    pub provider: Provider,
    /// Weight of those that `/add` and scaling start, 1..=1000.
    pub weight: u32,
    /// Their region.
    pub region: String,
    /// How long a replica may fail its checks before it is replaced.
    pub replace_after: Duration,
    /// Follow the load; `None` keeps the number that was asked for.
    pub scaling: Option<Scaling>,
}

/// What starts and stops replicas.
#[derive(Debug, Clone, PartialEq)]
pub enum Provider {
    /// Nothing: the backends are somebody else's.
    Static,
    /// Child processes on this machine.
    Process(Process),
    /// Containers of a Docker daemon.
    Docker(Docker),
    /// Pods of a Deployment, whose number alone is ours to change.
    Kubernetes(Deployment),
}

impl Provider {
    /// Whether the balancer itself starts and stops single replicas.
    #[must_use]
    pub fn starts(&self) -> bool {
        matches!(self, Provider::Process(_) | Provider::Docker(_))
    }
}

/// Replicas as child processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The program; `None` is `backend` beside this one.
    pub program: Option<PathBuf>,
    /// Arguments beside those that say name, address, weight and region.
    pub args: Vec<String>,
    /// Ports to use, lowest first; `None` leaves it to the system.
    pub ports: Option<RangeInclusive<u16>>,
}

/// Replicas as containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Docker {
    /// Where the daemon listens; `None` is its usual socket.
    pub host: Option<String>,
    /// The image, which must be there already.
    pub image: String,
    /// The network to join; `None` is Docker's default one.
    pub network: Option<String>,
    /// The port the service listens on inside.
    pub port: u16,
    /// Instead of the image's own command, where not empty.
    pub command: Vec<String>,
    /// Environment beside `SERVER_ID`, `NAME`, `PORT`, `REGION` and `WEIGHT`.
    pub env: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_itself_alone_and_is_not_shown() {
        let token = Token("secret".into());
        assert!(token.is(b"secret"));
        assert!(["", "secre", "secret2", "Secret", "xxxxxx"].iter().all(|t| !token.is(t.as_bytes())));
        assert!(!format!("{token:?}").contains("secret"));
    }
}
