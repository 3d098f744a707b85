//! Whole answers, true to what real exporters say, torn ones, and ones that never were expositions.

use lb_core::Rng;

use super::*;
use crate::config::Config;

const NODE: &str = include_str!("fixtures/node_exporter.txt");
const CADVISOR: &str = include_str!("fixtures/cadvisor.txt");

fn reader(signals: &str, backend: &str) -> Reader {
    let text = format!("[[pool.backend]]\naddress = \"127.0.0.1:1\"\n[signals]\n{signals}\n");
    let config = Config::parse(&text, std::iter::empty()).unwrap_or_else(|faults| panic!("{faults}"));
    Reader::new(&config.signals.scrape.unwrap(), backend)
}

fn custom(map: &str) -> Reader {
    reader(&format!("source = \"metrics\"\npreset = \"custom\"\nmap = {{ {map} }}"), "b1")
}

fn at(seconds: u64) -> Tick {
    Tick::from_millis(1_000 * seconds)
}

fn near(found: Option<f64>, expected: f64) {
    assert!(found.is_some_and(|found| (found - expected).abs() < 1e-6), "{found:?}, not {expected}");
}

#[test]
fn node_exporter_says_how_busy_the_machine_is() {
    let mut reader = reader("source = \"metrics\"\npreset = \"node_exporter\"\nport = 9100", "b1");
    let first = reader.read(NODE.as_bytes(), at(10)).unwrap();
    near(first.memory, 1.0 - 6.1865984e9 / 8.2487979e9);
    assert_eq!(first.cpu, None, "a rate needs two");
    // Ten seconds later one core has idled for 9 s and one for 4 s.
    let later = NODE.replace("12345.67", "12354.67").replace("12222.22", "12226.22");
    near(reader.read(later.as_bytes(), at(20)).unwrap().cpu, 1.0 - (0.9 + 0.4) / 2.0);
    let rebooted = NODE.replace("12345.67", "1.5");
    assert_eq!(reader.read(rebooted.as_bytes(), at(30)).unwrap().cpu, None, "a counter that went back");
    let after = rebooted.replace("} 1.5\n", "} 6.5\n").replace("12222.22", "12232.22");
    near(reader.read(after.as_bytes(), at(40)).unwrap().cpu, 0.25);
}

#[test]
fn cadvisor_says_how_busy_a_container_is() {
    let settings = "source = \"metrics\"\npreset = \"cadvisor\"\nport = 8080";
    let (mut limited, mut free) = (reader(settings, "b1"), reader(settings, "b2"));
    near(limited.read(CADVISOR.as_bytes(), at(1)).unwrap().memory, 0.5);
    near(free.read(CADVISOR.as_bytes(), at(1)).unwrap().memory, 0.05);
    // The same samples again, as between two looks of cAdvisor's own: no rate, and not a rate of 0.
    assert_eq!(limited.read(CADVISOR.as_bytes(), at(3)).unwrap().cpu, None);
    // 5 s later by its own clock, whenever we ask: 1 s of half a core, and 2 s of four cores.
    let later = CADVISOR
        .replace("101.25 1700000000123", "102.25 1700000005123")
        .replace("33.5 1700000000456", "35.5 1700000005456");
    near(limited.read(later.as_bytes(), at(5)).unwrap().cpu, 0.4);
    near(free.read(later.as_bytes(), at(9)).unwrap().cpu, 0.1);
    near(limited.read(later.as_bytes(), at(7)).unwrap().cpu, 0.4);
    assert_eq!(
        reader(settings, "b3").read(CADVISOR.as_bytes(), at(1)),
        Err(Miss::Empty),
        "no such container"
    );
}

#[test]
fn series_are_summed_averaged_and_the_largest_taken() {
    let text = "w{n=\"1\"} 0.2\nw{n=\"2\"} 0.4\nw{n=\"3\"} NaN\nw{n=\"4\",off=\"yes\"} 3\n";
    for (measure, expected) in [
        ("'w{off=\"\"}'", 0.6),
        ("{ metric = 'w', labels = { off = '' }, combine = 'mean' }", 0.3),
        ("{ metric = 'w', labels = { off = '!yes' }, combine = 'max' }", 0.4),
        ("{ metric = 'w', labels = { n = ['1', '4', '!4'] }, scale = 10 }", 2.0),
        ("{ metric = 'w', over = 4 }", 0.9),
        ("{ metric = 'absent', or = 'w{n=\"2\"}' }", 0.4),
        (
            "{ metric = 'w', over = 'absent', or = { metric = 'w', labels = { n = '4' }, complement = true } }",
            0.0,
        ),
    ] {
        near(
            custom(&format!("utilization = {measure}")).read(text.as_bytes(), at(1)).unwrap().utilization,
            expected,
        );
    }
}

#[test]
fn limits_make_shares() {
    let report = |map: &str| custom(map).read(b"used 50\nmost 200\nnone 0\n", at(1));
    near(report("memory = 'used', memory_limit = 'most'").unwrap().memory, 0.25);
    near(report("connections = 'used', connections_limit = 100").unwrap().connections, 0.5);
    assert_eq!(report("memory = 'used', memory_limit = 'none'"), Err(Miss::Empty), "no limit is no share");
    assert_eq!(report("memory = 'used'"), Err(Miss::Empty), "50 is no share");
    let ours = reader("source = \"metrics\"", "b1")
        .read(b"backend_connections 3\nbackend_cpu_usage_ratio 1\n", at(1));
    assert_eq!(ours.unwrap().connections, None, "3 is no share either, although it could be one");
    near(report("in_flight = 'used'").unwrap().in_flight, 50.0);
}

/// A rate over series of which one is new and one has gone is that of those that stayed.
#[test]
fn rates_are_made_series_by_series() {
    let mut reader = custom("utilization = { metric = 'c', as = 'rate' }");
    assert_eq!(reader.read(b"c{i=\"1\"} 10\nc{i=\"2\"} 1000\n", at(10)), Ok(Report::default()), "to come");
    near(reader.read(b"c{i=\"1\"} 12\nc{i=\"3\"} 5000\n", at(20)).unwrap().utilization, 0.2);
    assert_eq!(reader.read(b"c{i=\"1\"} 1\nc{i=\"3\"} 5001\n", at(30)), Ok(Report::default()), "reset");
    near(reader.read(b"c{i=\"1\"} 2\nc{i=\"3\"} 5002\n", at(40)).unwrap().utilization, 0.2);
    assert_eq!(reader.read(b"d 1\n", at(50)), Err(Miss::Empty));
    assert_eq!(reader.read(b"c{i=\"1\"} 3\n", at(60)), Ok(Report::default()), "begun anew");
}

#[test]
fn stats_are_found_by_pointer() {
    let mut ours = reader("source = \"stats\"", "b1");
    let text = r#"{"cpu":{"usage_ratio":0.25},"memory":{"usage_ratio":0.5},"connections":{"active":3},
        "requests":{"in_flight":2,"by_code":{"200":70,"301":5,"404":20,"429":9,"500":4,"client_closed":2}}}"#;
    let report = ours.read(text.as_bytes(), at(1)).unwrap();
    assert_eq!((report.cpu, report.memory, report.in_flight), (Some(0.25), Some(0.5), Some(2.0)));
    assert_eq!((report.good, report.connections), (Some(95.0), None));
    let mut percent = reader(
        "source = \"stats\"\npreset = \"custom\"\nmap = { cpu = { pointer = \"/cpu\", scale = 0.01 } }",
        "b1",
    );
    near(percent.read(b"{\"cpu\": 75}", at(1)).unwrap().cpu, 0.75);
    for body in
        [&b"{}"[..], b"[]", b"null", b"{\"cpu\": \"75\"}", b"{\"cpu\": {\"a\": null}}", b"{\"cpu\": -1}"]
    {
        assert_eq!(percent.read(body, at(1)), Err(Miss::Empty));
    }
    for body in [&b""[..], b"<html>", b"{\"cpu\": 75", b"cpu 75", &[b'['; 1_000], &[0xff, 0xfe]] {
        assert!(matches!(percent.read(body, at(1)), Err(Miss::Unreadable(_))));
    }
}

#[test]
fn what_is_no_exposition_says_so() {
    let mut ours = reader("source = \"metrics\"", "b1");
    for body in [&b"<!doctype html><title>Not here"[..], b"{\"cpu\":1}", &[0x1f, 0x8b, 8, 0, 0]] {
        assert!(matches!(ours.read(body, at(1)), Err(Miss::Unreadable(_))));
    }
    assert!(matches!(ours.read(b"backend_cpu_usage_ratio lots\n", at(1)), Err(Miss::Unreadable(_))));
    for body in [&b""[..], b"\n\n", b"# EOF\n", b"up 1\n", b"backend_cpu_usage_ratio NaN\n"] {
        assert_eq!(ours.read(body, at(1)), Err(Miss::Empty));
    }
    let spoilt = b"backend_memory_usage_ratio oops\nx{a=\"\xff\"} 1\nbackend_cpu_usage_ratio 0.5\n";
    assert_eq!(ours.read(spoilt, at(1)).unwrap().cpu, Some(0.5), "a bad line is its own fault alone");
}

/// Real answers, bytes swapped, doubled, cut and spliced at random: never a panic, never a number that cannot be true.
#[test]
fn torn_answers_harm_nobody() {
    let settings = |preset| format!("source = \"metrics\"\npreset = \"{preset}\"");
    let mut readers = [
        (reader(&settings("node_exporter"), "b1"), NODE),
        (reader(&settings("cadvisor"), "b1"), CADVISOR),
        (
            reader("source = \"stats\"", "b1"),
            "{\"cpu\":{\"usage_ratio\":0.25},\"requests\":{\"by_code\":{\"200\":7}}}",
        ),
    ];
    let (mut rng, mut understood) = (Rng::seeded(0x7e1e), 0);
    for round in 0..3_000 {
        let (reader, text) = &mut readers[round % 3];
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=rng.below(40) {
            let place = rng.below(bytes.len().max(1) as u32) as usize;
            match rng.below(5) {
                0 if !bytes.is_empty() => bytes[place] = rng.below(256) as u8,
                1 => bytes.insert(place, b"\"\\{}\n #,= "[rng.below(10) as usize]),
                2 => bytes.truncate(place.max(bytes.len() / 2)),
                3 => bytes.extend_from_within(place..),
                _ => {
                    bytes.drain(place..bytes.len().min(place + 3));
                }
            }
            bytes.truncate(64 << 10);
        }
        if let Ok(report) = reader.read(&bytes, at(round as u64)) {
            understood += 1;
            assert_eq!(report, report.credible());
        }
    }
    assert!(understood > 300, "{understood}");
}

/// A page of one endless line, of a million labels, of nothing but newlines: read in a moment, kept nowhere.
#[test]
fn pages_meant_to_be_slow_are_not() {
    let mut ours = custom("cpu = { metric = 'c', as = 'rate', labels = { a = '1' } }");
    for body in [
        "c".repeat(1 << 20),
        format!("c{{{}}} 1", "a=\"1\",".repeat(1 << 17)),
        "\n".repeat(1 << 20),
        format!("c{{a=\"{}", "\\\"".repeat(1 << 19)),
        "c{a=\"1\"} 1\n".repeat(1 << 16),
    ] {
        let read = ours.read(body.as_bytes(), at(1));
        assert!(read.is_err() || read.is_ok_and(|report| report.is_empty()), "a rate needs two readings");
    }
}
