//! The shape of the file, before any value is judged: every leaf is any TOML value and unknown keys are kept, so that
//! one pass can report all faults.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Table, Value};

use super::{ENV_PREFIX, Faults, faults::HIDDEN};

/// Beginnings of the variables that Kubernetes sets in every pod beside a Service named `ballast`.
const KUBERNETES: [&str; 2] = ["SERVICE_", "PORT"];

type Leaf = Option<Value>;
type Unknown = BTreeMap<String, Value>;

/// Declares a section: its leaves, and a place for what does not belong there.
macro_rules! section {
    ($name:ident { $($leaf:ident),* $(,)? }) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            $(pub(super) $leaf: Leaf,)*
            #[serde(flatten)]
            pub(super) unknown: Unknown,
        }

        impl $name {
            /// The keys this section knows.
            pub(super) const KEYS: &'static [&'static str] = &[$(stringify!($leaf)),*];
        }
    };
}

section!(Listen { traffic, admin, tls });
section!(Backend { name, address, server_name, weight, region, max_in_flight });
section!(Certificate { chain, key });
section!(Upstream { enabled, ca, server_name, certificate, key, min_version, insecure_skip_verify });
section!(Algo { choosers, trusted });
section!(Client { trusted_proxies, forwarded });
section!(Hash { preset, points, bound, key });
section!(Timeouts {
    connect,
    tls_handshake,
    first_byte,
    total,
    request_head,
    body_idle,
    client_idle,
    upstream_idle,
    tunnel_idle,
    drain_delay,
    drain,
    drain_tunnel,
    upgrade,
    handover
});
section!(Limits {
    connections,
    connections_per_network,
    in_flight,
    memory,
    network_v4,
    network_v6,
    header_bytes,
    headers,
    target_bytes,
    body_bytes,
    upstream_idle
});
section!(ProxyProtocol { from, timeout });
section!(Queue { length, wait });
section!(RateLimit { name, key, rate, burst, paths, shared, keys });
section!(Http2 { enabled, streams, resets, control_frames });
section!(Retry { attempts, statuses, body_bytes, backoff, budget_ratio, budget_per_second });
section!(Health { enabled, kind, path, service, when, interval, edge_interval, timeout, rise, fall });
section!(Ejection {
    enabled,
    consecutive,
    connects,
    base,
    longest,
    decay,
    requests,
    success,
    deviations,
    max_share,
    panic
});
section!(ControlToken { name, token, token_file, rights });
section!(Decisions { record, sample, keep });
section!(Metrics { backends });
section!(Scaling { least, most, target, cool_down });
section!(FoundBackend { name, address, weight, region, draining });
section!(DiscoveryFile { path });
section!(DiscoveryKubernetes {
    namespace,
    service,
    selector,
    port,
    kubeconfig,
    region_label,
    weight_label,
    watch_timeout
});
section!(ReplicasKubernetes { deployment, namespace });
section!(DiscoveryDns { name, record, port, family, servers, min_ttl, max_ttl, timeout, hold });
section!(Process { program, args, ports });
section!(Docker { host, image, network, port, command, env });
section!(State { file });
section!(Store { url, prefix, interval, timeout, password_file, instance });
section!(Geo { enabled, database, default_region, cost, regions });
section!(Signals { source, preset, path, port, interval, timeout, max_bytes, headers, container_label, map });
section!(Traces { endpoint, protocol, sample, parent, service, timeout, queue });
section!(AccessLog { format, path, share, queue, query });

/// Declares a section of what a listener shows.
macro_rules! server {
    ($name:ident { $($more:ident: $kind:ty),* }) => {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        pub(super) struct $name {
            pub(super) certificate: Vec<Certificate>,
            pub(super) min_version: Leaf,
            pub(super) client_auth: Leaf,
            pub(super) client_ca: Leaf,
            $(pub(super) $more: $kind,)*
            #[serde(flatten)]
            pub(super) unknown: Unknown,
        }

        impl $name {
            pub(super) const KEYS: &'static [&'static str] =
                &["certificate", "min_version", "client_auth", "client_ca" $(, stringify!($more))*];

            /// What it has in common with others.
            pub(super) fn server(&self) -> TlsServer<'_> {
                TlsServer {
                    certificate: &self.certificate,
                    min_version: self.min_version.as_ref(),
                    client_auth: self.client_auth.as_ref(),
                    client_ca: self.client_ca.as_ref(),
                }
            }
        }
    };
}

server!(Tls { admin: TlsAdmin });
server!(TlsAdmin {});

/// What listeners with TLS have in common.
pub(super) struct TlsServer<'a> {
    pub(super) certificate: &'a [Certificate],
    pub(super) min_version: Option<&'a Value>,
    pub(super) client_auth: Option<&'a Value>,
    pub(super) client_ca: Option<&'a Value>,
}

/// The `[replicas]` section with one for each provider.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replicas {
    pub(super) provider: Leaf,
    pub(super) weight: Leaf,
    pub(super) region: Leaf,
    pub(super) replace_after: Leaf,
    pub(super) scaling: Scaling,
    pub(super) process: Process,
    pub(super) docker: Docker,
    pub(super) kubernetes: ReplicasKubernetes,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

impl Replicas {
    pub(super) const KEYS: &'static [&'static str] =
        &["provider", "weight", "region", "replace_after", "scaling", "process", "docker", "kubernetes"];
}

/// The `[control]` section with its `[[control.tokens]]` entries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Control {
    pub(super) on_traffic_port: Leaf,
    pub(super) token: Leaf,
    pub(super) token_file: Leaf,
    pub(super) tokens: Vec<ControlToken>,
    pub(super) readers: Leaf,
    pub(super) hosts: Leaf,
    pub(super) connections: Leaf,
    pub(super) registration: Leaf,
    pub(super) networks: Leaf,
    pub(super) max_backends: Leaf,
    pub(super) request_log: Leaf,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

impl Control {
    pub(super) const KEYS: &'static [&'static str] = &[
        "on_traffic_port",
        "token",
        "token_file",
        "tokens",
        "readers",
        "hosts",
        "connections",
        "registration",
        "networks",
        "max_backends",
        "request_log",
    ];
}

/// The `[discovery]` section with one for each source.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Discovery {
    pub(super) source: Leaf,
    pub(super) settle: Leaf,
    pub(super) regions: Leaf,
    pub(super) file: DiscoveryFile,
    pub(super) kubernetes: DiscoveryKubernetes,
    pub(super) dns: DiscoveryDns,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

impl Discovery {
    pub(super) const KEYS: &'static [&'static str] =
        &["source", "settle", "regions", "file", "dns", "kubernetes"];
}

/// A file of discovery.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FoundFile {
    pub(super) backend: Vec<FoundBackend>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

impl FoundFile {
    pub(super) const KEYS: &'static [&'static str] = &["backend"];
}

/// The `[pool]` section with its `[[pool.backend]]` entries.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pool {
    pub(super) name: Leaf,
    pub(super) algorithm: Leaf,
    pub(super) slow_start: Leaf,
    pub(super) allowed_paths: Leaf,
    pub(super) max_in_flight: Leaf,
    pub(super) proxy_protocol: Leaf,
    pub(super) protocol: Leaf,
    pub(super) tls: Upstream,
    pub(super) backend: Vec<Backend>,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

impl Pool {
    pub(super) const KEYS: &'static [&'static str] = &[
        "name",
        "algorithm",
        "slow_start",
        "allowed_paths",
        "max_in_flight",
        "proxy_protocol",
        "protocol",
        "tls",
        "backend",
    ];
}

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Raw {
    pub(super) workers: Leaf,
    pub(super) listen: Listen,
    pub(super) tls: Tls,
    pub(super) pool: Pool,
    pub(super) algo: Algo,
    pub(super) client: Client,
    pub(super) proxy_protocol: ProxyProtocol,
    pub(super) hash: Hash,
    pub(super) timeouts: Timeouts,
    pub(super) limits: Limits,
    pub(super) queue: Queue,
    pub(super) rate_limits: Vec<RateLimit>,
    pub(super) http2: Http2,
    pub(super) retry: Retry,
    pub(super) health: Health,
    pub(super) ejection: Ejection,
    pub(super) control: Control,
    pub(super) decisions: Decisions,
    pub(super) metrics: Metrics,
    pub(super) discovery: Discovery,
    pub(super) replicas: Replicas,
    pub(super) state: State,
    pub(super) geo: Geo,
    pub(super) signals: Signals,
    pub(super) traces: Traces,
    pub(super) access_log: AccessLog,
    pub(super) store: Store,
    #[serde(flatten)]
    pub(super) unknown: Unknown,
}

impl Raw {
    pub(super) const KEYS: &'static [&'static str] = &[
        "workers",
        "listen",
        "tls",
        "pool",
        "algo",
        "client",
        "proxy_protocol",
        "hash",
        "timeouts",
        "limits",
        "queue",
        "rate_limits",
        "http2",
        "retry",
        "health",
        "ejection",
        "control",
        "decisions",
        "metrics",
        "discovery",
        "replicas",
        "state",
        "geo",
        "signals",
        "traces",
        "access_log",
        "store",
    ];

    /// Parses the text and lays the environment over it.
    pub(super) fn read(text: &str, env: impl Iterator<Item = (String, String)>) -> Result<Raw, Faults> {
        let mut table = table(text)?;
        let mut faults = Faults::default();
        for (key, value) in env {
            if let Some(path) = key.strip_prefix(ENV_PREFIX)
                && !KUBERNETES.iter().any(|theirs| path.starts_with(theirs))
                && let Err(remedy) = overlay(&mut table, &path.to_lowercase(), &value)
            {
                faults.add(&key, HIDDEN, remedy);
            }
        }
        if !faults.0.is_empty() {
            return Err(faults);
        }
        Value::Table(table).try_into().map_err(|_: toml::de::Error| {
            let remedy = "a section has the wrong shape: write [listen], [pool], [replicas.docker] … for the \
                          sections, [[pool.backend]] for each backend, and keys with values below them";
            Faults::one("file", "", remedy.to_owned())
        })
    }
}

impl FoundFile {
    /// Parses the text.
    pub(super) fn read(text: &str) -> Result<FoundFile, Faults> {
        Value::Table(table(text)?).try_into().map_err(|_: toml::de::Error| {
            let remedy =
                "has the wrong shape: write [[backend]] for each backend, and keys with values below it";
            Faults::one("file", "", remedy.to_owned())
        })
    }
}

fn table(text: &str) -> Result<Table, Faults> {
    text.parse().map_err(|e: toml::de::Error| {
        // Its own text would quote the line, and the line may be a secret's.
        let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Faults::one("file", "", format!("is not TOML: line {line}: {}", e.message()))
    })
}

/// Sets `a__b` to `value`, read as TOML where it is TOML (`3`, `true`, `["a"]`) and as a string otherwise.
fn overlay(table: &mut Table, path: &str, value: &str) -> Result<(), String> {
    let parsed = format!("v = {value}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
    let parsed = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
    let mut levels: Vec<&str> = path.split("__").collect();
    let leaf = levels.pop().unwrap_or_default().to_owned();
    let mut at = table;
    for level in levels {
        let next = at.entry(level).or_insert_with(|| Value::Table(Table::new()));
        at = next.as_table_mut().ok_or_else(|| format!("`{level}` is not a section"))?;
    }
    at.insert(leaf, parsed);
    Ok(())
}
