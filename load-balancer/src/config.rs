//! What the balancer was told: one TOML file, overlaid by the environment, refused with every fault at once.
//!
//! Two steps: `raw` is the shape of the file (any value, unknown keys kept), `check` turns it into a [`Config`] whose
//! values need no further doubt. A fault names the field, the value and the remedy.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use lb_core::Algorithm;

use crate::hashing::Preset;
use crate::proxy_protocol::Version;

mod check;
mod control;
mod decisions;
mod discovery;
mod faults;
mod geo;
mod healing;
mod http2;
mod kubernetes;
mod limits;
mod metrics;
mod raw;
mod signals;
mod store;
mod tls;
mod units;
mod watching;

pub use self::signals::{Combine, Map, Matcher, Measure, Of, Pattern, Scrape, Signal, Signals, Source};
pub use control::{Control, Right, Token};
pub use decisions::Decisions;
pub use discovery::{Discovery, Dns, Family, Finder, Record};
pub use faults::{Fault, Faults};
pub use geo::Geo;
pub use healing::{Docker, Ejection, Process, Provider, Replicas};
pub use http2::{Http2, Spoken};
pub use kubernetes::{Cluster, Deployment, Kubernetes, Labels, Port};
pub use limits::{Limits, Memory, Prefixes, ProxyProtocol, Queue, RateKey, RateLimit};
pub use metrics::Metrics;
pub use store::{Kind, Place, Secret, Store};
pub use tls::{Tls, Upstream};
pub use watching::{AccessLog, Believed, Format, Protocol, Target, Traces};

/// Variables that overlay the file begin with this; `__` separates levels: `BALLAST_TIMEOUTS__CONNECT=3s`.
pub const ENV_PREFIX: &str = "BALLAST_";

/// Largest weight of a backend, however it is known.
pub(crate) const WEIGHT_MOST: u32 = 1_000;

/// Longest name of a pool or backend, bytes: it becomes a metric label.
pub(crate) const NAME_MOST: usize = 63;

/// Whether a text may be the name of a pool or backend.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=NAME_MOST).contains(&text.len()) && text.bytes().all(fits)
}

/// A validated configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Data-plane threads, 1 or more.
    pub workers: usize,
    /// Where to listen.
    pub listen: Listen,
    /// TLS towards clients; `None` where it is off.
    pub tls: Option<Tls>,
    /// TLS towards operators.
    pub admin_tls: Option<std::sync::Arc<crate::tls::Server>>,
    /// The backends and how to choose among them.
    pub pool: Pool,
    /// Who may choose the algorithm by `?algo=` or `x-lb-algo`, and ask for reasons by `x-lb-debug`.
    pub choosers: Choosers,
    /// What to believe about clients.
    pub client: Client,
    /// Who says whose connection it is.
    pub proxy_protocol: ProxyProtocol,
    /// How `consistent_hash` works.
    pub hash: Hash,
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// How much of anything is accepted.
    pub limits: Limits,
    /// Where requests wait while every backend is full.
    pub queue: Queue,
    /// How many requests who may make.
    pub rate_limits: Vec<RateLimit>,
    /// What is taken of HTTP/2.
    pub http2: Http2,
    /// When a failed attempt is repeated.
    pub retry: Retry,
    /// Active health checks; `None` takes every backend as up.
    pub health: Option<HealthChecks>,
    /// When traffic itself takes a backend out.
    pub ejection: Ejection,
    /// Who may see and change what, and from where.
    pub control: Control,
    /// Which decisions are recorded.
    pub decisions: Decisions,
    /// How much is told about single backends.
    pub metrics: Metrics,
    /// Who says which backends there are, beside this configuration.
    pub discovery: Discovery,
    /// What can start and stop replicas.
    pub replicas: Replicas,
    /// Where membership is kept over restarts; `None` keeps it nowhere.
    pub state: Option<PathBuf>,
    /// Where clients are; `None` asks nobody.
    pub geo: Option<Geo>,
    /// What is believed about backends from themselves.
    pub signals: Signals,
    /// Which requests are traced, and where their spans go.
    pub traces: Traces,
    /// Which requests are written down, and where.
    pub access_log: AccessLog,
    /// Where several balancers meet.
    pub store: Store,
}

/// Addresses to listen on. Port 0 takes a free one.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// For clients.
    pub traffic: SocketAddr,
    /// For operators: metrics and health.
    pub admin: SocketAddr,
    /// For clients with TLS, beside `traffic`.
    pub tls: Option<SocketAddr>,
}

/// One pool of backends.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// The metric label `pool`.
    pub name: String,
    /// The algorithm of requests that do not choose.
    pub algorithm: Algorithm,
    /// How long a backend that joins a running pool takes to get its full share; zero for at once.
    pub slow_start: Duration,
    /// The paths that backends have; empty for all.
    pub allowed_paths: Vec<AllowedPath>,
    /// How backends are told whose a connection is, at its beginning; `None` tells them nothing.
    pub proxy_protocol: Option<Version>,
    /// Requests in flight that a backend is given at most, where it has no number of its own; `None` for any number.
    pub max_in_flight: Option<u32>,
    /// What is spoken with backends.
    pub protocol: Spoken,
    /// TLS towards backends.
    pub tls: Upstream,
    /// In pool order; names are unique.
    pub backends: Vec<Backend>,
}

/// A path that backends have, spelt as [`crate::http::paths`] compares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedPath {
    /// This path alone.
    Exact(String),
    /// This path and everything below it; written with `/*` behind it, which is not kept.
    Below(String),
}

/// One configured backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Its identity in metrics, rings and logs.
    pub name: String,
    /// Where it listens; `None` is a replica that the provider starts.
    pub address: Option<Address>,
    /// Whether TLS is spoken with it (`https://` in front of its address), or not (`http://`); else as with the pool.
    pub tls: Option<bool>,
    /// What its certificate must name; `None` is as with the pool.
    pub server_name: Option<String>,
    /// Its share, 1..=1000.
    pub weight: u32,
    /// The metric label `region`; empty where none was given.
    pub region: String,
    /// Requests in flight that it is given at most, instead of [`Pool::max_in_flight`].
    pub max_in_flight: Option<u32>,
}

/// `host:port`; a host name is resolved at each new connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and port.
    Ip(SocketAddr),
    /// A name and port.
    Name(String, u16),
}

impl Address {
    /// `host:port`, with an optional `http://` in front and `/` behind, as people paste it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Address> {
        let text = text.strip_prefix("http://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        if let Ok(ip) = text.parse::<SocketAddr>() {
            return (ip.port() > 0).then_some(Address::Ip(ip));
        }
        let (host, port) = text.rsplit_once(':')?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        // Rust's numbers may have a sign.
        let port: u16 = port.parse().ok().filter(|_| !port.starts_with('+'))?;
        let valid = port > 0 && !host.is_empty() && host.len() <= 253 && host.chars().all(fits);
        valid.then(|| Address::Name(host.to_owned(), port))
    }
}

impl Address {
    /// Its host alone.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Address::Ip(address) => address.ip().to_string(),
            Address::Name(host, _) => host.clone(),
        }
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        match self {
            Address::Ip(address) => address.port(),
            Address::Name(_, port) => *port,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(a) => a.fmt(f),
            Address::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

/// Who may choose an algorithm per request.
#[derive(Debug, Clone, PartialEq)]
pub enum Choosers {
    /// Every client: for demos and labs, since it lets a client steer load.
    Anyone,
    /// Clients (by connection, not by header) in these networks.
    Trusted(Vec<IpNet>),
    /// Nobody.
    Off,
}

impl Choosers {
    /// Whether the peer at `ip` may choose.
    #[must_use]
    pub fn includes(&self, ip: std::net::IpAddr) -> bool {
        match self {
            Choosers::Anyone => true,
            Choosers::Trusted(nets) => nets.iter().any(|net| net.contains(&ip)),
            Choosers::Off => false,
        }
    }
}

/// What to believe about clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Client {
    /// Proxies whose `X-Forwarded-*` and `Forwarded` are believed and extended. Others' are replaced.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether to send RFC 7239 `Forwarded` beside `X-Forwarded-*`.
    pub forwarded: bool,
}

/// How `consistent_hash` works.
#[derive(Debug, Clone, PartialEq)]
pub struct Hash {
    /// Ring and hash functions.
    pub preset: Preset,
    /// Points per unit of weight on the default ring.
    pub points: u32,
    /// c of bounded loads on the default ring; `None` for a plain ring.
    pub bound: Option<f32>,
    /// Where the key comes from: the first source that is present.
    pub key: Vec<KeySource>,
}

/// Where a hash key may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A query parameter.
    Query(String),
    /// A header, lower case.
    Header(hyper::header::HeaderName),
    /// A cookie.
    Cookie(String),
    /// The path without query.
    Path,
    /// The client's address: always present.
    ClientAddr,
}

/// How long anything may take. `None` is for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeouts {
    /// To connect to a backend, TLS included.
    pub connect: Duration,
    /// For a client to shake hands.
    pub tls_handshake: Duration,
    /// From the request sent to the response head.
    pub first_byte: Option<Duration>,
    /// The whole exchange, retries included; not for upgrades and event streams.
    pub total: Option<Duration>,
    /// To receive a request head.
    pub request_head: Duration,
    /// Between two pieces of a body, in either direction.
    pub body_idle: Option<Duration>,
    /// A client connection between requests.
    pub client_idle: Duration,
    /// A pooled connection to a backend between requests.
    pub upstream_idle: Duration,
    /// An upgraded connection (WebSocket) with no byte either way.
    pub tunnel_idle: Option<Duration>,
    /// When told to stop: how long to go on before [`Timeouts::drain`], not ready, so that whoever asks /ready sends nobody.
    pub drain_delay: Duration,
    /// For requests in flight when told to stop.
    pub drain: Duration,
    /// For upgraded connections then, instead of [`Timeouts::drain`].
    pub drain_tunnel: Duration,
    /// For a successor to be ready.
    pub upgrade: Duration,
    /// Once it is: how long clients with kept connections have to move there, before [`Timeouts::drain`].
    pub handover: Duration,
}

/// When a failed attempt is repeated, on another backend.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Attempts beyond the first, 0..=7.
    pub attempts: usize,
    /// Answers, 500..=599, that another backend is asked to better.
    pub statuses: Vec<u16>,
    /// Bytes of a request's body that are kept to be sent again; 0 keeps none.
    pub body_bytes: usize,
    /// The most that is waited before the first retry of a request that had been sent; doubled with each further one.
    /// Zero waits never.
    pub backoff: Duration,
    /// Retries allowed per request, on average.
    pub budget_ratio: f64,
    /// Retries a second that are always allowed.
    pub budget_per_second: f64,
}

/// What a health check asks, and so what passes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// GET of a path: 2xx.
    Get(String),
    /// `grpc.health.v1.Health/Check` of a service, or of the server as a whole: SERVING.
    Grpc(String),
}

/// Active health checks.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthChecks {
    /// What is asked.
    pub asked: Asked,
    /// Only backends that traffic has said nothing about since the last check.
    pub idle_only: bool,
    /// Between checks of a settled backend, ± 15 %.
    pub interval: Duration,
    /// Between checks while its state is in doubt.
    pub edge_interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// Passes in a row that bring a backend up.
    pub rise: u32,
    /// Failures in a row that take it down.
    pub fall: u32,
}

impl Config {
    /// Reads `path` and the environment.
    ///
    /// # Errors
    /// All faults of both, or why the file could not be read.
    pub fn load(path: &Path, env: impl Iterator<Item = (String, String)>) -> Result<Config, Faults> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Faults::one(&path.display().to_string(), "", format!("cannot be read: {e}")))?;
        check::check(&raw::Raw::read(&text, env)?, Some(path))
    }

    /// The same from the file's text; state is kept only where `state.file` names a file.
    ///
    /// # Errors
    /// All faults at once.
    pub fn parse(text: &str, env: impl Iterator<Item = (String, String)>) -> Result<Config, Faults> {
        check::check(&raw::Raw::read(text, env)?, None)
    }
}

/// What a file of discovery says: `[[backend]]` entries.
///
/// # Errors
/// All faults at once.
pub fn found(text: &str) -> Result<Vec<crate::discovery::Found>, Faults> {
    check::found(text)
}

#[cfg(test)]
mod tests;
