//! Settings of what keeps the pool whole: ejection, replicas and their providers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

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
