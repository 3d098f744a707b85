//! The chart: a bar of CPU per request for each proxy, with a line from least to most, grouped by scenario.

use std::fmt::Write as _;

use super::peer::Peer;
use super::summary::Row;

const WIDTH: f64 = 760.0;
const BAR_LEFT: f64 = 90.0;
/// Leaves room for the figures to the right of the longest bar.
const BAR_MAX: f64 = 480.0;
const LINE: f64 = 26.0;
const BAR: f64 = 16.0;
const MARGIN: f64 = 20.0;

/// Draws the rows.
pub(crate) fn svg(rows: &[Row]) -> String {
    let most = rows.iter().map(|row| row.cpu_us.max).fold(f64::MIN_POSITIVE, f64::max);
    let x = |us: f64| BAR_LEFT + us / most * BAR_MAX;
    let mut body = String::new();
    let mut y = MARGIN;
    let mut scenario = None;
    for row in rows {
        if scenario != Some(row.scenario) {
            scenario = Some(row.scenario);
            let _ = writeln!(
                body,
                "<text x=\"{MARGIN}\" y=\"{}\" font-weight=\"bold\">{}</text>",
                y + BAR,
                row.scenario
            );
            y += LINE;
        }
        let (middle, base) = (y + BAR / 2.0, y + BAR - 3.0);
        let ratio =
            row.to_haproxy.map_or_else(String::new, |ratio| format!(" = {:.2} × HAProxy", ratio.median));
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text>",
            BAR_LEFT - 6.0,
            row.peer.name()
        );
        let _ = writeln!(
            body,
            "<rect x=\"{BAR_LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{}\"/>",
            x(row.cpu_us.median) - BAR_LEFT,
            colour(row.peer),
        );
        let _ = writeln!(
            body,
            "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#222\" stroke-width=\"2\"/>",
            x(row.cpu_us.min),
            x(row.cpu_us.max),
        );
        let _ = writeln!(
            body,
            "<text x=\"{:.1}\" y=\"{base}\">{:.2} µs{ratio}</text>",
            x(row.cpu_us.max) + 8.0,
            row.cpu_us.median,
        );
        y += LINE;
    }
    let height = y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n<title>CPU time per proxied request: less is better\
         </title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

/// Ours stands out; the limit is pale.
fn colour(peer: Peer) -> &'static str {
    match peer {
        Peer::Haproxy => "#5b8db8",
        Peer::Nginx => "#7bab7b",
        Peer::Envoy => "#9a86b8",
        Peer::Caddy => "#c9a227",
        Peer::Pingora => "#b86b7b",
        Peer::Relay => "#cccccc",
        Peer::Ours => "#e07b39",
        _ => "#e8a87c",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::scenario::Scenario;
    use crate::bench::summary::Spread;

    #[test]
    fn every_row_has_its_bar_and_the_longest_fits() {
        let spread = |median: f64| Spread { median, min: median, max: median, interval: None };
        let row = |peer, cpu| Row {
            scenario: Scenario::PLAIN,
            peer,
            cpu_us: spread(cpu),
            cpu_stat_us: spread(cpu),
            to_haproxy: Some(spread(1.0)),
            to_relay: None,
            to_plain: None,
            p99_to_haproxy: None,
            requests_per_s: spread(1.0),
            p50_us: spread(1.0),
            p99_us: spread(1.0),
            resident_mib: 1.0,
            errors: 0,
            cut_off: 0.0,
        };
        let chart = svg(&[row(Peer::Haproxy, 10.0), row(Peer::Ours, 5.0)]);
        assert!(chart.contains("width=\"480.0\"") && chart.contains("width=\"240.0\""), "{chart}");
        assert_eq!(chart.matches("64 connections").count(), 1);
        assert!(chart.starts_with("<svg") && chart.ends_with("</svg>\n"));
    }
}
