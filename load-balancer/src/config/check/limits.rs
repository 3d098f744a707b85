//! Limits on connections, requests and rates, and the PROXY protocol.

use std::collections::BTreeSet;

use toml::Value;

use super::super::{Limits, Memory, Prefixes, ProxyProtocol, Queue, RateKey, RateLimit, raw};
use super::{Checker, quoted};

/// Most rate limits: each is a look-up on every request's way.
const RATES_MOST: usize = 64;

/// Least `limits.memory`, bytes: twice what the balancer has at rest. Below that, requests would be refused for ever.
const MEMORY_LEAST: u64 = 32 << 20;

impl Checker {
    pub(super) fn limits(&mut self, raw: &raw::Limits) -> Limits {
        self.unknown("limits", &raw.unknown, raw::Limits::KEYS);
        let body = self.size("limits.body_bytes", raw.body_bytes.as_ref(), 1 << 20, 0, u64::MAX);
        let per_network = raw.connections_per_network.as_ref();
        let per_network = self.int("limits.connections_per_network", per_network, 0, 0, 10_000_000);
        let in_flight = self.int("limits.in_flight", raw.in_flight.as_ref(), 10_000, 0, 10_000_000);
        Limits {
            connections: self.int("limits.connections", raw.connections.as_ref(), 10_000, 1, 10_000_000)
                as usize,
            connections_per_network: (per_network > 0).then_some(per_network as usize),
            networks: Prefixes {
                v4: self.int("limits.network_v4", raw.network_v4.as_ref(), 32, 1, 32) as u8,
                v6: self.int("limits.network_v6", raw.network_v6.as_ref(), 64, 1, 128) as u8,
            },
            in_flight: (in_flight > 0).then_some(in_flight as usize),
            memory: self.memory(raw.memory.as_ref()),
            header_bytes: self.size(
                "limits.header_bytes",
                raw.header_bytes.as_ref(),
                32 << 10,
                256,
                256 << 10,
            ) as usize,
            headers: self.int("limits.headers", raw.headers.as_ref(), 100, 1, 1_000) as usize,
            target_bytes: self.size("limits.target_bytes", raw.target_bytes.as_ref(), 8 << 10, 64, 32 << 10)
                as usize,
            body_bytes: (body > 0).then_some(body),
            upstream_idle: self.int("limits.upstream_idle", raw.upstream_idle.as_ref(), 64, 0, 100_000)
                as usize,
        }
    }

    fn memory(&mut self, value: Option<&Value>) -> Memory {
        if value.is_none_or(|value| value.as_str() == Some("auto")) {
            return Memory::OfGroup;
        }
        let before = self.faults.0.len();
        match self.size("limits.memory", value, 0, 0, u64::MAX) {
            0 if self.faults.0.len() == before => Memory::Any,
            0 => {
                if let Some(fault) = self.faults.0.last_mut() {
                    fault.remedy = "must be a size like \"512MiB\", \"auto\" or 0 for any".to_owned();
                }
                Memory::Any
            }
            bytes if bytes < MEMORY_LEAST => {
                let remedy = "is less than it takes at rest: write \"32MiB\" or more (a bare number is bytes), \"auto\" or 0 for any";
                let written = value.map(ToString::to_string).unwrap_or_default();
                self.faults.add("limits.memory", &written, remedy);
                Memory::Any
            }
            bytes => Memory::Bytes(bytes),
        }
    }

    pub(super) fn proxy_protocol(&mut self, raw: &raw::ProxyProtocol) -> ProxyProtocol {
        self.unknown("proxy_protocol", &raw.unknown, raw::ProxyProtocol::KEYS);
        ProxyProtocol {
            from: self.nets("proxy_protocol.from", raw.from.as_ref(), &[]),
            timeout: self.time("proxy_protocol.timeout", raw.timeout.as_ref(), "3s"),
        }
    }

    pub(super) fn queue(&mut self, raw: &raw::Queue) -> Queue {
        self.unknown("queue", &raw.unknown, raw::Queue::KEYS);
        Queue {
            length: self.int("queue.length", raw.length.as_ref(), 100, 0, 1_000_000) as usize,
            wait: self.time("queue.wait", raw.wait.as_ref(), "1s"),
        }
    }

    pub(super) fn rate_limits(&mut self, raw: &[raw::RateLimit]) -> Vec<RateLimit> {
        if raw.len() > RATES_MOST {
            let remedy = format!("are more than {RATES_MOST}: each costs every request time");
            self.faults.add("rate_limits", &raw.len().to_string(), remedy);
        }
        let mut names = BTreeSet::new();
        raw.iter().enumerate().map(|(i, limit)| self.rate_limit(i, limit, &mut names)).collect()
    }

    fn rate_limit(&mut self, i: usize, raw: &raw::RateLimit, names: &mut BTreeSet<String>) -> RateLimit {
        let at = |leaf: &str| format!("rate_limits[{i}].{leaf}");
        self.unknown(&format!("rate_limits[{i}]"), &raw.unknown, raw::RateLimit::KEYS);
        let name = self.name(&at("name"), raw.name.as_ref(), &format!("limit{}", i + 1));
        if !names.insert(name.clone()) {
            self.faults.add(&at("name"), &quoted(&name), "is used twice: names must be unique");
        }
        if raw.rate.is_none() {
            self.faults.add(&at("rate"), "", "is missing: write how many requests a second are allowed");
        }
        let rate = self.float(&at("rate"), raw.rate.as_ref(), 1.0, 0.001, 1e6);
        let text = self.text(&at("key"), raw.key.as_ref(), "client_ip");
        let key = rate_key(&text).unwrap_or_else(|| {
            self.faults.add(&at("key"), &quoted(&text), "use client_ip, header:NAME or all");
            RateKey::Client
        });
        let keys = self.int(&at("keys"), raw.keys.as_ref(), 65_536, 64, 1 << 24) as usize;
        RateLimit {
            name,
            rate,
            burst: self.int(&at("burst"), raw.burst.as_ref(), rate.ceil() as i64, 1, 1_000_000) as u32,
            paths: self.paths(&at("paths"), raw.paths.as_ref()),
            shared: self.flag(&at("shared"), raw.shared.as_ref(), false),
            keys: if key == RateKey::All { 1 } else { keys },
            key,
        }
    }
}

fn rate_key(text: &str) -> Option<RateKey> {
    match text.split_once(':') {
        None if text == "client_ip" => Some(RateKey::Client),
        None if text == "all" => Some(RateKey::All),
        Some(("header", name)) => name.parse().ok().map(RateKey::Header),
        _ => None,
    }
}
