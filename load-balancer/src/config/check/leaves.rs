//! Leaves of the file: one value each, of one kind, within bounds.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use toml::Value;

use super::{Checker, quoted};
use crate::config::faults::HIDDEN;
use crate::config::{NAME_MOST, is_name, units};

/// A day: anything longer is a mistyped unit.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Leaves. Each returns a usable value even where it adds a fault, so that checking goes on.
impl Checker {
    pub(super) fn unknown(
        &mut self,
        section: &str,
        found: &std::collections::BTreeMap<String, Value>,
        known: &[&str],
    ) {
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

    pub(super) fn text(&mut self, field: &str, value: Option<&Value>, default: &str) -> String {
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
    pub(super) fn one_of(&mut self, field: &str, value: Option<&Value>, words: &[&str]) -> usize {
        let text = self.text(field, value, words[0]);
        words.iter().position(|w| *w == text).unwrap_or_else(|| {
            self.faults.add(field, &quoted(&text), format!("use one of: {}", words.join(", ")));
            0
        })
    }

    pub(super) fn texts(&mut self, field: &str, value: Option<&Value>, default: &[&str]) -> Vec<String> {
        match value {
            None => default.iter().map(|&s| s.to_owned()).collect(),
            Some(Value::Array(items)) => items.iter().map(|v| self.text(field, Some(v), "")).collect(),
            Some(other) => {
                self.faults.add(field, &other.to_string(), "must be a list of strings: [\"…\", \"…\"]");
                Vec::new()
            }
        }
    }

    pub(super) fn nets(&mut self, field: &str, value: Option<&Value>, default: &[&str]) -> Vec<IpNet> {
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

    pub(super) fn name(&mut self, field: &str, value: Option<&Value>, default: &str) -> String {
        let name = self.text(field, value, default);
        if !is_name(&name) {
            let remedy = format!("must be 1 to {NAME_MOST} of a-z A-Z 0-9 - _ .");
            self.faults.add(field, &quoted(&name), remedy);
        }
        name
    }

    pub(super) fn socket(
        &mut self,
        field: &str,
        value: Option<&Value>,
        default: ([u8; 4], u16),
    ) -> SocketAddr {
        let default = SocketAddr::from(default);
        let text = self.text(field, value, &default.to_string());
        text.parse().unwrap_or_else(|_| {
            self.faults.add(field, &quoted(&text), "must be an IP address and port, as \"127.0.0.1:5000\"");
            default
        })
    }

    /// One that there need not be.
    pub(super) fn other_socket(&mut self, field: &str, value: Option<&Value>) -> Option<SocketAddr> {
        let text = self.text(field, value, "");
        (!text.is_empty()).then(|| self.socket(field, value, ([127, 0, 0, 1], 0)))
    }

    pub(super) fn flag(&mut self, field: &str, value: Option<&Value>, default: bool) -> bool {
        match value {
            None => default,
            Some(Value::Boolean(b)) => *b,
            Some(other) => {
                self.faults.add(field, &other.to_string(), "must be true or false");
                default
            }
        }
    }

    pub(super) fn int(
        &mut self,
        field: &str,
        value: Option<&Value>,
        default: i64,
        least: i64,
        most: i64,
    ) -> i64 {
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

    pub(super) fn float(
        &mut self,
        field: &str,
        value: Option<&Value>,
        default: f64,
        least: f64,
        most: f64,
    ) -> f64 {
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

    pub(super) fn size(
        &mut self,
        field: &str,
        value: Option<&Value>,
        default: u64,
        least: u64,
        most: u64,
    ) -> u64 {
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

    pub(super) fn time(&mut self, field: &str, value: Option<&Value>, default: &str) -> Duration {
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

    pub(super) fn time_or_off(
        &mut self,
        field: &str,
        value: Option<&Value>,
        default: &str,
    ) -> Option<Duration> {
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
