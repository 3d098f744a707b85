//! Where backends are found by looking: see [`crate::discovery`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Kubernetes;

/// Who says which backends there are, beside the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovery {
    /// Who is asked; `None` asks nobody.
    pub finder: Option<Finder>,
    /// What is said within this time is taken in at once.
    pub settle: Duration,
    /// What a source calls a region or zone, and the region that it is here.
    pub regions: BTreeMap<String, String>,
}

/// A source of backends.
#[derive(Debug, Clone, PartialEq)]
pub enum Finder {
    /// A file that is watched.
    File(PathBuf),
    /// EndpointSlices of a Kubernetes cluster.
    Kubernetes(Box<Kubernetes>),
    /// Records in the DNS.
    Dns(Dns),
}

/// What is asked of the DNS.
#[derive(Debug, Clone, PartialEq)]
pub struct Dns {
    /// The name that is looked up.
    pub name: String,
    /// Which records it has.
    pub record: Record,
    /// Which addresses count.
    pub family: Family,
    /// Who is asked; empty for those of the system (`/etc/resolv.conf`).
    pub servers: Vec<SocketAddr>,
    /// Bounds of the time to live.
    pub ttl: (Duration, Duration),
    /// For one answer.
    pub timeout: Duration,
    /// How long the last list holds where a name has no records (any more).
    pub hold: Duration,
}

/// Which records name the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// Addresses (A, AAAA), each of them a backend at this port.
    Address(u16),
    /// SRV: targets with their ports and weights.
    Srv,
}

/// Which addresses count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4; IPv6 where there is none of that, so that a host with both counts once.
    Auto,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// All: a host with both counts twice.
    Both,
}

impl Finder {
    /// Its name in logs, and the metric label `source`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Finder::File(_) => "file",
            Finder::Kubernetes(_) => "kubernetes",
            Finder::Dns(_) => "dns",
        }
    }
}
