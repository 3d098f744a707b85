//! Percentile curves as SVG: latency over how rare it is, both on logarithmic scales, so that tails are as wide as bodies.

use std::fmt::Write as _;

use super::runs::{Ran, Row};
use super::tally::CURVE;
use crate::chart::{colour, dash, escaped, label, line, ticks};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 460.0;
/// Room for labels: left, right (the legend), top, bottom.
const MARGIN: [f64; 4] = [64.0, 236.0, 40.0, 44.0];
/// Percentiles with a line and a label.
const MARKS: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.95];

/// One of the curves.
pub(crate) struct Curve {
    /// What the legend calls it.
    pub(crate) name: String,
    /// Latencies (ms) at [`CURVE`].
    pub(crate) ms: Vec<f64>,
}

/// The chart of a cell.
pub(crate) fn svg(ran: &Ran) -> String {
    let curve = |row: &Row| Curve { name: row.policy.name.to_owned(), ms: median_curve(row) };
    let curves: Vec<Curve> = ran.rows.iter().map(curve).collect();
    self::curves(&format!("{}: {}", ran.cell.scenario, ran.cell.label()), &curves)
}

/// A chart of some curves.
pub(crate) fn curves(title: &str, curves: &[Curve]) -> String {
    let values = || curves.iter().flat_map(|curve| curve.ms.iter().copied()).filter(|&v| v > 0.0);
    let low = values().fold(f64::INFINITY, f64::min).clamp(0.01, 1e6);
    let high = values().fold(0.0, f64::max).max(low * 2.0);
    let x = |percentile: f64| {
        let place = |p: f64| -(1.0 - p / 100.0).log10();
        let share = (place(percentile) - place(CURVE[0])) / (place(CURVE[CURVE.len() - 1]) - place(CURVE[0]));
        MARGIN[0] + share * (WIDTH - MARGIN[0] - MARGIN[1])
    };
    let y = |ms: f64| {
        let share = (ms.max(low) / low).ln() / (high / low).ln();
        HEIGHT - MARGIN[3] - share * (HEIGHT - MARGIN[2] - MARGIN[3])
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{}\" y=\"22\" font-size=\"14\">{}, latency by percentile</text>\n",
        MARGIN[0],
        escaped(title)
    );
    for mark in MARKS {
        line(&mut out, [x(mark), MARGIN[2], x(mark), HEIGHT - MARGIN[3]]);
        label(&mut out, x(mark), HEIGHT - MARGIN[3] + 16.0, "middle", &format!("p{mark}"));
    }
    for tick in ticks(low, high) {
        line(&mut out, [MARGIN[0], y(tick), WIDTH - MARGIN[1], y(tick)]);
        label(&mut out, MARGIN[0] - 6.0, y(tick) + 4.0, "end", &format!("{tick} ms"));
    }
    // The legend is in the order of the tails, as the curves end.
    let mut order: Vec<usize> = (0..curves.len()).collect();
    let p99 =
        |at: usize| CURVE.iter().zip(&curves[at].ms).find(|(p, _)| **p >= 99.0).map_or(0.0, |(_, ms)| *ms);
    order.sort_by(|&a, &b| p99(b).total_cmp(&p99(a)));
    for (place, at) in order.into_iter().enumerate() {
        let (colour, dash) = (colour(at), dash(at));
        let points: Vec<String> =
            CURVE.iter().zip(&curves[at].ms).map(|(&p, &ms)| format!("{:.1},{:.1}", x(p), y(ms))).collect();
        let style =
            format!("fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" stroke-dasharray=\"{dash}\"");
        let _ = writeln!(out, "<polyline points=\"{}\" {style}/>", points.join(" "));
        let (left, top) = (WIDTH - MARGIN[1] + 14.0, MARGIN[2] + 8.0 + 13.0 * place as f64);
        let _ = writeln!(out, "<path d=\"M{left},{top} h22\" {style}/>");
        let name = format!("{} {:.0}", curves[at].name, p99(at));
        label(&mut out, left + 28.0, top + 4.0, "start", &name);
    }
    out.push_str("</svg>\n");
    out
}

fn median_curve(row: &Row) -> Vec<f64> {
    (0..CURVE.len())
        .map(|at| {
            let mut values: Vec<f64> = row.seeds.iter().map(|(_, run)| run.curve[at]).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
        })
        .collect()
}
