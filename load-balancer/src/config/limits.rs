//! How much of anything is accepted, and from whom.

use std::net::IpAddr;
use std::time::Duration;

use hyper::header::HeaderName;
use ipnet::IpNet;

use super::AllowedPath;

/// How much of anything is accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Client connections at once, over all workers.
    pub connections: usize,
    /// The same of one client network, 1 or more; `None` for any number.
    pub connections_per_network: Option<usize>,
    /// What a client network is.
    pub networks: Prefixes,
    /// Requests in flight at once, those that wait included; `None` for any number.
    pub in_flight: Option<usize>,
    /// Resident memory of the process beyond which fewer requests are let in.
    pub memory: Memory,
    /// Bytes of a request's header names and values.
    pub header_bytes: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// Bytes of a request target.
    pub target_bytes: usize,
    /// Bytes of a request body; `None` for any.
    pub body_bytes: Option<u64>,
    /// Idle connections kept to one backend, per worker.
    pub upstream_idle: usize,
}

/// How much memory the process may have in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Any amount.
    Any,
    /// So many bytes.
    Bytes(u64),
    /// Nine tenths of what its control group may have; any amount where that is not bounded.
    OfGroup,
}

/// How much of an address is its network's: whoever has one address has all of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    /// Bits of IPv4 addresses, 1..=32.
    pub v4: u8,
    /// Bits of IPv6 addresses, 1..=128.
    pub v6: u8,
}

impl Prefixes {
    /// The network of an address.
    #[must_use]
    pub fn of(self, ip: IpAddr) -> IpNet {
        let bits = if ip.is_ipv4() { self.v4 } else { self.v6 };
        IpNet::new(ip, bits).map_or(IpNet::from(ip), |net| net.trunc())
    }
}

/// The PROXY protocol on the traffic listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyProtocol {
    /// Peers that must begin each connection by saying for whom it is.
    pub from: Vec<IpNet>,
    /// How long they may take to say so.
    pub timeout: Duration,
}

/// How many requests a key may make.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimit {
    /// What it is called: in metrics, answers, and among balancers.
    pub name: String,
    /// Whose requests are counted together.
    pub key: RateKey,
    /// Requests a second, above 0.
    pub rate: f64,
    /// Requests at once, 1 or more.
    pub burst: u32,
    /// Which requests it is about; empty for all.
    pub paths: Vec<AllowedPath>,
    /// Whether it is one limit over all balancers.
    pub shared: bool,
    /// Keys that are told apart at least.
    pub keys: usize,
}

/// Whose requests a rate limit counts together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateKey {
    /// Those of a client network (`limits.network_v4`, `limits.network_v6`), by the address after the trust rules.
    Client,
    /// Those with the same value of a header; without it, of a client network.
    Header(HeaderName),
    /// Everybody's.
    All,
}

/// Where requests wait while every backend has `max_in_flight`.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Requests that wait at once.
    pub length: usize,
    /// How long each may.
    pub wait: Duration,
}
