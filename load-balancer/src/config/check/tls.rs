//! TLS: files are read here, so that what is wrong with one is told before anything is started or replaced.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use toml::Value;

use super::super::raw;
use super::super::tls::{Tls, Upstream};
use super::super::{Backend, Listen};
use super::{Checker, quoted};
use crate::tls::server::{ClientAuth, Settings};
use crate::tls::{self, Fault, Pair, Version};

/// What `min_version` may be.
const VERSIONS: [&str; 2] = ["1.2", "1.3"];

impl Checker {
    pub(super) fn tls(&mut self, raw: &raw::Tls, listen: &Listen, http2: bool) -> Option<Tls> {
        self.unknown("tls", &raw.unknown, raw::Tls::KEYS);
        let server = self.server("tls", &raw.server(), http2);
        if raw.certificate.is_empty() && listen.tls.is_some() {
            let remedy = "needs certificates: add [[tls.certificate]] with chain = \"…\" and key = \"…\"";
            self.faults.add("listen.tls", "", remedy);
        }
        Some(Tls { beside: listen.tls, server: server? })
    }

    pub(super) fn admin_tls(&mut self, raw: &raw::TlsAdmin) -> Option<Arc<tls::Server>> {
        self.unknown("tls.admin", &raw.unknown, raw::TlsAdmin::KEYS);
        self.server("tls.admin", &raw.server(), false)
    }

    /// What a listener shows; `None` where it has no certificate, or none that can be used.
    fn server(&mut self, section: &str, raw: &raw::TlsServer<'_>, http2: bool) -> Option<Arc<tls::Server>> {
        let faults = self.faults.0.len();
        let at = |leaf: &str| format!("{section}.{leaf}");
        let mut pairs = Vec::new();
        for (i, one) in raw.certificate.iter().enumerate() {
            let field = format!("{section}.certificate[{i}]");
            self.unknown(&field, &one.unknown, raw::Certificate::KEYS);
            let chain = self.file(&format!("{field}.chain"), one.chain.as_ref());
            let key = self.file(&format!("{field}.key"), one.key.as_ref());
            match (chain, key) {
                (Some(chain), Some(key)) => pairs.push(Pair { chain, key }),
                _ => self.faults.add(&field, "", "must have chain = \"FILE.pem\" and key = \"FILE.key\""),
            }
        }
        let least = self.version(&at("min_version"), raw.min_version);
        let auth = self.one_of(&at("client_auth"), raw.client_auth, &["none", "optional", "required"]);
        let client_ca = self.file(&at("client_ca"), raw.client_ca);
        let client_auth = match (auth, client_ca) {
            (0, None) => ClientAuth::None,
            (1, Some(file)) => ClientAuth::Optional(file),
            (2.., Some(file)) => ClientAuth::Required(file),
            (0, Some(file)) => {
                let remedy = "is of no use with client_auth = \"none\": write \"optional\" or \"required\"";
                self.faults.add(&at("client_ca"), &quoted(&file.display().to_string()), remedy);
                ClientAuth::None
            }
            (_, None) => {
                let remedy = "is missing: name the file with the authorities of clients' certificates";
                self.faults.add(&at("client_ca"), "", remedy);
                ClientAuth::None
            }
        };
        let given = raw.min_version.is_some() || client_auth != ClientAuth::None;
        if pairs.is_empty() && given && raw.certificate.is_empty() {
            let remedy = "is missing: without certificates TLS is off and the rest says nothing";
            self.faults.add(&at("certificate"), "", remedy);
        }
        if pairs.is_empty() || self.faults.0.len() > faults {
            return None;
        }
        let made = tls::Server::new(Settings { pairs, least, client_auth, http2 });
        made.map_err(|fault| self.unusable(section, &fault)).ok().map(Arc::new)
    }

    pub(super) fn upstream(&mut self, raw: &raw::Upstream, backends: &[Backend]) -> Upstream {
        self.unknown("pool.tls", &raw.unknown, raw::Upstream::KEYS);
        let faults = self.faults.0.len();
        let enabled = self.flag("pool.tls.enabled", raw.enabled.as_ref(), false);
        let server_name = self.server_name("pool.tls.server_name", raw.server_name.as_ref());
        let ca = self.file("pool.tls.ca", raw.ca.as_ref());
        let chain = self.file("pool.tls.certificate", raw.certificate.as_ref());
        let key = self.file("pool.tls.key", raw.key.as_ref());
        let least = self.version("pool.tls.min_version", raw.min_version.as_ref());
        let skip = self.flag("pool.tls.insecure_skip_verify", raw.insecure_skip_verify.as_ref(), false);
        if skip && ca.is_some() {
            let remedy = "contradicts pool.tls.ca: certificates are verified or they are not";
            self.faults.add("pool.tls.insecure_skip_verify", "true", remedy);
        }
        if chain.is_some() != key.is_some() {
            let remedy = "must come with pool.tls.key, and the other way round";
            self.faults.add("pool.tls.certificate", "", remedy);
        }
        let needed = enabled || backends.iter().any(|backend| backend.tls == Some(true));
        let mut client = None;
        if needed && self.faults.0.len() == faults {
            let identity = chain.zip(key).map(|(chain, key)| Pair { chain, key });
            let settings = tls::client::Settings { ca, identity, verify: !skip, least };
            let made = tls::Client::new(settings);
            client = made.map_err(|fault| self.unusable("pool.tls", &fault)).ok().map(Arc::new);
        }
        Upstream { enabled, server_name, client }
    }

    fn unusable(&mut self, section: &str, fault: &Fault) {
        let file = fault.file.display().to_string();
        let shown = if file.is_empty() { file } else { quoted(&file) };
        self.faults.add(section, &shown, &*fault.why);
    }

    fn file(&mut self, field: &str, value: Option<&Value>) -> Option<PathBuf> {
        let name = self.text(field, value, "");
        (!name.is_empty()).then(|| PathBuf::from(name))
    }

    fn version(&mut self, field: &str, value: Option<&Value>) -> Version {
        match self.one_of(field, value, &VERSIONS) {
            0 => Version::V12,
            _ => Version::V13,
        }
    }

    /// What a certificate must name; empty is nothing in particular.
    pub(super) fn server_name(&mut self, field: &str, value: Option<&Value>) -> Option<String> {
        let name = self.text(field, value, "");
        if !name.is_empty() && !matches!(ServerName::try_from(name.as_str()), Ok(ServerName::DnsName(_))) {
            self.faults.add(field, &quoted(&name), "is no host name that a certificate could have");
        }
        (!name.is_empty()).then_some(name)
    }
}

#[cfg(test)]
mod tests;
