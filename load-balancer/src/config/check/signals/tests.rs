//! What `[signals]` accepts, and what a refusal says.

use super::*;
use crate::config::{Config, Fault};

const LEAST: &str = "[[pool.backend]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n";

fn parse(text: &str) -> Result<Signals, Vec<Fault>> {
    let text = format!("[signals]\n{text}\n{LEAST}");
    Config::parse(&text, std::iter::empty()).map(|c| c.signals).map_err(|faults| faults.0)
}

fn scrape(text: &str) -> Scrape {
    parse(text).unwrap_or_else(|faults| panic!("{faults:?}")).scrape.unwrap()
}

fn faults(text: &str) -> Vec<String> {
    parse(text).unwrap_err().into_iter().map(|fault| fault.field).collect()
}

#[test]
fn off_unless_told_and_headers_are_read() {
    assert_eq!(parse("").unwrap(), Signals { scrape: None, headers: true });
    assert!(!parse("headers = false").unwrap().headers);
    let ours = scrape("source = \"metrics\"");
    assert_eq!((ours.path.as_str(), ours.port, ours.max_bytes), ("/metrics", None, 1 << 20));
    assert_eq!((ours.interval, ours.timeout), (Duration::from_secs(2), Duration::from_secs(1)));
    assert_eq!(scrape("source = \"stats\"").path, "/stats");
    assert_eq!(scrape("source = \"metrics\"\nport = 9100\npath = \"/m?x=1\"").port, Some(9100));
}

/// Every table of the presets can be read without a fault, and says what it is there for.
#[test]
fn presets_are_whole() {
    let table: Table = include_str!("../../presets.toml").parse().unwrap();
    let mut seen = 0;
    for (name, sources) in &table {
        assert!(PRESETS.contains(&name.as_str()), "{name}");
        for (source, own) in sources.as_table().unwrap() {
            let source = if source == "stats" { Source::Stats } else { Source::Metrics };
            let mut checker = Checker::default();
            let map = checker.measures(name, own.as_table().unwrap(), &Form { source, container: "name" });
            assert!(checker.faults.0.is_empty(), "{:?}", checker.faults);
            assert!(map.contains_key(&Signal::Cpu) && map.contains_key(&Signal::Memory), "{name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 4);
}

#[test]
fn cadvisors_label_is_configured() {
    let found = scrape("source = \"metrics\"\npreset = \"cadvisor\"\ncontainer_label = \"pod\"");
    let own = ("pod".to_owned(), Matcher { any: vec![Pattern::Backend], none: Vec::new() });
    let cpu = &found.map[&Signal::Cpu];
    let labels = |m: &Measure| match &m.of {
        Of::Series { labels, .. } => labels.clone(),
        other => panic!("{other:?}"),
    };
    let quota = cpu.over.as_ref().unwrap();
    let period = quota.over.as_ref().unwrap();
    assert!([cpu, quota, period].iter().all(|m| labels(m) == std::slice::from_ref(&own)));
}

#[test]
fn a_map_of_ones_own_lies_over_the_preset() {
    let found = scrape(
        "source = \"metrics\"\n[signals.map]\nconnections_limit = 100\n\
         cpu = { metric = \"busy\", labels = { core = \"!0\", job = [\"a*\", \"b\"] }, as = \"rate\", combine = \"max\", scale = 0.01 }\n\
         in_flight = 'jobs{queue=\"fast\", state=\"!done\"}'",
    );
    let exact = |text: &str| Pattern::Exact(text.to_owned());
    let core = Matcher { any: vec![], none: vec![exact("0")] };
    let job = Matcher { any: vec![Pattern::Prefix("a".to_owned()), exact("b")], none: vec![] };
    let labels = vec![("core".to_owned(), core), ("job".to_owned(), job)];
    let of = Of::Series { metric: "busy".to_owned(), labels };
    let expected = Measure { rate: true, combine: Combine::Max, scale: 0.01, ..Measure::plain(of) };
    assert_eq!(found.map[&Signal::Cpu], expected);
    assert_eq!(found.map[&Signal::ConnectionsLimit].of, Of::Number(100.0));
    let Of::Series { metric, labels } = &found.map[&Signal::InFlight].of else { panic!() };
    assert_eq!((metric.as_str(), labels.len(), labels[1].1.none.len()), ("jobs", 2, 1));
    assert!(found.map.contains_key(&Signal::Good), "the preset's");
    let json = scrape(
        "source = \"stats\"\npreset = \"custom\"\n[signals.map]\ncpu = { pointer = \"/load/1\", scale = 0.5 }",
    );
    assert_eq!(json.map.len(), 1);
}

#[test]
fn faults_name_the_field_and_come_at_once() {
    let several = faults(
        "source = \"metric\"\npreset = \"nodeexporter\"\npath = \"metrics\"\nport = 70000\ninterval = \"100ms\"\n\
         timeout = \"soon\"\nmax_bytes = \"1GiB\"\nheaders = 1\ncolour = 2\n[signals.map]\ncpu = [1]\nspeed = \"x\"\n\
         memory = { labels = {}, ass = \"rate\" }\ngood = { metric = \"a b\", as = \"speed\" }\nutilization = 0.5",
    );
    let expected = [
        "colour",
        "headers",
        "interval",
        "map.cpu",
        "map.good.as",
        "map.good.metric",
        "map.memory.ass",
        "map.memory.metric",
        "map.speed",
        "map.utilization",
        "max_bytes",
        "path",
        "port",
        "preset",
        "source",
        "timeout",
    ];
    for field in expected {
        let field = format!("signals.{field}");
        assert_eq!(several.iter().filter(|f| **f == field).count(), 1, "{field} in {several:?}");
    }
    assert_eq!(several.len(), expected.len(), "{several:?}");
    for (text, field) in [
        ("source = \"metrics\"\ninterval = \"1s\"", "timeout"),
        ("timeout = \"3s\"", "timeout"),
        ("interval = \"6m\"", "interval"),
        ("source = \"metrics\"\npreset = \"custom\"", "map"),
        ("source = \"stats\"\npreset = \"cadvisor\"", "preset"),
        ("map = 3", "map"),
        ("source = \"metrics\"\nmap = { connections = \"open\" }", "map.connections"),
        ("source = \"stats\"\nmap = { cpu = \"cpu\" }", "map.cpu"),
        ("source = \"metrics\"\nmap = { cpu = \"cpu{a=1}\" }", "map.cpu"),
        ("source = \"metrics\"\nmap = { cpu = { metric = \"x\", labels = { a = 1 } } }", "map.cpu.labels.a"),
        (
            "source = \"metrics\"\nmap = { cpu = { metric = \"x\", over = { metric = 3 } } }",
            "map.cpu.over.metric",
        ),
    ] {
        assert_eq!(faults(text)[0], format!("signals.{field}"), "{text}");
    }
}

/// What the README shows as a mapping is one.
#[test]
fn the_readmes_mapping_is_valid() {
    let readme = include_str!("../../../../../README.md");
    let shown = readme.split("```toml\n").find(|block| block.starts_with("[signals]")).unwrap();
    let text = shown.split("```").next().unwrap();
    let config =
        Config::parse(&format!("{text}{LEAST}"), std::iter::empty()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.signals.scrape.unwrap().map.len(), 6);
}

#[test]
fn the_environment_reaches_into_the_map() {
    let env = [("SOURCE", "metrics"), ("MAP__CPU", "load1"), ("PORT", "9100")];
    let env = env.map(|(key, value)| (format!("BALLAST_SIGNALS__{key}"), value.to_owned()));
    let config = Config::parse(LEAST, env.into_iter()).unwrap();
    let scrape = config.signals.scrape.unwrap();
    assert_eq!(
        scrape.map[&Signal::Cpu],
        Measure::plain(Of::Series { metric: "load1".into(), labels: vec![] })
    );
}
