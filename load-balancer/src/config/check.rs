//! From any values to values without doubt. Every leaf is read even after a fault, so that all are reported.

use std::path::Path;

use toml::Value;

use super::{
    Asked, Choosers, Client, Config, Faults, Hash, HealthChecks, KeySource, Listen, NAME_MOST, Retry,
    Timeouts, raw,
};
use crate::hashing::Preset;

mod control;
mod decisions;
mod discovery;
mod geo;
mod healing;
mod http2;
mod kubernetes;
mod leaves;
mod limits;
mod metrics;
mod pool;
mod signals;
mod store;
mod tls;
mod watching;

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
        let service = self.text("health.service", raw.service.as_ref(), "");
        let grpc = self.one_of("health.kind", raw.kind.as_ref(), &["http", "grpc"]) == 1;
        if !grpc && !service.is_empty() {
            let remedy = "is asked for by gRPC alone: write health.kind = \"grpc\", or health.path for http";
            self.faults.add("health.service", &quoted(&service), remedy);
        }
        if grpc && raw.path.is_some() {
            let remedy =
                "is asked for by HTTP alone: write health.kind = \"http\", or health.service for gRPC";
            self.faults.add("health.path", &quoted(&path), remedy);
        }
        let checks = HealthChecks {
            asked: if grpc { Asked::Grpc(service) } else { Asked::Get(path) },
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
