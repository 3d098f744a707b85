//! What facts say, held against what they are.

use std::collections::BTreeSet;

use super::*;
use crate::load::Cause;

/// One of each, with a backend that is called `S5`.
fn all() -> Vec<Fact> {
    let backend = || "S5".to_owned();
    let text = |text: &str| text.to_owned();
    let rate = Reason::SuccessRate { rate: 0.5, others: 0.99, deviation: 0.01, requests: 100 };
    let run = Reason::Consecutive { cause: Cause::Connect, run: 3 };
    vec![
        Fact::Joined { backend: backend(), address: text("127.0.0.1:80") },
        Fact::Left { backend: backend(), in_flight: 1 },
        Fact::Draining { backend: backend(), in_flight: 7 },
        Fact::Healthy { backend: backend(), was: "down" },
        Fact::Unhealthy { backend: backend(), reason: text("status 503") },
        Fact::Ejected { backend: backend(), reason: run, seconds: 2.0, level: 2, ejected: 1, allowed: 2 },
        Fact::Spared { backend: backend(), reason: rate, allowed: 2 },
        Fact::Trial { backend: backend() },
        Fact::Restored { backend: backend() },
        Fact::Warm { backend: backend() },
        Fact::Saturated { backend: backend(), seconds: 2.5 },
        Fact::Relieved { backend: backend() },
        Fact::SignalsLost { backend: backend(), reason: text("status 404") },
        Fact::SignalsBack { backend: backend() },
        Fact::Panic { on: true, eligible: 1, total: 3, threshold: 0.5 },
        Fact::ReplicaDied { replica: backend(), reason: text("signal 9") },
        Fact::ReplicaStarted { replica: backend(), address: text("127.0.0.1:81"), milliseconds: 120 },
        Fact::ReplicaFailed { reason: text("no such image"), next_try_seconds: 0.5 },
        Fact::Scaled { from: 2, to: 4, in_flight: 37.25 },
        Fact::Reloaded { changed: vec![text("algorithm"), text("health.rise")] },
        Fact::Switched { from: "random", to: "adaptive", reason: "reload" },
        Fact::ReloadRefused { faults: text("algorithm: unknown") },
        Fact::StateRefused {
            file: text("state.json"),
            kept_as: text("state.json.bad"),
            reason: text("in flight"),
        },
        Fact::Failing { on: true },
        Fact::Excused { backend: backend() },
        Fact::Signals { backend: backend(), from: "fresh", to: "aged", age: 12.0 },
        Fact::Capacity { backend: backend(), from: 1.0, to: 2.0, rate: 400.0, busy: 0.5 },
        Fact::Doubted { backend: backend(), claimed: 4.0, latency: 2.5 },
        Fact::Gated { backend: backend(), left: 0.5, memory: 0.9, connections: 0.1 },
        Fact::GeoSwapped { database: text("countries.mmdb"), built: 1_781_702_348 },
        Fact::GeoRefused { database: text("countries.mmdb"), reason: text("cannot be read") },
        Fact::StoreLost { store: text("redis://cache:6379"), reason: text("it is full") },
        Fact::StoreBack { store: text("redis://cache:6379"), balancers: 3 },
        Fact::DiscoveryLost { source: "dns", reason: text("SERVFAIL"), backends: 2 },
        Fact::DiscoveryBack { source: "dns", backends: 2 },
        Fact::NameTaken { instance: text("lb-1") },
        Fact::CertificatesRenewed { place: "traffic", ends: 1_781_702_348 },
        Fact::CertificatesRefused { place: "backends", reason: text("ca.pem: cannot be read") },
        Fact::Memory { on: true, used: 600 << 20, limit: 512 << 20, in_flight: 400 },
        Fact::UpgradeFailed { reason: text("it ended with exit status: 2") },
    ]
}

#[test]
fn kinds_are_distinct_snake_case() {
    let kinds: BTreeSet<&str> = all().iter().map(Fact::kind).collect();
    assert_eq!(kinds, BTreeSet::from(Fact::KINDS));
    assert_eq!(kinds.len(), 40);
    assert!(kinds.iter().all(|kind| kind.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
}

#[test]
fn every_text_and_every_field_list_tells_the_backend() {
    for fact in all() {
        let (text, fields) = (fact.text(), fact.fields());
        let named = fields.iter().any(|(name, _)| ["backend", "replica"].contains(name));
        assert_eq!(fact.backend().is_some(), named, "{fact:?}");
        assert!(fact.backend().is_none_or(|name| name == "S5" && text.contains(name)), "{text}");
        assert!(!text.contains('\n') && !text.ends_with('.'), "{text}");
        let names: BTreeSet<&str> = fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), fields.len(), "{fact:?} has a field twice");
        assert!(!names.contains("kind"), "taken by the fact's own kind");
    }
}

#[test]
fn alarms() {
    let alarming: Vec<&str> = all().iter().filter(|fact| fact.alarming()).map(Fact::kind).collect();
    let expected = [
        "unhealthy",
        "ejected",
        "spared",
        "signals_lost",
        "panic",
        "replica_died",
        "replica_failed",
        "reload_refused",
        "state_refused",
        "failing",
        "doubted",
        "geo_refused",
        "store_lost",
        "discovery_lost",
        "name_taken",
        "certificates_refused",
        "memory",
        "upgrade_failed",
    ];
    assert_eq!(alarming, expected);
    assert!(!Fact::Panic { on: false, eligible: 3, total: 3, threshold: 0.5 }.alarming());
}

#[test]
fn sentences() {
    let texts: Vec<String> = all().iter().map(Fact::text).collect();
    for expected in [
        "S5 left with 1 request in flight",
        "S5 is ejected for 2.0 s because 3 requests in a row failed, the last by a connection that could not be made \
         (1 of at most 2 are out)",
        "S5 is not ejected although 50.0 % of 100 requests succeeded, while the others have 99.0 % ± 1.0 %: no more \
         than 2 may be out at once",
        "S5 no longer tells how it is: status 404",
        "600 MiB of 512 MiB are in use with 400 requests in flight: fewer requests are let in",
        "1 of 3 backends are eligible, below the panic threshold of 50 %: ejection is ignored",
    ] {
        assert!(texts.iter().any(|text| text == expected), "{texts:#?}");
    }
}

#[test]
fn a_reason_brings_its_numbers() {
    let spared = all().into_iter().find(|fact| fact.kind() == "spared").map(|fact| fact.fields()).unwrap();
    let text = |text: &str| Value::Text(text.to_owned());
    let expected = [
        ("backend", text("S5")),
        ("reason", text("success_rate")),
        ("allowed", Value::Number(2.0)),
        ("rate", Value::Number(0.5)),
        ("others", Value::Number(0.99)),
        ("deviation", Value::Number(0.01)),
        ("requests", Value::Number(100.0)),
    ];
    assert_eq!(spared, expected);
}
