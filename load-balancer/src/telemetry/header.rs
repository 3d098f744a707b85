//! Load reports in response headers: `endpoint-load-metrics` (ORCA, gRFC A51), `x-lb-rif` and `x-lb-util`.
//!
//! ORCA's texts are read in the forms `TEXT k=v, k=v` and `JSON {…}`. `BIN` and `endpoint-load-metrics-bin` are protocol
//! buffers: kept from clients like the rest, and not read. A report that makes no sense is none; the response is served
//! all the same.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use lb_core::signal::Report;

const ORCA: HeaderName = HeaderName::from_static("endpoint-load-metrics");
const ORCA_BIN: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");
const RIF: HeaderName = HeaderName::from_static("x-lb-rif");
const UTIL: HeaderName = HeaderName::from_static("x-lb-util");

/// What a response's headers held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Taken {
    /// No field of a load report: nearly always.
    Nothing,
    /// Some, and nothing in them that can be believed.
    Nonsense,
    /// A report.
    Report(Report),
}

/// Takes the load report out of a response's headers.
pub fn take_report(headers: &mut HeaderMap) -> Taken {
    // One pass over a few names: four look-ups would hash four times.
    if !headers.keys().any(is_report) {
        return Taken::Nothing;
    }
    let report = report_of(headers);
    for name in [ORCA, ORCA_BIN, RIF, UTIL] {
        headers.remove(name);
    }
    report.map_or(Taken::Nonsense, Taken::Report)
}

fn is_report(name: &HeaderName) -> bool {
    let name = name.as_str();
    // Few other names are this long, so few are compared.
    matches!(name.len(), 8 | 9 | 21 | 25)
        && matches!(name, "x-lb-rif" | "x-lb-util" | "endpoint-load-metrics" | "endpoint-load-metrics-bin")
}

/// What they say. The plain fields, which are meant for us, win over ORCA's.
fn report_of(headers: &HeaderMap) -> Option<Report> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let mut report = text(ORCA).map(orca).unwrap_or_default().credible();
    let number = |name| text(name).and_then(|text| text.trim().parse().ok());
    let plain = Report { in_flight: number(RIF), utilization: number(UTIL), ..Report::default() }.credible();
    report.in_flight = plain.in_flight.or(report.in_flight);
    report.utilization = plain.utilization.or(report.utilization);
    (!report.is_empty()).then_some(report)
}

/// A report in ORCA's words.
fn orca(text: &str) -> Report {
    let mut report = Report::default();
    let (form, rest) = text.trim().split_once(' ').unwrap_or_default();
    if form.eq_ignore_ascii_case("TEXT") {
        for (key, value) in rest.split(',').filter_map(|pair| pair.split_once('=')) {
            put(&mut report, key.trim(), value.trim().parse().ok());
        }
    } else if form.eq_ignore_ascii_case("JSON")
        && let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(rest)
    {
        fields.iter().for_each(|(key, value)| put(&mut report, key, value.as_f64()));
    }
    report
}

/// Names as in ORCA's definition, and as its JSON form may spell them. Rates and costs of requests say nothing here.
fn put(report: &mut Report, key: &str, value: Option<f64>) {
    match key {
        "application_utilization" | "applicationUtilization" => report.utilization = value,
        "cpu_utilization" | "cpuUtilization" => report.cpu = value,
        "mem_utilization" | "memUtilization" => report.memory = value,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use lb_core::Rng;

    use super::*;

    fn taken(fields: &[(&'static str, &str)]) -> (Taken, usize) {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut headers: HeaderMap = fields.iter().map(field).collect();
        (take_report(&mut headers), headers.len())
    }

    fn report(value: &str) -> Taken {
        taken(&[("endpoint-load-metrics", value)]).0
    }

    #[test]
    fn text_and_json_say_the_same() {
        let expected =
            Report { utilization: Some(0.5), cpu: Some(0.3), memory: Some(0.8), ..Report::default() };
        for value in [
            "TEXT cpu_utilization=0.3,mem_utilization=0.8,application_utilization=0.5,rps_fractional=10,eps=1,named_metrics.foo=1",
            "text  application_utilization = 5e-1, cpu_utilization=0.3 , mem_utilization=0.8",
            r#"JSON {"cpu_utilization": 0.3, "mem_utilization": 0.8, "application_utilization": 0.5, "eps": 3}"#,
            r#"JSON {"cpuUtilization":0.3,"memUtilization":0.8,"applicationUtilization":0.5,"utilization":{"x":1}}"#,
        ] {
            assert_eq!(report(value), Taken::Report(expected), "{value}");
        }
    }

    #[test]
    fn plain_fields_win_and_all_of_them_go() {
        let (found, left) = taken(&[
            ("content-type", "text/plain"),
            ("x-lb-rif", " 12"),
            ("x-lb-util", "0.43"),
            ("endpoint-load-metrics", "TEXT application_utilization=0.9,cpu_utilization=0.2"),
            ("endpoint-load-metrics-bin", "CQAAAAAAAOA/"),
        ]);
        let expected =
            Report { utilization: Some(0.43), cpu: Some(0.2), in_flight: Some(12.0), ..Report::default() };
        assert_eq!((found, left), (Taken::Report(expected), 1));
        assert_eq!(taken(&[("content-length", "5"), ("x-lb-rig", "1")]), (Taken::Nothing, 2));
    }

    #[test]
    fn what_makes_no_sense_is_no_report_and_goes_too() {
        for value in [
            "",
            "TEXT",
            "TEXT ",
            "BIN CQAAAAAAAOA/",
            "JSON",
            "JSON [1]",
            "JSON {\"cpu_utilization\":\"0.3\"}",
            "TEXT cpu_utilization=NaN",
            "TEXT cpu_utilization=-1",
            "TEXT cpu_utilization=inf",
            "TEXT cpu_utilization=80",
            "cpu_utilization=0.3",
            "JSON {\"cpu_utilization\":1e999}",
            "TEXT mem_utilization=0.3=0.4",
        ] {
            assert_eq!(taken(&[("endpoint-load-metrics", value)]), (Taken::Nonsense, 0), "{value}");
        }
        assert_eq!(taken(&[("x-lb-rif", "many")]), (Taken::Nonsense, 0));
    }

    /// Pieces of true reports, torn and mended at random: nothing unbelievable is ever believed.
    #[test]
    fn hostile_values_are_never_believed() {
        const PIECES: [&str; 26] = [
            "TEXT ",
            "JSON ",
            "BIN ",
            "{",
            "}",
            "\"",
            ":",
            ",",
            "=",
            " ",
            "cpu_utilization",
            "mem_utilization",
            "application_utilization",
            "0.5",
            "-1",
            "1e308",
            "NaN",
            "inf",
            "-inf",
            "1e-400",
            "99999999999999999999",
            "[[[[[[[[[[",
            "null",
            "\t",
            "\u{e9}",
            "+.5",
        ];
        let (mut rng, mut believed) = (Rng::seeded(0x51), 0);
        for _ in 0..2_000 {
            let n = 1 + rng.below(14) as usize;
            let pieces: String = (0..n).map(|_| PIECES[rng.below(PIECES.len() as u32) as usize]).collect();
            let (found, left) =
                taken(&[("endpoint-load-metrics", &pieces), ("x-lb-rif", &pieces), ("x-lb-util", &pieces)]);
            assert_eq!(left, 0, "{pieces:?}");
            if let Taken::Report(report) = found {
                believed += 1;
                assert_eq!(report, report.credible(), "{pieces:?}");
                assert!(!report.is_empty(), "{pieces:?}");
            }
        }
        assert!(believed > 10, "some make sense: {believed}");
    }
}
