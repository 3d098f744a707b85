//! The discovery section, and the file that a source of it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{AddrParseError, SocketAddr};
use std::path::PathBuf;

use toml::Value;

use super::super::discovery::{Discovery, Dns, Family, Finder, Record};
use super::super::{Cluster, Faults, raw};
use super::{Checker, quoted};
use crate::discovery::{Found, name_of};

/// The words of `discovery.source`, in the order of the arms below.
const SOURCES: [&str; 4] = ["off", "file", "dns", "kubernetes"];

/// Longest DNS name and longest label of one, bytes (RFC 1035, 2.3.4).
const DNS_MOST: usize = 253;
const LABEL_MOST: usize = 63;
/// Where DNS servers listen unless told.
const DNS_PORT: u16 = 53;

/// What a file of discovery says.
pub(in super::super) fn found(text: &str) -> Result<Vec<Found>, Faults> {
    let raw = raw::FoundFile::read(text)?;
    let mut c = Checker::default();
    c.unknown("", &raw.unknown, raw::FoundFile::KEYS);
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let all = raw.backend.iter().enumerate();
    let all = all.filter_map(|(i, b)| c.found(i, b, &mut names, &mut addresses)).collect();
    if c.faults.0.is_empty() { Ok(all) } else { Err(c.faults) }
}

impl Checker {
    pub(super) fn discovery(&mut self, raw: &raw::Discovery, cluster: &Cluster) -> Discovery {
        self.unknown("discovery", &raw.unknown, raw::Discovery::KEYS);
        let file = self.discovery_file(&raw.file);
        let dns = self.discovery_dns(&raw.dns);
        let source = self.one_of("discovery.source", raw.source.as_ref(), &SOURCES);
        let kubernetes = self.discovery_kubernetes(&raw.kubernetes, cluster, source == 3);
        let finder = match source {
            1 => Some(self.readable(file)),
            2 => {
                if dns.name.is_empty() {
                    self.faults.add("discovery.dns.name", "", "is missing: name what is to be looked up");
                }
                Some(Finder::Dns(dns))
            }
            3 => Some(Finder::Kubernetes(Box::new(kubernetes))),
            _ => None,
        };
        Discovery {
            finder,
            settle: self.time_or_off("discovery.settle", raw.settle.as_ref(), "100ms").unwrap_or_default(),
            regions: self.discovery_regions(raw.regions.as_ref()),
        }
    }

    fn discovery_file(&mut self, raw: &raw::DiscoveryFile) -> PathBuf {
        self.unknown("discovery.file", &raw.unknown, raw::DiscoveryFile::KEYS);
        PathBuf::from(self.text("discovery.file.path", raw.path.as_ref(), ""))
    }

    fn discovery_dns(&mut self, raw: &raw::DiscoveryDns) -> Dns {
        self.unknown("discovery.dns", &raw.unknown, raw::DiscoveryDns::KEYS);
        let name = self.text("discovery.dns.name", raw.name.as_ref(), "");
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let labels = name.strip_suffix('.').unwrap_or(&name).split('.');
        let whole = labels.clone().all(|label| (1..=LABEL_MOST).contains(&label.len()));
        if !name.is_empty() && (name.len() > DNS_MOST || !name.chars().all(fits) || !whole) {
            let remedy = "is no DNS name: write \"backend.default.svc.cluster.local.\" or \"_http._tcp.backend.local.\"";
            self.faults.add("discovery.dns.name", &quoted(&name), remedy);
        }
        let port = self.int("discovery.dns.port", raw.port.as_ref(), 5000, 1, 65_535) as u16;
        let families = ["auto", "ipv4", "ipv6", "both"];
        let least = self.time("discovery.dns.min_ttl", raw.min_ttl.as_ref(), "1s");
        let most = self.time("discovery.dns.max_ttl", raw.max_ttl.as_ref(), "5m");
        if most < least {
            let remedy = "must not be shorter than discovery.dns.min_ttl";
            self.faults.add("discovery.dns.max_ttl", &quoted(&format!("{most:?}")), remedy);
        }
        Dns {
            name,
            record: match self.one_of("discovery.dns.record", raw.record.as_ref(), &["address", "srv"]) {
                1 => Record::Srv,
                _ => Record::Address(port),
            },
            family: match self.one_of("discovery.dns.family", raw.family.as_ref(), &families) {
                1 => Family::Ipv4,
                2 => Family::Ipv6,
                3 => Family::Both,
                _ => Family::Auto,
            },
            servers: self.discovery_servers(raw.servers.as_ref()),
            ttl: (least, most),
            timeout: self.time("discovery.dns.timeout", raw.timeout.as_ref(), "2s"),
            hold: self.time_or_off("discovery.dns.hold", raw.hold.as_ref(), "30s").unwrap_or_default(),
        }
    }

    fn discovery_servers(&mut self, value: Option<&Value>) -> Vec<SocketAddr> {
        let field = "discovery.dns.servers";
        let mut servers = Vec::new();
        for text in self.texts(field, value, &[]) {
            let found =
                text.parse().or_else(|_| Ok::<_, AddrParseError>(SocketAddr::new(text.parse()?, DNS_PORT)));
            match found {
                Ok(server) => servers.push(server),
                Err(_) => {
                    let remedy = "is no server: write an IP address, with a port where it is not 53: \"127.0.0.1:5353\"";
                    self.faults.add(field, &quoted(&text), remedy);
                }
            }
        }
        servers
    }

    /// What cannot be read from the start is a fault; later the last list holds.
    fn readable(&mut self, path: PathBuf) -> Finder {
        let field = "discovery.file.path";
        let shown = quoted(&path.display().to_string());
        if path.as_os_str().is_empty() {
            self.faults.add(field, "", "is missing: name the file with [[backend]] entries");
        } else if let Err(reason) = crate::discovery::file::read(&path) {
            self.faults.add(field, &shown, reason);
        }
        Finder::File(path)
    }

    fn discovery_regions(&mut self, value: Option<&Value>) -> BTreeMap<String, String> {
        match value {
            None => BTreeMap::new(),
            Some(Value::Table(table)) => {
                let text = |(zone, region): (&String, &Value)| {
                    (zone.clone(), self.text(&format!("discovery.regions.{zone}"), Some(region), ""))
                };
                table.iter().map(text).collect()
            }
            Some(other) => {
                let remedy = "must be a table: [discovery.regions] and below it europe-west1-b = \"EU\"";
                self.faults.add("discovery.regions", &other.to_string(), remedy);
                BTreeMap::new()
            }
        }
    }

    /// An entry of a file of discovery. Its name is not its place in the file: whoever stands behind one that is taken out
    /// would become another.
    fn found(
        &mut self,
        i: usize,
        raw: &raw::FoundBackend,
        names: &mut BTreeSet<String>,
        addresses: &mut BTreeSet<String>,
    ) -> Option<Found> {
        let at = |leaf: &str| format!("backend[{i}].{leaf}");
        self.unknown(&format!("backend[{i}]"), &raw.unknown, raw::FoundBackend::KEYS);
        let (address, tls) = self.address(&at("address"), raw.address.as_ref());
        if tls == Some(true) {
            let remedy = "here backends are spoken to as pool.tls.enabled says: write it without https://";
            self.faults.add(&at("address"), "", remedy);
        }
        if raw.address.is_none() {
            self.faults.add(&at("address"), "", "is missing: write address = \"host:port\"");
        }
        let default = address.as_ref().map_or_else(String::new, name_of);
        let name = match (&raw.name, &address) {
            // The fault is the address's.
            (None, None) => default,
            _ => self.name(&at("name"), raw.name.as_ref(), &default),
        };
        if !name.is_empty() && !names.insert(name.clone()) {
            self.faults.add(&at("name"), &quoted(&name), "is used twice: names must be unique");
        }
        let shown = address.as_ref().map(ToString::to_string).unwrap_or_default();
        if !shown.is_empty() && !addresses.insert(shown.clone()) {
            self.faults.add(&at("address"), &quoted(&shown), "is used twice: a backend is listed once");
        }
        let weight =
            self.int(&at("weight"), raw.weight.as_ref(), 1, 1, crate::config::WEIGHT_MOST.into()) as u32;
        let region = self.text(&at("region"), raw.region.as_ref(), "");
        let draining = self.flag(&at("draining"), raw.draining.as_ref(), false);
        address.map(|address| Found { name, address, weight, region, draining })
    }
}

#[cfg(test)]
mod tests;
