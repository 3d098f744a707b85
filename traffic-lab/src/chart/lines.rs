//! Lines over a common axis, each with a band around it if it has one, and named moments across.

use std::fmt::Write as _;

use super::{BOTTOM, Frame, HEIGHT, LEFT, RIGHT, WIDTH, colour, dash, escaped, number, step};

/// Points of a line are marked up to so many.
const MARKED: usize = 24;

/// A chart of lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    pub(crate) title: String,
    pub(crate) x_label: String,
    pub(crate) y_label: String,
    pub(crate) lines: Vec<Line>,
    /// Moments: a vertical line with its name.
    pub(crate) marks: Vec<(f64, String)>,
    /// Whole numbers are told below, each of them: few things counted, not time.
    pub(crate) counted: bool,
}

/// A line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// In the order of x.
    pub(crate) points: Vec<(f64, f64)>,
    /// x, least and most.
    pub(crate) band: Vec<(f64, f64, f64)>,
}

impl Lines {
    /// The chart.
    pub(crate) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().copied());
        let bands = self.lines.iter().flat_map(|line| line.band.iter().map(|(_, _, most)| *most));
        let high = points().map(|(_, y)| y).chain(bands).filter(|v| v.is_finite()).fold(0.0, f64::max);
        let names: Vec<&str> = match &self.lines[..] {
            [_] => Vec::new(),
            many => many.iter().map(|line| line.name.as_str()).collect(),
        };
        let mut frame = Frame::new(&self.title, &self.y_label, &names, None, high * 1.04);
        let xs = || points().map(|(x, _)| x).chain(self.marks.iter().map(|(x, _)| *x));
        let (first, last) = (xs().fold(f64::INFINITY, f64::min), xs().fold(f64::NEG_INFINITY, f64::max));
        let (first, last) = if first <= last { (first, last) } else { (0.0, 1.0) };
        // Few things counted stand off the edges.
        let edge = if self.counted { 40.0 } else { 0.0 };
        let scale = (WIDTH - LEFT - RIGHT - 2.0 * edge) / (last - first).max(f64::MIN_POSITIVE);
        let x = |value: f64| LEFT + edge + (value - first) * scale;
        let step = if self.counted { 1.0 } else { step(last - first) };
        let mut tick = (first / step).ceil() * step;
        while tick <= last + step * 1e-6 {
            frame.below(x(tick), &number(tick));
            tick += step;
        }
        frame.x_label(&self.x_label);
        for (index, line) in self.lines.iter().enumerate() {
            draw(&mut frame, line, index, &x);
        }
        for (row, (at, name)) in self.marks.iter().enumerate() {
            mark(&mut frame, x(*at), row, name);
        }
        frame.finish()
    }
}

fn draw(frame: &mut Frame, line: &Line, index: usize, x: &impl Fn(f64) -> f64) {
    let colour = colour(index);
    let place = |frame: &Frame, at: f64, value: f64| format!("{:.1},{:.1}", x(at), frame.y(value));
    if !line.band.is_empty() {
        let upper = line.band.iter().map(|(at, _, most)| place(frame, *at, *most));
        let lower = line.band.iter().rev().map(|(at, least, _)| place(frame, *at, *least));
        let corners: Vec<String> = upper.chain(lower).collect();
        let _ = writeln!(
            frame.out,
            "<polygon class=\"band\" points=\"{}\" fill=\"{colour}\" fill-opacity=\"0.18\"/>",
            corners.join(" ")
        );
    }
    let points: Vec<String> = line
        .points
        .iter()
        .filter(|(_, value)| value.is_finite())
        .map(|(at, value)| place(frame, *at, *value))
        .collect();
    let _ = writeln!(
        frame.out,
        "<polyline class=\"line\" points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
         stroke-dasharray=\"{}\"/>",
        points.join(" "),
        dash(index)
    );
    if points.len() <= MARKED {
        for (point, (at, value)) in points.iter().zip(&line.points) {
            let (cx, cy) = point.split_once(',').unwrap_or_default();
            let told = format!("{}, {}: {}", line.name, number(*at), number(*value));
            let _ = writeln!(
                frame.out,
                "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3.5\" fill=\"{colour}\"><title>{}</title></circle>",
                escaped(&told)
            );
        }
    }
}

/// Names stand in rows, since moments may be close to each other.
fn mark(frame: &mut Frame, x: f64, row: usize, name: &str) {
    let top = frame.top;
    // The first to its left and the others to their right, if that does not leave the chart.
    let left = x > WIDTH * 0.65 || (row == 0 && x > WIDTH * 0.3);
    let (anchor, shift) = if left { ("end", -5.0) } else { ("start", 5.0) };
    let _ = writeln!(
        frame.out,
        "<path d=\"M{x:.1},{top:.1} V{:.1}\" stroke=\"#111\" stroke-dasharray=\"4 3\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"#111\" stroke=\"#fff\" stroke-width=\"3\" \
         paint-order=\"stroke\">{}</text>",
        HEIGHT - BOTTOM,
        x + shift,
        top + 12.0 + 15.0 * row as f64,
        escaped(name)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_bands_and_marks_are_drawn() {
        let line = |name: &str, factor: f64| Line {
            name: name.to_owned(),
            points: (2..=6).map(|n| (f64::from(n), factor * f64::from(n))).collect(),
            band: (2..=6).map(|n| (f64::from(n), 0.0, 2.0 * f64::from(n))).collect(),
        };
        let chart = Lines {
            title: "Mean load".to_owned(),
            lines: vec![line("one", 1.0), line("two", 2.0)],
            marks: vec![(3.0, "killed".to_owned())],
            counted: true,
            ..Lines::default()
        };
        let svg = chart.svg();
        for (what, count) in [("class=\"line\"", 2), ("class=\"band\"", 2), ("<circle", 10), (">killed<", 1)]
        {
            assert_eq!(svg.matches(what).count(), count, "{what}: {svg}");
        }
        assert!(!svg.contains("NaN"), "{svg}");
        // Twice the value is twice as high above the axis.
        let heights: Vec<f64> = svg
            .split("<circle")
            .skip(1)
            .filter_map(|c| c.split("cy=\"").nth(1)?.split('"').next()?.parse::<f64>().ok())
            .map(|y| HEIGHT - BOTTOM - y)
            .collect();
        assert!((heights[5] / heights[0] - 2.0).abs() < 0.02, "{heights:?}");
    }

    #[test]
    fn nothing_is_an_empty_frame() {
        let svg = Lines::default().svg();
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
