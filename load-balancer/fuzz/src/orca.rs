//! Load reports in response headers: all of them are taken out, and what is believed is true as far as numbers can be.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use lb_core::signal::Report;
use load_balancer::telemetry::{Taken, take_report};

use super::input;

const NAMES: [&str; 4] = ["endpoint-load-metrics", "x-lb-rif", "x-lb-util", "endpoint-load-metrics-bin"];

/// Each line of the input is a field; its first byte says which.
pub fn run(data: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("text/plain"));
    for line in data.split(|&b| b == b'\n') {
        let (name, value) = input::byte(line);
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(NAMES[usize::from(name) % NAMES.len()]), value);
        }
    }
    let some = headers.len() > 1;
    let before = headers.clone();
    let taken = take_report(&mut headers);
    assert_eq!((headers.len(), taken == Taken::Nothing), (1, !some));
    let Taken::Report(report) = taken else { return };
    assert!(!report.is_empty());
    believable(&report);
    // What is meant for us is taken at its word, where that is a number that can be.
    let plain = |name| {
        before.get(name).and_then(|value: &HeaderValue| value.to_str().ok()?.trim().parse::<f64>().ok())
    };
    let (rif, util) = (plain("x-lb-rif"), plain("x-lb-util"));
    let told = Report { in_flight: rif, utilization: util, ..Report::default() }.credible();
    assert!(told.in_flight == report.in_flight, "{rif:?} became {:?}", report.in_flight);
    assert!(told.utilization.is_none() || told.utilization == report.utilization);
}

/// Every number of a report is finite, not negative, and one that would be believed again.
pub fn believable(report: &Report) {
    let Report { utilization, cpu, memory, connections, in_flight, good } = *report;
    let numbers = [utilization, cpu, memory, connections, in_flight, good];
    assert!(numbers.iter().flatten().all(|number| number.is_finite() && *number >= 0.0), "{report:?}");
    assert_eq!(report.credible(), *report);
}
