//! The shared store. A URL may hold a password, so no fault repeats one.

use std::time::Duration;

use super::super::faults::HIDDEN;
use super::super::raw;
use super::super::store::{Kind, Place, Secret, Store};
use super::{Checker, quoted};

/// Between rounds: below the least they are a load of their own, above the most others are taken for gone.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Longest prefix: it is in every key.
const PREFIX_MOST: usize = 63;
/// Redis's own port, and that of its sentinels.
const PORTS: (u16, u16) = (6_379, 26_379);
/// What is said about a URL that is none.
const FORMS: &str = "must be redis://[user:password@]host[:port][/database], redis+sentinel://host,…/master[/database] \
                     or redis+cluster://host,…; with rediss in front for TLS";

impl Checker {
    pub(super) fn store(&mut self, raw: &raw::Store) -> Store {
        self.unknown("store", &raw.unknown, raw::Store::KEYS);
        let faults = self.faults.0.len();
        let prefix = self.text("store.prefix", raw.prefix.as_ref(), "ballast");
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        if prefix.is_empty() || prefix.len() > PREFIX_MOST || !prefix.chars().all(fits) {
            let remedy = "must be 1 to 63 letters, digits, hyphens, underscores, dots and colons";
            self.faults.add("store.prefix", &quoted(&prefix), remedy);
        }
        let interval = self.time("store.interval", raw.interval.as_ref(), "1s");
        if !(INTERVAL.0..=INTERVAL.1).contains(&interval) {
            let text = quoted(&format!("{interval:?}"));
            self.faults.add("store.interval", &text, "must be from \"100ms\" to \"10s\"");
        }
        let timeout = self.time("store.timeout", raw.timeout.as_ref(), "500ms");
        if timeout > interval && self.faults.0.len() == faults {
            let text = quoted(&format!("{timeout:?}"));
            self.faults.add("store.timeout", &text, "must not be longer than store.interval");
        }
        let instance = self.text("store.instance", raw.instance.as_ref(), "");
        if instance.len() > PREFIX_MOST || !instance.chars().all(fits) {
            let remedy = "must be at most 63 letters, digits, hyphens, underscores, dots and colons, and no other balancer's";
            self.faults.add("store.instance", &quoted(&instance), remedy);
        }
        Store {
            place: self.store_place(raw),
            prefix,
            interval,
            timeout,
            instance: (!instance.is_empty()).then_some(instance),
        }
    }

    fn store_place(&mut self, raw: &raw::Store) -> Option<Place> {
        if raw.url.as_ref().is_some_and(|value| !value.is_str()) {
            self.faults.add("store.url", HIDDEN, FORMS);
            return None;
        }
        let url = self.text("store.url", raw.url.as_ref(), "");
        let file = self.text("store.password_file", raw.password_file.as_ref(), "");
        let password = match (url.is_empty(), file.is_empty()) {
            (true, true) => return None,
            (true, false) => {
                let remedy = "is of no use without store.url";
                self.faults.add("store.password_file", &quoted(&file), remedy);
                return None;
            }
            (false, true) => None,
            (false, false) => match std::fs::read_to_string(&file) {
                Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']))),
                Err(error) => {
                    self.faults.add(
                        "store.password_file",
                        &quoted(&file),
                        format!("cannot be read: {error}"),
                    );
                    return None;
                }
            },
        };
        let place = parse(&url);
        match &place {
            None => self.faults.add("store.url", HIDDEN, FORMS),
            Some(place) if place.password.is_some() && password.is_some() => {
                self.faults.add(
                    "store.password_file",
                    &quoted(&file),
                    "says again what store.url says: write one",
                );
            }
            Some(_) => {}
        }
        place.map(|place| Place { password: place.password.clone().or(password), ..place })
    }
}

/// Where a URL points; `None` where it is none of ours.
fn parse(url: &str) -> Option<Place> {
    let (scheme, rest) = url.split_once("://")?;
    let (tls, form) = match scheme.strip_prefix("rediss") {
        Some(form) => (true, form),
        None => (false, scheme.strip_prefix("redis")?),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) =
        authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
    let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        None => (None, None),
        Some((user, password)) => (decode(user)?, decode(password)?),
    };
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let db = |text: Option<&&str>| text.map_or(Some(0), |db| db.parse::<i64>().ok().filter(|db| *db >= 0));
    let kind = match (form, path.len()) {
        ("", 0..=1) => Kind::Single { db: db(path.first())? },
        ("+sentinel", 1..=2) => Kind::Sentinel { service: decode(path.first()?)??, db: db(path.get(1))? },
        ("+cluster", 0) => Kind::Cluster,
        _ => return None,
    };
    let port = if matches!(kind, Kind::Sentinel { .. }) { PORTS.1 } else { PORTS.0 };
    let hosts: Vec<_> = hosts.split(',').map(|host| address(host, port)).collect::<Option<_>>()?;
    let fits = !hosts.is_empty() && (hosts.len() == 1 || !matches!(kind, Kind::Single { .. }));
    fits.then(|| Place { kind, tls, hosts, user, password: password.as_deref().map(Secret::new) })
}

/// `host`, `host:port` or `[::1]:port`.
fn address(text: &str, port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if after.is_empty() { port } else { after.strip_prefix(':')?.parse().ok()? })
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, port),
        },
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    (port > 0 && !host.is_empty() && host.chars().all(fits)).then(|| (host.to_owned(), port))
}

/// Without percent-encoding; `Some(None)` for an empty text.
fn decode(text: &str) -> Option<Option<String>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (char::from(rest.next()?), char::from(rest.next()?));
                (high.to_digit(16)? * 16 + low.to_digit(16)?) as u8
            }
            other => other,
        });
    }
    let text = String::from_utf8(bytes).ok()?;
    Some((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// A pool, without which there is another fault.
    const LEAST: &str = "[[pool.backend]]\naddress = \"127.0.0.1:8001\"\n";

    fn place(url: &str) -> Place {
        parse(url).unwrap_or_else(|| panic!("{url}"))
    }

    #[test]
    fn urls_of_every_form() {
        let hosts =
            |list: &[(&str, u16)]| list.iter().map(|(h, p)| ((*h).to_owned(), *p)).collect::<Vec<_>>();
        let one = place("redis://cache");
        assert_eq!(
            (one.kind, one.hosts, one.tls),
            (Kind::Single { db: 0 }, hosts(&[("cache", 6_379)]), false)
        );
        let one = place("rediss://ballast:p%40ss%3A%2F@10.0.0.7:7000/3");
        assert_eq!(
            (one.kind.clone(), one.tls, one.user.as_deref()),
            (Kind::Single { db: 3 }, true, Some("ballast"))
        );
        assert_eq!(one.password.as_ref().map(Secret::reveal), Some("p@ss:/"));
        assert_eq!(one.to_string(), "rediss://10.0.0.7:7000/3");
        assert!(!format!("{one:?}").contains("p@ss"));
        let many = place("redis+sentinel://:word@s1,s2:26380/main/2");
        assert_eq!(many.kind, Kind::Sentinel { service: "main".into(), db: 2 });
        assert_eq!((many.hosts, many.user), (hosts(&[("s1", 26_379), ("s2", 26_380)]), None));
        let many = place("rediss+cluster://n1:7001,[::1]:7002/");
        assert_eq!((many.kind, many.hosts), (Kind::Cluster, hosts(&[("n1", 7_001), ("::1", 7_002)])));
    }

    #[test]
    fn what_is_no_url_of_ours() {
        let bad = [
            "",
            "cache:6379",
            "http://cache",
            "redis:/cache",
            "redis://",
            "redis://a,b",
            "redis://a/x",
            "redis://a/1/2",
            "redis://a:0",
            "redis://a:99999",
            "redis+sentinel://a",
            "redis+cluster://a/1",
            "redisx://a",
            "redis://%zz@a",
            "redis://a b",
            "redis://a,",
            "redis://[::g]:1",
        ];
        bad.iter().for_each(|url| assert_eq!(parse(url), None, "{url}"));
    }

    #[test]
    fn faults_name_the_field_and_never_the_secret() {
        let faults = |text: &str| {
            let text = format!("{LEAST}[store]\n{text}\n");
            Config::parse(&text, std::iter::empty()).unwrap_err().to_string()
        };
        for (text, field) in [
            ("url = \"redis://u:hush@a:x\"", "store.url"),
            ("url = 5", "store.url"),
            ("url = \"redis://u:hush@a\"\npassword_file = \"/nowhere/hush\"", "store.password_file"),
            ("password_file = \"x\"", "store.password_file"),
            ("prefix = \"{a}\"", "store.prefix"),
            ("interval = \"1ms\"", "store.interval"),
            ("timeout = \"2s\"", "store.timeout"),
            ("instance = \"a b\"", "store.instance"),
            ("adress = \"a\"", "store.adress"),
        ] {
            let said = faults(text);
            assert!(said.contains(field) && !said.contains(":hush"), "{said}");
        }
        let config = Config::parse(LEAST, std::iter::empty()).unwrap();
        assert_eq!((config.store.place, config.store.prefix.as_str()), (None, "ballast"));
    }
}
