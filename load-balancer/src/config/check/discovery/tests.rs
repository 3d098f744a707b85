//! Sources as they are configured, and what a refusal says.

use std::time::Duration;

use crate::config::{Address, Config, Family, Finder, Record, found};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, std::iter::empty()).map_err(|faults| faults.to_string())
}

#[test]
fn a_source_is_backends_enough() {
    let off = parse("[[pool.backend]]\naddress = \"127.0.0.1:1\"\n").unwrap().discovery;
    assert_eq!((off.finder, off.settle), (None, Duration::from_millis(100)));
    let text = "[discovery]\nsource = \"dns\"\nsettle = \"0\"\n[discovery.dns]\nname = \"b.local.\"\n";
    let config = parse(&format!("{text}[discovery.regions]\neurope-west1-b = \"EU\"\n")).unwrap();
    let Some(Finder::Dns(dns)) = &config.discovery.finder else { panic!("{:?}", config.discovery) };
    assert_eq!(
        (dns.record, dns.family, dns.hold),
        (Record::Address(5000), Family::Auto, Duration::from_secs(30))
    );
    assert_eq!(dns.ttl, (Duration::from_secs(1), Duration::from_secs(300)));
    assert!(dns.servers.is_empty() && config.discovery.settle.is_zero());
    assert_eq!(config.discovery.regions["europe-west1-b"], "EU");
    let more = "record = \"srv\"\nfamily = \"both\"\nservers = [\"10.0.0.10\", \"[::1]:5353\"]\n";
    let Some(Finder::Dns(dns)) = parse(&format!("{text}{more}")).unwrap().discovery.finder else { panic!() };
    let servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
    assert_eq!((dns.record, dns.family), (Record::Srv, Family::Both));
    assert_eq!(servers, ["10.0.0.10:53", "[::1]:5353"]);
}

#[test]
fn faults_name_the_field() {
    let dns = |more: &str| format!("[discovery]\nsource = \"dns\"\n[discovery.dns]\n{more}\n");
    let file = |more: &str| format!("[discovery]\nsource = \"file\"\n[discovery.file]\n{more}\n");
    for (text, expected) in [
        (
            "[discovery]\nsource = \"consul\"\n".to_owned(),
            "discovery.source = \"consul\": use one of: off, file",
        ),
        ("[discovery]\nregions = 3\n".to_owned(), "discovery.regions = 3: must be a table"),
        (dns(""), "discovery.dns.name: is missing"),
        (dns("name = \"a..b\""), "discovery.dns.name = \"a..b\": is no DNS name"),
        (dns("name = \"b\"\nport = 0"), "discovery.dns.port = 0: must be"),
        (dns("name = \"b\"\nrecord = \"txt\""), "discovery.dns.record = \"txt\": use one of: address, srv"),
        (
            dns("name = \"b\"\nfamily = \"any\""),
            "discovery.dns.family = \"any\": use one of: auto, ipv4, ipv6, both",
        ),
        (
            dns("name = \"b\"\nservers = [\"dns.local\"]"),
            "discovery.dns.servers = \"dns.local\": is no server",
        ),
        (dns("name = \"b\"\nmin_ttl = \"10m\""), "discovery.dns.max_ttl = \"300s\": must not be shorter"),
        (dns("name = \"b\"\nttl = 3"), "discovery.dns.ttl = 3: is unknown here"),
        (file(""), "discovery.file.path: is missing"),
        (
            file("path = \"/nowhere/b.toml\""),
            "discovery.file.path = \"/nowhere/b.toml\": cannot be read: No such file",
        ),
    ] {
        let said = parse(&text).unwrap_err();
        assert!(said.contains(expected), "{expected:?} in {said}");
    }
}

#[test]
fn a_file_s_entries_are_named_by_their_addresses_unless_told() {
    let text = "[[backend]]\naddress = \"10.0.0.7:5000\"\n[[backend]]\nname = \"web\"\naddress = \"[::1]:80\"\nweight = 5\n\
                region = \"EU\"\ndraining = true\n[[backend]]\naddress = \"[fd00::1]:80\"\n";
    let all = found(text).unwrap();
    let names: Vec<&str> = all.iter().map(|found| found.name.as_str()).collect();
    assert_eq!(names, ["10.0.0.7-5000", "web", "fd00--1-80"]);
    assert_eq!((all[0].weight, all[0].draining, all[0].region.as_str()), (1, false, ""));
    assert_eq!((all[1].weight, all[1].draining, all[1].region.as_str()), (5, true, "EU"));
    assert_eq!(all[1].address, Address::parse("[::1]:80").unwrap());
    assert_eq!(found("").unwrap(), [], "nobody is an answer");
}

#[test]
fn a_file_s_faults_are_told_at_once() {
    let text = "backends = 1\n[[backend]]\nname = \"a\"\n[[backend]]\nname = \"a b\"\naddress = \"10.0.0.7:80\"\nweight = 0\n\
                [[backend]]\nname = \"c\"\naddress = \"10.0.0.7:80\"\ndraining = 1\n[[backend]]\nname = \"c\"\naddress = \"here\"\n";
    let fields: Vec<String> = found(text).unwrap_err().0.into_iter().map(|fault| fault.field).collect();
    let expected = [
        "backends",
        "backend[0].address",
        "backend[1].name",
        "backend[1].weight",
        "backend[2].address",
        "backend[2].draining",
        "backend[3].address",
        "backend[3].name",
    ];
    assert_eq!(fields, expected);
}
