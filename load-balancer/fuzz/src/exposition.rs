//! Answers to scrapes, Prometheus text and JSON, several in a row: whatever a backend says, what is believed of it are numbers
//! that can be, and the third answer is understood whatever the first two were.

use std::sync::LazyLock;
use std::time::Duration;

use lb_core::Tick;
use load_balancer::config::{Scrape, Source};
use load_balancer::telemetry::{Miss, Reader};

use super::input;
use super::orca::believable;

/// Between two answers of the input.
const BREAK: u8 = 0xff;
/// Answers read of one input.
const ANSWERS: usize = 3;

/// Every preset, and a map that uses all that a map can say.
static SETTINGS: LazyLock<Vec<Scrape>> = LazyLock::new(|| {
    let all = r#"
        [signals]
        source = "metrics"
        preset = "custom"
        [signals.map]
        cpu = { metric = "a", as = "rate", over = "b", combine = "mean" }
        memory = { metric = "a", labels = { x = ["1*", "!12"] }, over = "c", complement = true }
        connections = 'c{x="1"}'
        connections_limit = 7
        good = { metric = "b", combine = "max", or = "c" }
        in_flight = { metric = "a", as = "rate" }
    "#;
    let preset =
        |source: &str, preset: &str| format!("[signals]\nsource = \"{source}\"\npreset = \"{preset}\"\n");
    [
        preset("metrics", "ballast"),
        preset("stats", "ballast"),
        preset("metrics", "node_exporter"),
        preset("metrics", "cadvisor"),
        all.to_owned(),
    ]
    .iter()
    .map(|text| input::configuration(text).signals.scrape.unwrap())
    .collect()
});

/// The input's first byte says which settings; the rest are answers.
pub fn run(data: &[u8]) {
    let (choice, rest) = input::byte(data);
    let settings = &SETTINGS[usize::from(choice) % SETTINGS.len()];
    let mut reader = Reader::new(settings, "web-1");
    let mut now = Tick::ZERO;
    for answer in rest.split(|&b| b == BREAK).take(ANSWERS) {
        now = now.after(Duration::from_secs(2));
        match reader.read(answer, now) {
            Ok(report) => believable(&report),
            Err(miss) => assert!(matches!(miss, Miss::Unreadable(_) | Miss::Empty), "{miss}"),
        }
    }
    if settings.source == Source::Stats {
        let good = br#"{"cpu":{"usage_ratio":0.25},"requests":{"in_flight":3}}"#;
        let report = reader.read(good, now.after(Duration::from_secs(2))).unwrap();
        assert_eq!((report.cpu, report.in_flight), (Some(0.25), Some(3.0)));
    }
}
