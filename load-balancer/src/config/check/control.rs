//! Control: who may see and change what. No secret is ever repeated in a fault.

use std::collections::BTreeSet;

use toml::Value;

use super::super::control::{Control, Right, Token};
use super::super::faults::HIDDEN;
use super::super::raw;
use super::{Checker, quoted};

/// Networks that registered backends may lie in unless told: loopback and the private ones (RFC 1918, RFC 4193). Not
/// link-local, where clouds answer with credentials.
const NETWORKS: [&str; 6] =
    ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
/// Who may read without a token unless told.
const READERS: [&str; 2] = ["127.0.0.0/8", "::1/128"];
/// Shortest token: 16 characters of hexadecimal are 64 bits.
const TOKEN_LEAST: usize = 16;
/// What the audit log calls the token that has no name.
const UNNAMED: &str = "control.token";

impl Checker {
    pub(super) fn control(&mut self, raw: &raw::Control) -> Control {
        self.unknown("control", &raw.unknown, raw::Control::KEYS);
        Control {
            on_traffic_port: self.flag("control.on_traffic_port", raw.on_traffic_port.as_ref(), false),
            tokens: self.tokens(raw),
            readers: self.nets("control.readers", raw.readers.as_ref(), &READERS),
            hosts: self.hosts(raw.hosts.as_ref()),
            connections: self.int("control.connections", raw.connections.as_ref(), 100, 1, 10_000) as usize,
            registration: self.flag("control.registration", raw.registration.as_ref(), false),
            networks: self.nets("control.networks", raw.networks.as_ref(), &NETWORKS),
            max_backends: self.int("control.max_backends", raw.max_backends.as_ref(), 1_000, 1, 100_000)
                as usize,
            request_log: self.int("control.request_log", raw.request_log.as_ref(), 0, 0, 100_000) as usize,
        }
    }

    fn tokens(&mut self, raw: &raw::Control) -> Vec<Token> {
        let own = self.token("control", raw.token.as_ref(), raw.token_file.as_ref());
        let mut tokens: Vec<Token> =
            own.iter().map(|secret| Token::new(UNNAMED, Right::Change, secret)).collect();
        let mut names = BTreeSet::from([UNNAMED.to_owned()]);
        for (i, raw) in raw.tokens.iter().enumerate() {
            let at = format!("control.tokens[{i}]");
            self.unknown(&at, &raw.unknown, raw::ControlToken::KEYS);
            let name = self.name(&format!("{at}.name"), raw.name.as_ref(), "");
            if !names.insert(name.clone()) {
                self.faults.add(&format!("{at}.name"), &quoted(&name), "is used twice: names must be unique");
            }
            let right = match self.one_of(&format!("{at}.rights"), raw.rights.as_ref(), &["read", "change"]) {
                0 => Right::Read,
                _ => Right::Change,
            };
            let before = self.faults.0.len();
            match self.token(&at, raw.token.as_ref(), raw.token_file.as_ref()) {
                Some(secret) => tokens.push(Token::new(&name, right, &secret)),
                None if self.faults.0.len() == before => {
                    self.faults.add(
                        &format!("{at}.token"),
                        "",
                        "is missing: write it, or the token_file that has it",
                    );
                }
                None => {}
            }
        }
        tokens
    }

    /// From the file that `token_file` names, else as written.
    fn token(&mut self, at: &str, written: Option<&Value>, file: Option<&Value>) -> Option<String> {
        let (written_at, file_at) = (format!("{at}.token"), format!("{at}.token_file"));
        if written.is_some_and(|value| !value.is_str()) {
            self.faults.add(&written_at, HIDDEN, "must be a string in quotes");
            return None;
        }
        let mut token = self.text(&written_at, written, "");
        let file = self.text(&file_at, file, "");
        let field = if file.is_empty() { written_at } else { file_at };
        if !file.is_empty() {
            match std::fs::read_to_string(&file) {
                Ok(text) => text.trim().clone_into(&mut token),
                Err(error) => {
                    self.faults.add(&field, &quoted(&file), format!("cannot be read: {error}"));
                    return None;
                }
            }
        }
        if token.is_empty() && file.is_empty() {
            return None;
        }
        if token.len() < TOKEN_LEAST || token.chars().any(|c| !c.is_ascii_graphic()) {
            let remedy = format!("must be at least {TOKEN_LEAST} printable ASCII characters without spaces");
            self.faults.add(&field, HIDDEN, remedy);
        }
        Some(token)
    }

    fn hosts(&mut self, value: Option<&Value>) -> Vec<String> {
        let hosts = self.texts("control.hosts", value, &[]);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        for host in &hosts {
            if host.is_empty() || !host.chars().all(plain) {
                let remedy = "is no host name: write \"lb.example\", without a port";
                self.faults.add("control.hosts", &quoted(host), remedy);
            }
        }
        hosts
    }
}
