//! What is accepted about traces and the access log, and what a refusal says.

use crate::config::{Believed, Config, Faults, Format, Protocol, Target};

fn parse(text: &str) -> Result<Config, Faults> {
    let pool = "[[pool.backend]]\naddress = \"127.0.0.1:1\"\n";
    Config::parse(&format!("{pool}{text}"), std::iter::empty())
}

#[test]
fn both_are_off_until_told() {
    let config = parse("").unwrap();
    assert_eq!((config.traces.destination(), config.access_log.style().map(|_| ())), (None, None));
    assert_eq!((config.traces.sample, config.traces.parent), (0.01, Believed::Trusted));
    assert!(!config.access_log.query, "queries hold what nobody should keep");
}

#[test]
fn an_endpoint_without_a_path_means_that_of_traces() {
    let endpoint =
        |text: &str| parse(&format!("[traces]\n{text}")).unwrap().traces.destination().unwrap().endpoint;
    assert_eq!(endpoint("endpoint = \"http://localhost:4318\""), "http://localhost:4318/v1/traces");
    assert_eq!(endpoint("endpoint = \"http://localhost:4318/\""), "http://localhost:4318/v1/traces");
    assert_eq!(endpoint("endpoint = \"http://h:1/otlp/v1/traces\""), "http://h:1/otlp/v1/traces");
    assert_eq!(
        endpoint("endpoint = \"http://localhost:4317\"\nprotocol = \"grpc\""),
        "http://localhost:4317"
    );
}

#[test]
fn everything_can_be_said() {
    let config = parse(
        "[traces]\nendpoint = \"http://h:1\"\nprotocol = \"grpc\"\nsample = 1\nparent = \"ignore\"\nservice = \"edge\"\n\
         timeout = \"1s\"\nqueue = 1\n[access_log]\nformat = \"text\"\npath = \"/tmp/a\"\nshare = 0.5\nqueue = 1000\nquery = true",
    )
    .unwrap();
    assert_eq!((config.traces.protocol, config.traces.parent), (Protocol::Grpc, Believed::Nobody));
    assert_eq!((config.traces.service.as_str(), config.traces.queue), ("edge", 1));
    let log = config.access_log;
    assert_eq!((log.format, log.to, log.query), (Some(Format::Text), Target::File("/tmp/a".into()), true));
}

#[test]
fn every_fault_is_told_at_once() {
    let faults = parse(
        "[traces]\nendpoint = \"localhost:4318\"\nprotocol = \"udp\"\nsample = 2\nparent = \"me\"\nservice = \"a b\"\n\
         timeout = \"0\"\nqueue = 0\nratio = 1\n[access_log]\nformat = \"xml\"\npath = \"\"\nshare = -1\nqueue = 1\nquery = 1\nfile = 1",
    )
    .unwrap_err()
    .0;
    let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "traces.ratio",
            "traces.protocol",
            "traces.endpoint",
            "traces.parent",
            "traces.sample",
            "traces.service",
            "traces.timeout",
            "traces.queue",
            "access_log.file",
            "access_log.format",
            "access_log.path",
            "access_log.share",
            "access_log.queue",
            "access_log.query",
        ]
    );
    for (endpoint, protocol, remedy) in [
        ("https://h:4318", "http", "TLS is not spoken"),
        ("http://h:4317/v1/traces", "grpc", "no use for"),
        ("http://me:secret@h:1", "http", "must be a URL"),
        ("/v1/traces", "http", "must be a URL"),
    ] {
        let text = format!("[traces]\nendpoint = \"{endpoint}\"\nprotocol = \"{protocol}\"");
        let faults = parse(&text).unwrap_err().to_string();
        assert!(faults.contains(remedy), "{faults}");
    }
}
