//! The configuration as its users meet it: what is accepted, and what a refusal says.

use std::time::Duration;

use super::*;

const LEAST: &str = "[[pool.backend]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n";

fn parse(text: &str) -> Result<Config, Faults> {
    Config::parse(text, std::iter::empty())
}

fn faults(text: &str) -> Vec<Fault> {
    parse(text).unwrap_err().0
}

#[test]
fn the_least_file_has_the_documented_defaults() {
    let c = parse(LEAST).unwrap();
    assert_eq!(c.listen.admin.to_string(), "127.0.0.1:9901", "admin stays on loopback unless told");
    assert_eq!(c.pool.algorithm, Algorithm::Adaptive);
    assert_eq!(c.timeouts.connect, Duration::from_secs(2));
    assert_eq!(c.timeouts.total, Some(Duration::from_secs(30)));
    assert_eq!(c.limits.body_bytes, Some(1 << 20));
    assert_eq!((c.retry.statuses.as_slice(), c.retry.body_bytes), (&[502, 503, 504][..], 64 << 10));
    assert_eq!((c.retry.backoff, c.control.request_log), (Duration::from_millis(25), 0));
    assert!(c.pool.allowed_paths.is_empty(), "every path");
    assert_eq!((c.limits.headers, c.limits.header_bytes), (100, 32 << 10));
    assert_eq!(c.health.as_ref().unwrap().fall, 3);
    assert!(matches!(c.choosers, Choosers::Trusted(_)) && !c.control.on_traffic_port);
    assert!(c.workers >= 1);
}

#[test]
fn every_fault_is_reported_at_once() {
    let found = faults(
        "workers = -1\ncolour = 1\n[listen]\ntraffic = \"here\"\n[timeouts]\nconect = \"1s\"\ntotal = 5\nconnect = \"0\"\n\
         [pool]\nalgorithm = \"fastest\"\n[[pool.backend]]\nname = \"a b\"\nweight = 0\n[hash]\nbound = 0.5\nkey = [\"body\"]\n\
         [client]\ntrusted_proxies = [\"10/8\"]\n[limits]\nbody_bytes = \"lots\"\n",
    );
    let fields: Vec<&str> = found.iter().map(|f| f.field.as_str()).collect();
    for expected in [
        "workers",
        "colour",
        "listen.traffic",
        "timeouts.conect",
        "timeouts.total",
        "timeouts.connect",
        "pool.algorithm",
        "pool.backend[0].name",
        "pool.backend[0].weight",
        "pool.backend[0].address",
        "hash.bound",
        "hash.key",
        "client.trusted_proxies",
        "limits.body_bytes",
    ] {
        assert_eq!(fields.iter().filter(|f| **f == expected).count(), 1, "{expected} in {fields:?}");
    }
    assert_eq!(fields.len(), 14, "{fields:?}");
    let text = Faults(found).to_string();
    assert!(
        text.contains("pool.algorithm = \"fastest\": is no algorithm; use one of: round_robin"),
        "{text}"
    );
    assert!(text.contains("timeouts.conect = \"1s\": is unknown here; known: connect"), "{text}");
}

#[test]
fn retries_paths_and_the_request_log_have_their_bounds() {
    for (section, key, bad) in [
        ("retry", "statuses", "[499]"),
        ("retry", "statuses", "[503, 600]"),
        ("retry", "statuses", "[\"503\"]"),
        ("retry", "statuses", "503"),
        ("retry", "body_bytes", "\"17MiB\""),
        ("retry", "body_bytes", "-1"),
        ("retry", "backoff", "25"),
        ("pool", "allowed_paths", "\"/\""),
        ("pool", "allowed_paths", "[\"/a\", \"api\"]"),
        ("pool", "allowed_paths", "[\"/a/../b\"]"),
        ("pool", "allowed_paths", "[\"/a*\"]"),
        ("control", "request_log", "100001"),
        ("control", "request_log", "-1"),
    ] {
        let found = faults(&format!("[{section}]\n{key} = {bad}\n{LEAST}"));
        let fields: Vec<&str> = found.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(fields, [format!("{section}.{key}")], "{bad}");
    }
    let c = parse(&format!(
        "[retry]\nstatuses = []\nbody_bytes = 0\nbackoff = \"0\"\n[control]\nrequest_log = 100000\n\
         [pool]\nallowed_paths = [\"/\", \"/%61pi/*\"]\n{LEAST}"
    ));
    let c = c.unwrap();
    assert_eq!((c.retry.statuses.len(), c.retry.body_bytes, c.retry.backoff), (0, 0, Duration::ZERO));
    let paths = [AllowedPath::Exact("/".to_owned()), AllowedPath::Below("/api".to_owned())];
    assert_eq!((c.pool.allowed_paths.as_slice(), c.control.request_log), (&paths[..], 100_000));
}

#[test]
fn rate_limits_are_named_keyed_and_bounded() {
    let limit = |text: &str| parse(&format!("[[rate_limits]]\n{text}\n{LEAST}"));
    let least = limit("rate = 2.5").unwrap().rate_limits.remove(0);
    assert_eq!((least.name.as_str(), &least.key, least.burst), ("limit1", &RateKey::Client, 3));
    let all = limit("name = \"all\"\nkey = \"all\"\nrate = 10\nburst = 4\nshared = true").unwrap();
    assert_eq!((all.rate_limits[0].keys, all.rate_limits[0].shared), (1, true), "all is one key");
    let key = limit("rate = 1\nkey = \"header:X-Api-Key\"").unwrap().rate_limits.remove(0).key;
    assert_eq!(key, RateKey::Header("x-api-key".parse().unwrap()));
    for (text, field) in [
        ("", "rate"),
        ("rate = 0", "rate"),
        ("rate = 1\nkey = \"ip\"", "key"),
        ("rate = 1\nkey = \"header:a b\"", "key"),
        ("rate = 1\nburst = 0", "burst"),
        ("rate = 1\nname = \"a b\"", "name"),
        ("rate = 1\npaths = [\"api\"]", "paths"),
        ("rate = 1\nbrust = 3", "brust"),
        ("rate = 1\nname = \"x\"\n[[rate_limits]]\nrate = 1\nname = \"x\"", "name"),
    ] {
        let found = limit(text).unwrap_err().0;
        let fields: Vec<&str> = found.iter().map(|f| f.field.as_str()).collect();
        assert!(matches!(fields[..], [one] if one.ends_with(&format!("].{field}"))), "{text}: {fields:?}");
    }
}

#[test]
fn a_network_is_as_much_of_an_address_as_configured() {
    let c = parse(&format!("[limits]\nnetwork_v4 = 24\nconnections_per_network = 5\n{LEAST}")).unwrap();
    let of = |ip: &str| c.limits.networks.of(ip.parse().unwrap()).to_string();
    assert_eq!(of("192.0.2.77"), "192.0.2.0/24");
    assert_eq!(of("2001:db8::7:1"), "2001:db8::/64");
    assert_eq!(c.limits.connections_per_network, Some(5));
    assert_eq!(parse(LEAST).unwrap().limits.connections_per_network, None);
}

#[test]
fn no_backend_and_double_names_are_faults() {
    assert_eq!(faults("")[0].field, "pool.backend");
    assert!(faults(&format!("{LEAST}{LEAST}"))[0].remedy.contains("used twice"));
    assert!(faults("[pool]\nbackend = 3")[0].remedy.contains("wrong shape"));
    assert!(faults("= nonsense")[0].remedy.contains("not TOML"));
}

#[test]
fn the_environment_wins_and_is_checked_like_the_file() {
    let env = |k: &str, v: &str| {
        vec![(k.to_owned(), v.to_owned()), ("PATH".to_owned(), "/bin".to_owned())].into_iter()
    };
    let c = Config::parse(LEAST, env("BALLAST_TIMEOUTS__CONNECT", "3s")).unwrap();
    assert_eq!(c.timeouts.connect, Duration::from_secs(3));
    let c = Config::parse(LEAST, env("BALLAST_CLIENT__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]")).unwrap();
    assert_eq!(c.client.trusted_proxies.len(), 1);
    let c =
        Config::parse("", env("BALLAST_POOL__BACKEND", "[{name = \"x\", address = \"web:80\"}]")).unwrap();
    assert_eq!(c.pool.backends[0].address, Some(Address::Name("web".to_owned(), 80)));
    let e = Config::parse(LEAST, env("BALLAST_TIMEOUTS__CONECT", "3s")).unwrap_err();
    assert_eq!(e.0[0].field, "timeouts.conect");
}

#[test]
fn addresses_as_people_paste_them() {
    let with = |a: &str| parse(&format!("[[pool.backend]]\nname = \"a\"\naddress = \"{a}\"\n"));
    for good in ["127.0.0.1:80", "[::1]:80", "web-1.local:8080", "http://server1:5000/", "https://web:443"] {
        assert!(with(good).is_ok(), "{good}");
    }
    for bad in
        ["", "web", ":80", "web:0", "web:+80", "web:99999", "a/b:80", "user@web:80", "https://http://web:443"]
    {
        assert!(with(bad).is_err(), "{bad}");
    }
}

/// The commented example shows every key with its default: it says the same as a file with nothing but its backends.
#[test]
fn the_commented_example_is_the_defaults() {
    let example = include_str!("../../examples/ballast.toml");
    let backends = "[[pool.backend]]\nname = \"web-1\"\naddress = \"127.0.0.1:8001\"\n\
                    [[pool.backend]]\nname = \"web-2\"\naddress = \"127.0.0.1:8002\"\n";
    assert_eq!(parse(example).unwrap(), parse(backends).unwrap());
    let sections = [
        ("", raw::Raw::KEYS),
        ("listen", raw::Listen::KEYS),
        ("tls", raw::Tls::KEYS),
        ("tls.admin", raw::TlsAdmin::KEYS),
        ("pool", raw::Pool::KEYS),
        ("pool.tls", raw::Upstream::KEYS),
        ("algo", raw::Algo::KEYS),
        ("client", raw::Client::KEYS),
        ("proxy_protocol", raw::ProxyProtocol::KEYS),
        ("hash", raw::Hash::KEYS),
        ("timeouts", raw::Timeouts::KEYS),
        ("limits", raw::Limits::KEYS),
        ("queue", raw::Queue::KEYS),
        ("retry", raw::Retry::KEYS),
        ("health", raw::Health::KEYS),
        ("ejection", raw::Ejection::KEYS),
        ("control", raw::Control::KEYS),
        ("replicas", raw::Replicas::KEYS),
        ("replicas.scaling", raw::Scaling::KEYS),
        ("replicas.process", raw::Process::KEYS),
        ("replicas.docker", raw::Docker::KEYS),
        ("state", raw::State::KEYS),
        ("geo", raw::Geo::KEYS),
        ("signals", raw::Signals::KEYS),
        ("store", raw::Store::KEYS),
    ];
    let table: toml::Table = example.parse().unwrap();
    for (section, keys) in sections {
        let names = section.split('.').filter(|name| !name.is_empty());
        let at = names.fold(&table, |at, name| at[name].as_table().unwrap());
        let missing: Vec<_> = keys.iter().filter(|k| !at.contains_key(**k)).collect();
        assert!(missing.is_empty(), "[{section}] lacks {missing:?}");
    }
    // What there is none of without somebody wanting it is shown as a comment.
    assert!(raw::RateLimit::KEYS.iter().all(|key| example.contains(&format!("\n# {key} = "))));
    let backend = table["pool"]["backend"][0].as_table().unwrap();
    assert!(raw::Backend::KEYS.iter().all(|k| backend.contains_key(*k)));
}

#[test]
fn every_example_is_valid() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        Config::load(&path, std::iter::empty()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        seen += 1;
    }
    assert!(seen >= 2);
}

/// Whatever is wrong with it, a secret is not repeated.
#[test]
fn faults_show_no_secret() {
    for text in [
        "token = \"hushhush\"",
        "token = 4711471147114711",
        "tokn = \"hushhush-4711\"",
        "token = [\"hushhush\"]",
    ] {
        let found = faults(&format!("{LEAST}[control]\n{text}\n"));
        let said = Faults(found).to_string();
        assert!(said.contains("control.tok") && !said.contains("hush") && !said.contains("4711"), "{said}");
    }
    let text = format!("{LEAST}[control]\ntoken = \"hushhush-4711\n");
    let said = parse(&text).unwrap_err().to_string();
    assert!(said.contains("not TOML: line 5") && !said.contains("hush"), "{said}");
    let said = parse("control = \"hushhush\"").unwrap_err().to_string();
    assert!(said.contains("wrong shape") && !said.contains("hush"), "{said}");
    let env = [("BALLAST_WORKERS__TOKEN".to_owned(), "hushhush".to_owned())].into_iter();
    let said = Config::parse(&format!("workers = 1\n{LEAST}"), env).unwrap_err().to_string();
    assert!(said.contains("not a section") && !said.contains("hush"), "{said}");
    let c = parse(&format!("{LEAST}[control]\ntoken = \"0123456789abcdef\"\n")).unwrap();
    let found = Token::among(&c.control.tokens, b"0123456789abcdef").unwrap();
    assert!(found.right == Right::Change && !format!("{c:?}").contains("0123456789"));
}

#[test]
fn named_tokens_have_names_rights_and_secrets() {
    let with = |tokens: &str| format!("{LEAST}{tokens}");
    let good = "[[control.tokens]]\nname = \"eyes\"\ntoken = \"0123456789abcdef\"\n\
                [[control.tokens]]\nname = \"ops\"\ntoken = \"fedcba9876543210\"\nrights = \"change\"\n";
    let tokens = parse(&with(good)).unwrap().control.tokens;
    let found: Vec<_> = tokens.iter().map(|token| (token.name.as_str(), token.right)).collect();
    assert_eq!(found, [("eyes", Right::Read), ("ops", Right::Change)]);
    let bad = "[[control.tokens]]\nname = \"ops\"\nrights = \"all\"\nsecret = \"hushhush\"\n\
               [[control.tokens]]\nname = \"ops\"\ntoken = \"hush\"\n[[control.tokens]]\ntoken_file = \"/no/such/file\"\n";
    let found = faults(&with(bad));
    let fields: Vec<_> = found.iter().map(|fault| fault.field.as_str()).collect();
    for (n, leaf) in [
        (0, "rights"),
        (0, "secret"),
        (0, "token"),
        (1, "name"),
        (1, "token"),
        (2, "name"),
        (2, "token_file"),
    ] {
        assert!(fields.contains(&format!("control.tokens[{n}].{leaf}").as_str()), "{leaf} in {fields:?}");
    }
    assert!(!Faults(found).to_string().contains("hush"));
}

#[test]
fn a_limit_of_memory_below_what_it_takes_at_rest_is_a_fault() {
    let of = |value: &str| parse(&format!("[limits]\nmemory = {value}\n{LEAST}"));
    for value in ["512", "\"512KiB\"", "\"31MiB\""] {
        let [fault] = &of(value).unwrap_err().0[..] else { panic!("{value}") };
        assert_eq!((fault.field.as_str(), fault.value.as_str()), ("limits.memory", value));
        assert!(fault.remedy.contains("32MiB"), "{}", fault.remedy);
    }
    assert_eq!(of("\"32MiB\"").unwrap().limits.memory, Memory::Bytes(32 << 20));
    assert_eq!(of("0").unwrap().limits.memory, Memory::Any);
    assert_eq!(of("\"auto\"").unwrap().limits.memory, Memory::OfGroup);
}

#[test]
fn what_another_kind_of_health_check_asks_for_is_a_fault() {
    for (protocol, health, field) in [
        ("http2", "kind = \"grpc\"\npath = \"/health\"", "health.path"),
        ("http2", "kind = \"http\"\nservice = \"echo\"", "health.service"),
        ("http1", "kind = \"grpc\"", "health.kind"),
    ] {
        let found = faults(&format!("[pool]\nprotocol = \"{protocol}\"\n[health]\n{health}\n{LEAST}"));
        assert_eq!(found.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), [field]);
    }
}
