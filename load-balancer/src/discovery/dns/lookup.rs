//! One look-up: which servers are asked, and what an answer comes to. Truncated answers are asked for again over TCP, and
//! other servers where one is silent, by the resolver itself; nothing is cached here, since it is asked only when an answer's
//! time to live is over.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::config::{Dns, Family};

/// Tries beyond the first, at each server.
const RETRIES: usize = 1;

/// Why nothing was found.
#[derive(Debug)]
pub(super) enum Miss {
    /// The name has no such records, a server says.
    Absent(String),
    /// Nobody could be asked, or nobody knew.
    Failed(String),
}

/// Where a backend listens, before its name has been looked up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) port: u16,
    pub(super) weight: u32,
}

/// Who is asked.
pub(super) struct Resolver(TokioResolver);

/// What was found, and for how long.
type Answered<T> = Result<(Vec<T>, Duration), Miss>;

impl Resolver {
    /// With the servers of the settings, else those of the system.
    ///
    /// # Errors
    /// Where the system names none that could be asked.
    pub(super) fn new(settings: &Dns) -> Result<Self, String> {
        let mut builder = if settings.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(|error| format!("/etc/resolv.conf: {error}"))?
        } else {
            let servers = settings.servers.iter().map(|server| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                NameServerConfig::new(server.ip(), true, connections.into())
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        options.timeout = settings.timeout;
        options.attempts = RETRIES;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        // A CNAME's time to live counts, too.
        options.preserve_intermediates = true;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        builder.build().map(Resolver).map_err(|error| error.to_string())
    }

    /// The addresses of a name, in order.
    pub(super) async fn addresses(&self, name: &str, family: Family) -> Answered<IpAddr> {
        let ipv4 = || self.of_type(name, RecordType::A);
        let ipv6 = || self.of_type(name, RecordType::AAAA);
        match family {
            Family::Ipv4 => ipv4().await,
            Family::Ipv6 => ipv6().await,
            Family::Auto => match ipv4().await {
                Err(Miss::Absent(_)) => ipv6().await,
                other => other,
            },
            Family::Both => match futures_util::future::join(ipv4(), ipv6()).await {
                (Err(Miss::Absent(_)), other) | (other, Err(Miss::Absent(_))) => other,
                (ipv4, ipv6) => {
                    let ((mut all, ttl), (more, other)) = (ipv4?, ipv6?);
                    all.extend(more);
                    Ok((all, ttl.min(other)))
                }
            },
        }
    }

    async fn of_type(&self, name: &str, record: RecordType) -> Answered<IpAddr> {
        let answer = self.ask(name, record).await?;
        let address = |data: &RData| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        };
        let mut all: Vec<IpAddr> = answer.answers().iter().filter_map(|r| address(&r.data)).collect();
        all.sort_unstable();
        if all.is_empty() {
            return Err(Miss::Absent(format!("{name}: no {record} records")));
        }
        Ok((all, ttl(&answer)))
    }

    /// The targets of a name's SRV records: those of the best priority, which are all that are to be used while any of them
    /// answers (RFC 2782). A target of "." says that there is no such service.
    pub(super) async fn targets(&self, name: &str) -> Answered<Target> {
        let answer = self.ask(name, RecordType::SRV).await?;
        let records = || {
            answer.answers().iter().filter_map(|record| match &record.data {
                RData::SRV(srv) if !srv.target.is_root() && srv.port > 0 => Some(srv),
                _ => None,
            })
        };
        let best = records().map(|srv| srv.priority).min();
        let target = |srv: &hickory_resolver::proto::rr::rdata::SRV| Target {
            name: srv.target.to_ascii(),
            port: srv.port,
            weight: u32::from(srv.weight),
        };
        let mut all: Vec<Target> = records().filter(|srv| Some(srv.priority) == best).map(target).collect();
        all.sort_by(|a, b| (&a.name, a.port).cmp(&(&b.name, b.port)));
        if all.is_empty() {
            return Err(Miss::Absent(format!("{name}: no SRV record with a target")));
        }
        Ok((all, ttl(&answer)))
    }

    async fn ask(&self, name: &str, record: RecordType) -> Result<Lookup, Miss> {
        self.0.lookup(name, record).await.map_err(|error| {
            if error.is_no_records_found() {
                let what = if error.is_nx_domain() { "does not exist" } else { "has none" };
                Miss::Absent(format!("{name} ({record}) {what}"))
            } else {
                Miss::Failed(format!("{name} ({record}): {}", said(&error)))
            }
        })
    }
}

/// An error in few words.
fn said(error: &NetError) -> String {
    match error {
        NetError::Timeout => "no answer in time".to_owned(),
        NetError::NoConnections => "no server could be reached".to_owned(),
        other => other.to_string(),
    }
}

/// How long an answer is good: as long as its shortest-lived record.
fn ttl(answer: &Lookup) -> Duration {
    let least = answer.answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(u64::from(least.unwrap_or_default()))
}
