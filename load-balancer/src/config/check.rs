//! From any values to values without doubt. Every leaf is read even after a fault, so that all are reported.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use lb_core::Algorithm;
use toml::Value;

use super::faults::HIDDEN;
use super::{
    Address, AllowedPath, Backend, Choosers, Client, Config, Faults, Hash, HealthChecks, KeySource, Listen,
    NAME_MOST, Pool, Retry, Spoken, Timeouts, WEIGHT_MOST, is_name, raw, units,
};
use crate::hashing::Preset;
use crate::http::paths;
use crate::proxy_protocol::Version;

mod control;
mod decisions;
mod discovery;
mod geo;
mod healing;
mod http2;
mod kubernetes;
mod limits;
mod metrics;
mod signals;
mod store;
mod tls;
mod watching;

/// A day: anything longer is a mistyped unit.
const LONGEST: Duration = Duration::from_secs(86_400);

pub(super) use discovery::found;

/// Validates everything.
pub(super) fn check(raw: &raw::Raw, file: Option<&Path>) -> Result<Config, Faults> {
    let mut c = Checker::default();
    c.unknown("", &raw.unknown, raw::Raw::KEYS);
    let pool = c.pool(raw);
    let listen = c.listen(&raw.listen);
    let http2 = c.http2(&raw.http2);
    let cluster = c.cluster(&raw.discovery.kubernetes);
    let discovery = c.discovery(&raw.discovery, &cluster);
    let config = Config {
        workers: c.workers(raw),
        tls: c.tls(&raw.tls, &listen, http2.enabled),
        admin_tls: c.admin_tls(&raw.tls.admin),
        listen,
        geo: c.geo(&raw.geo, &pool.backends, &raw.replicas, &discovery),
        pool,
        choosers: c.choosers(&raw.algo),
        client: c.client(&raw.client),
        proxy_protocol: c.proxy_protocol(&raw.proxy_protocol),
        hash: c.hash(&raw.hash),
        timeouts: c.timeouts(&raw.timeouts),
        limits: c.limits(&raw.limits),
        queue: c.queue(&raw.queue),
        rate_limits: c.rate_limits(&raw.rate_limits),
        http2,
        retry: c.retry(&raw.retry),
        health: c.health(&raw.health),
        ejection: c.ejection(&raw.ejection),
        control: c.control(&raw.control),
        decisions: c.decisions(&raw.decisions),
        metrics: c.metrics(&raw.metrics),
        discovery,
        replicas: c.replicas(&raw.replicas, &cluster),
        state: c.state(&raw.state, file),
        signals: c.signals(&raw.signals),
        traces: c.traces(&raw.traces),
        access_log: c.access_log(&raw.access_log),
        store: c.store(&raw.store),
    };
    c.fits_together(&config);
    if c.faults.0.is_empty() { Ok(config) } else { Err(c.faults) }
}

#[derive(Default)]
struct Checker {
    faults: Faults,
}

impl Checker {
    fn workers(&mut self, raw: &raw::Raw) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        match self.int("workers", raw.workers.as_ref(), 0, 0, 1_024) {
            0 => cores,
            n => n as usize,
        }
    }

    fn listen(&mut self, raw: &raw::Listen) -> Listen {
        self.unknown("listen", &raw.unknown, raw::Listen::KEYS);
        Listen {
            traffic: self.socket("listen.traffic", raw.traffic.as_ref(), ([0, 0, 0, 0], 5000)),
            admin: self.socket("listen.admin", raw.admin.as_ref(), ([127, 0, 0, 1], 9901)),
            tls: self.other_socket("listen.tls", raw.tls.as_ref()),
        }
    }

    fn pool(&mut self, all: &raw::Raw) -> Pool {
        let raw = &all.pool;
        self.unknown("pool", &raw.unknown, raw::Pool::KEYS);
        let name = self.name("pool.name", raw.name.as_ref(), "default");
        let algorithm = self.text("pool.algorithm", raw.algorithm.as_ref(), Algorithm::default().name());
        let algorithm = algorithm.parse().unwrap_or_else(|e| {
            self.faults.add("pool.algorithm", &quoted(&algorithm), format!("is no algorithm; {e}"));
            Algorithm::default()
        });
        let mut names = BTreeSet::new();
        let backends: Vec<Backend> =
            raw.backend.iter().enumerate().map(|(i, b)| self.backend(i, b, &mut names)).collect();
        let tls = self.upstream(&raw.tls, &backends);
        let allowed_paths = self.paths("pool.allowed_paths", raw.allowed_paths.as_ref());
        let slow_start = self.time_or_off("pool.slow_start", raw.slow_start.as_ref(), "15s");
        let max_in_flight = self.ceiling("pool.max_in_flight", raw.max_in_flight.as_ref());
        let slow_start = slow_start.unwrap_or_default();
        let protocol = self.spoken(raw.protocol.as_ref());
        let proxy_protocol = self.told_by(raw.proxy_protocol.as_ref(), protocol);
        Pool {
            name,
            algorithm,
            allowed_paths,
            slow_start,
            proxy_protocol,
            max_in_flight,
            protocol,
            tls,
            backends,
        }
    }

    fn paths(&mut self, field: &str, value: Option<&Value>) -> Vec<AllowedPath> {
        let mut allowed = Vec::new();
        for text in self.texts(field, value, &[]) {
            match paths::allowed(&text) {
                Some(path) => allowed.push(path),
                None => self.faults.add(
                    field,
                    &quoted(&text),
                    "is no path: write \"/status\", or \"/api/*\" for everything below; without query and dot segments",
                ),
            }
        }
        allowed
    }

    fn backend(&mut self, i: usize, raw: &raw::Backend, names: &mut BTreeSet<String>) -> Backend {
        let at = |leaf: &str| format!("pool.backend[{i}].{leaf}");
        self.unknown(&format!("pool.backend[{i}]"), &raw.unknown, raw::Backend::KEYS);
        let name = self.name(&at("name"), raw.name.as_ref(), &format!("backend{}", i + 1));
        if !names.insert(name.clone()) {
            self.faults.add(&at("name"), &quoted(&name), "is used twice: names must be unique");
        }
        let (address, tls) = self.address(&at("address"), raw.address.as_ref());
        Backend {
            name,
            tls,
            server_name: self.server_name(&at("server_name"), raw.server_name.as_ref()),
            address: address.or_else(|| {
                // A fault that was reported must not be reported again as a missing address.
                raw.address.is_some().then(|| Address::Name(String::new(), 0))
            }),
            weight: self.int(&at("weight"), raw.weight.as_ref(), 1, 1, WEIGHT_MOST.into()) as u32,
            region: self.text(&at("region"), raw.region.as_ref(), ""),
            max_in_flight: self.ceiling(&at("max_in_flight"), raw.max_in_flight.as_ref()),
        }
    }

    /// How backends are told whose a connection is.
    fn told_by(&mut self, value: Option<&Value>, protocol: Spoken) -> Option<Version> {
        let version = self.one_of("pool.proxy_protocol", value, &["off", "v1", "v2"]);
        let version = [None, Some(Version::V1), Some(Version::V2)][version];
        if version.is_some() && protocol == Spoken::Http2 {
            let remedy = "a connection of HTTP/2 carries many clients' requests: write pool.protocol = \"http1\", or \"off\" here";
            self.faults.add("pool.proxy_protocol", &value.map(Value::to_string).unwrap_or_default(), remedy);
        }
        version
    }

    fn ceiling(&mut self, field: &str, value: Option<&Value>) -> Option<u32> {
        let most = self.int(field, value, 0, 0, 1_000_000);
        (most > 0).then_some(most as u32)
    }

    /// An address, and whether what is in front of it says to speak TLS there, or not to.
    fn address(&mut self, field: &str, value: Option<&Value>) -> (Option<Address>, Option<bool>) {
        if value.is_none() {
            return (None, None);
        }
        let text = self.text(field, value, "");
        let (tls, bare) = match text.strip_prefix("https://") {
            Some(bare) => (Some(true), bare),
            None => (text.starts_with("http://").then_some(false), text.as_str()),
        };
        let parsed = Address::parse(bare).filter(|_| tls != Some(true) || !bare.starts_with("http://"));
        if parsed.is_none() {
            let remedy = "is not an address: write \"host:port\", or \"https://host:port\" for TLS";
            self.faults.add(field, &quoted(&text), remedy);
        }
        (parsed, tls)
    }

    fn choosers(&mut self, raw: &raw::Algo) -> Choosers {
        self.unknown("algo", &raw.unknown, raw::Algo::KEYS);
        let trusted = self.nets("algo.trusted", raw.trusted.as_ref(), &["127.0.0.0/8", "::1/128"]);
        let choice = self.text("algo.choosers", raw.choosers.as_ref(), "trusted");
        match choice.as_str() {
            "anyone" => Choosers::Anyone,
            "trusted" => Choosers::Trusted(trusted),
            "off" => Choosers::Off,
            other => {
                let remedy = "write \"anyone\", \"trusted\" (the networks in algo.trusted) or \"off\"";
                self.faults.add("algo.choosers", &quoted(other), remedy);
                Choosers::Off
            }
        }
    }

    fn client(&mut self, raw: &raw::Client) -> Client {
        self.unknown("client", &raw.unknown, raw::Client::KEYS);
        Client {
            trusted_proxies: self.nets("client.trusted_proxies", raw.trusted_proxies.as_ref(), &[]),
            forwarded: self.flag("client.forwarded", raw.forwarded.as_ref(), false),
        }
    }

    fn hash(&mut self, raw: &raw::Hash) -> Hash {
        self.unknown("hash", &raw.unknown, raw::Hash::KEYS);
        let preset = self.text("hash.preset", raw.preset.as_ref(), "default");
        let found = Preset::ALL.iter().find(|(name, _)| *name == preset);
        if found.is_none() {
            let names: Vec<_> = Preset::ALL.iter().map(|(name, _)| *name).collect();
            self.faults.add("hash.preset", &quoted(&preset), format!("use one of: {}", names.join(", ")));
        }
        let bound = self.float("hash.bound", raw.bound.as_ref(), 1.25, 0.0, 100.0);
        if bound > 0.0 && bound < 1.0 {
            let remedy =
                "a backend cannot be held below its fair share: write 0 (unbounded) or 1.05 and more";
            self.faults.add("hash.bound", &bound.to_string(), remedy);
        }
        let keys = self.texts("hash.key", raw.key.as_ref(), &["query:request_id", "client_addr"]);
        let mut key: Vec<KeySource> = Vec::new();
        for text in keys {
            match key_source(&text) {
                Some(source) => key.push(source),
                None => self.faults.add(
                    "hash.key",
                    &quoted(&text),
                    "is no key source: use query:NAME, header:NAME, cookie:NAME, path or client_addr",
                ),
            }
        }
        Hash {
            preset: found.map_or(Preset::Default, |(_, p)| *p),
            points: self.int(
                "hash.points",
                raw.points.as_ref(),
                i64::from(lb_core::ring::DEFAULT_POINTS),
                1,
                65_536,
            ) as u32,
            bound: (bound > 0.0).then_some(bound as f32),
            key,
        }
    }

    fn timeouts(&mut self, raw: &raw::Timeouts) -> Timeouts {
        self.unknown("timeouts", &raw.unknown, raw::Timeouts::KEYS);
        Timeouts {
            connect: self.time("timeouts.connect", raw.connect.as_ref(), "2s"),
            tls_handshake: self.time("timeouts.tls_handshake", raw.tls_handshake.as_ref(), "10s"),
            first_byte: self.time_or_off("timeouts.first_byte", raw.first_byte.as_ref(), "15s"),
            total: self.time_or_off("timeouts.total", raw.total.as_ref(), "30s"),
            request_head: self.time("timeouts.request_head", raw.request_head.as_ref(), "10s"),
            body_idle: self.time_or_off("timeouts.body_idle", raw.body_idle.as_ref(), "30s"),
            client_idle: self.time("timeouts.client_idle", raw.client_idle.as_ref(), "75s"),
            upstream_idle: self.time("timeouts.upstream_idle", raw.upstream_idle.as_ref(), "60s"),
            tunnel_idle: self.time_or_off("timeouts.tunnel_idle", raw.tunnel_idle.as_ref(), "1h"),
            drain_delay: self
                .time_or_off("timeouts.drain_delay", raw.drain_delay.as_ref(), "0")
                .unwrap_or_default(),
            drain: self.time("timeouts.drain", raw.drain.as_ref(), "30s"),
            drain_tunnel: self.time("timeouts.drain_tunnel", raw.drain_tunnel.as_ref(), "30s"),
            upgrade: self.time("timeouts.upgrade", raw.upgrade.as_ref(), "60s"),
            handover: self.time("timeouts.handover", raw.handover.as_ref(), "5s"),
        }
    }

    fn retry(&mut self, raw: &raw::Retry) -> Retry {
        self.unknown("retry", &raw.unknown, raw::Retry::KEYS);
        let most = lb_core::policy::MAX_TRIED as i64 - 1;
        Retry {
            attempts: self.int("retry.attempts", raw.attempts.as_ref(), 1, 0, most) as usize,
            statuses: self.statuses(raw.statuses.as_ref()),
            body_bytes: self.size("retry.body_bytes", raw.body_bytes.as_ref(), 64 << 10, 0, 16 << 20)
                as usize,
            backoff: self.time_or_off("retry.backoff", raw.backoff.as_ref(), "25ms").unwrap_or_default(),
            budget_ratio: self.float("retry.budget_ratio", raw.budget_ratio.as_ref(), 0.2, 0.0, 1.0),
            budget_per_second: self.float(
                "retry.budget_per_second",
                raw.budget_per_second.as_ref(),
                3.0,
                0.0,
                1e6,
            ),
        }
    }

    fn statuses(&mut self, value: Option<&Value>) -> Vec<u16> {
        const DEFAULT: [u16; 3] = [502, 503, 504];
        let Some(value) = value else { return DEFAULT.to_vec() };
        let status = |v: &Value| v.as_integer().filter(|n| (500..=599).contains(n)).map(|n| n as u16);
        let found = value.as_array().and_then(|items| items.iter().map(status).collect());
        found.unwrap_or_else(|| {
            let remedy = "must be a list of numbers from 500 to 599: [502, 503]";
            self.faults.add("retry.statuses", &value.to_string(), remedy);
            DEFAULT.to_vec()
        })
    }

    fn health(&mut self, raw: &raw::Health) -> Option<HealthChecks> {
        self.unknown("health", &raw.unknown, raw::Health::KEYS);
        let path = self.text("health.path", raw.path.as_ref(), "/health");
        if !path.starts_with('/') {
            self.faults.add("health.path", &quoted(&path), "must begin with /");
        }
        let checks = HealthChecks {
            path,
            idle_only: self.one_of("health.when", raw.when.as_ref(), &["always", "idle"]) == 1,
            interval: self.time("health.interval", raw.interval.as_ref(), "5s"),
            edge_interval: self.time("health.edge_interval", raw.edge_interval.as_ref(), "1s"),
            timeout: self.time("health.timeout", raw.timeout.as_ref(), "2s"),
            rise: self.int("health.rise", raw.rise.as_ref(), 2, 1, 100) as u32,
            fall: self.int("health.fall", raw.fall.as_ref(), 3, 1, 100) as u32,
        };
        self.flag("health.enabled", raw.enabled.as_ref(), true).then_some(checks)
    }
}

/// Leaves. Each returns a usable value even where it adds a fault, so that checking goes on.
impl Checker {
    fn unknown(&mut self, section: &str, found: &std::collections::BTreeMap<String, Value>, known: &[&str]) {
        for (key, value) in found {
            let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
            let name = if bare { key.clone() } else { quoted(key) };
            let field = if section.is_empty() { name } else { format!("{section}.{name}") };
            // A mistyped key of a secret has a secret's value, and a mistyped section may have one in it.
            let secret = section.starts_with("control")
                || section == "store"
                || ["token", "secret", "passw"].iter().any(|s| key.contains(s))
                || matches!(value, Value::Table(_) | Value::Array(_));
            let shown = if secret { HIDDEN.to_owned() } else { value.to_string() };
            self.faults.add(&field, &shown, format!("is unknown here; known: {}", known.join(", ")));
        }
    }

    fn text(&mut self, field: &str, value: Option<&Value>, default: &str) -> String {
        match value {
            None => default.to_owned(),
            Some(Value::String(s)) => s.clone(),
            Some(other) => {
                self.faults.add(field, &other.to_string(), "must be a string in quotes");
                default.to_owned()
            }
        }
    }

    /// The position of one of `words`; without a value the first.
    fn one_of(&mut self, field: &str, value: Option<&Value>, words: &[&str]) -> usize {
        let text = self.text(field, value, words[0]);
        words.iter().position(|w| *w == text).unwrap_or_else(|| {
            self.faults.add(field, &quoted(&text), format!("use one of: {}", words.join(", ")));
            0
        })
    }

    fn texts(&mut self, field: &str, value: Option<&Value>, default: &[&str]) -> Vec<String> {
        match value {
            None => default.iter().map(|&s| s.to_owned()).collect(),
            Some(Value::Array(items)) => items.iter().map(|v| self.text(field, Some(v), "")).collect(),
            Some(other) => {
                self.faults.add(field, &other.to_string(), "must be a list of strings: [\"…\", \"…\"]");
                Vec::new()
            }
        }
    }

    fn nets(&mut self, field: &str, value: Option<&Value>, default: &[&str]) -> Vec<IpNet> {
        let mut nets = Vec::new();
        for text in self.texts(field, value, default) {
            match text.parse::<IpNet>().or_else(|_| text.parse().map(|ip: std::net::IpAddr| ip.into())) {
                Ok(net) => nets.push(net),
                Err(_) => self.faults.add(
                    field,
                    &quoted(&text),
                    "is no network: write \"10.0.0.0/8\" or an address",
                ),
            }
        }
        nets
    }

    fn name(&mut self, field: &str, value: Option<&Value>, default: &str) -> String {
        let name = self.text(field, value, default);
        if !is_name(&name) {
            let remedy = format!("must be 1 to {NAME_MOST} of a-z A-Z 0-9 - _ .");
            self.faults.add(field, &quoted(&name), remedy);
        }
        name
    }

    fn socket(&mut self, field: &str, value: Option<&Value>, default: ([u8; 4], u16)) -> SocketAddr {
        let default = SocketAddr::from(default);
        let text = self.text(field, value, &default.to_string());
        text.parse().unwrap_or_else(|_| {
            self.faults.add(field, &quoted(&text), "must be an IP address and port, as \"127.0.0.1:5000\"");
            default
        })
    }

    /// One that there need not be.
    fn other_socket(&mut self, field: &str, value: Option<&Value>) -> Option<SocketAddr> {
        let text = self.text(field, value, "");
        (!text.is_empty()).then(|| self.socket(field, value, ([127, 0, 0, 1], 0)))
    }

    fn flag(&mut self, field: &str, value: Option<&Value>, default: bool) -> bool {
        match value {
            None => default,
            Some(Value::Boolean(b)) => *b,
            Some(other) => {
                self.faults.add(field, &other.to_string(), "must be true or false");
                default
            }
        }
    }

    fn int(&mut self, field: &str, value: Option<&Value>, default: i64, least: i64, most: i64) -> i64 {
        match value {
            None => default,
            Some(Value::Integer(n)) if (least..=most).contains(n) => *n,
            Some(other) => {
                self.faults.add(
                    field,
                    &other.to_string(),
                    format!("must be a whole number from {least} to {most}"),
                );
                default
            }
        }
    }

    fn float(&mut self, field: &str, value: Option<&Value>, default: f64, least: f64, most: f64) -> f64 {
        let found = match value {
            None => return default,
            Some(Value::Float(x)) => *x,
            Some(Value::Integer(n)) => *n as f64,
            Some(_) => f64::NAN,
        };
        if (least..=most).contains(&found) {
            return found;
        }
        let text = value.map(Value::to_string).unwrap_or_default();
        self.faults.add(field, &text, format!("must be a number from {least} to {most}"));
        default
    }

    fn size(&mut self, field: &str, value: Option<&Value>, default: u64, least: u64, most: u64) -> u64 {
        let found = match value {
            None => return default,
            Some(Value::Integer(n)) => u64::try_from(*n).ok(),
            Some(Value::String(s)) => units::size(s),
            Some(_) => None,
        };
        match found {
            Some(n) if (least..=most).contains(&n) => n,
            _ => {
                let text = value.map(Value::to_string).unwrap_or_default();
                let most = if most == u64::MAX { String::new() } else { format!(", at most {most} bytes") };
                self.faults.add(
                    field,
                    &text,
                    format!("must be a size like \"32KiB\", at least {least}{most}"),
                );
                default
            }
        }
    }

    fn time(&mut self, field: &str, value: Option<&Value>, default: &str) -> Duration {
        match self.time_or_off(field, value, default) {
            Some(time) => time,
            None => {
                let text = value.map(Value::to_string).unwrap_or_default();
                // Already reported where it is no duration at all; here it is a plain zero.
                if units::duration(value.and_then(Value::as_str).unwrap_or("0")).is_some() {
                    self.faults.add(
                        field,
                        &text,
                        format!("cannot be turned off: write a time like \"{default}\""),
                    );
                }
                Duration::from_secs(1)
            }
        }
    }

    fn time_or_off(&mut self, field: &str, value: Option<&Value>, default: &str) -> Option<Duration> {
        let text = match value {
            None => default.to_owned(),
            Some(Value::Integer(0)) => "0".to_owned(),
            Some(Value::String(s)) => s.clone(),
            Some(other) => other.to_string() + " without a unit",
        };
        match units::duration(&text) {
            Some(time) if time <= LONGEST => (!time.is_zero()).then_some(time),
            _ => {
                let text = value.map(Value::to_string).unwrap_or_default();
                let remedy = format!("must be a time like \"{default}\", \"250ms\" or \"2m\", at most 24h");
                self.faults.add(field, &text, remedy);
                None
            }
        }
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn key_source(text: &str) -> Option<KeySource> {
    match text.split_once(':') {
        None if text == "path" => Some(KeySource::Path),
        None if text == "client_addr" => Some(KeySource::ClientAddr),
        Some(("query", name)) if !name.is_empty() => Some(KeySource::Query(name.to_owned())),
        Some(("cookie", name)) if !name.is_empty() => Some(KeySource::Cookie(name.to_owned())),
        Some(("header", name)) => name.parse().ok().map(KeySource::Header),
        _ => None,
    }
}
