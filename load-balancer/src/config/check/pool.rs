//! `[pool]` and its backends.

use std::collections::BTreeSet;

use lb_core::Algorithm;
use toml::Value;

use super::{Checker, quoted};
use crate::config::{Address, AllowedPath, Backend, Pool, Spoken, WEIGHT_MOST, raw};
use crate::http::paths;
use crate::proxy_protocol::Version;

impl Checker {
    pub(super) fn pool(&mut self, all: &raw::Raw) -> Pool {
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

    pub(super) fn paths(&mut self, field: &str, value: Option<&Value>) -> Vec<AllowedPath> {
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

    pub(super) fn backend(&mut self, i: usize, raw: &raw::Backend, names: &mut BTreeSet<String>) -> Backend {
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
    pub(super) fn told_by(&mut self, value: Option<&Value>, protocol: Spoken) -> Option<Version> {
        let version = self.one_of("pool.proxy_protocol", value, &["off", "v1", "v2"]);
        let version = [None, Some(Version::V1), Some(Version::V2)][version];
        if version.is_some() && protocol == Spoken::Http2 {
            let remedy = "a connection of HTTP/2 carries many clients' requests: write pool.protocol = \"http1\", or \"off\" here";
            self.faults.add("pool.proxy_protocol", &value.map(Value::to_string).unwrap_or_default(), remedy);
        }
        version
    }

    pub(super) fn ceiling(&mut self, field: &str, value: Option<&Value>) -> Option<u32> {
        let most = self.int(field, value, 0, 0, 1_000_000);
        (most > 0).then_some(most as u32)
    }

    /// An address, and whether what is in front of it says to speak TLS there, or not to.
    pub(super) fn address(&mut self, field: &str, value: Option<&Value>) -> (Option<Address>, Option<bool>) {
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
}
