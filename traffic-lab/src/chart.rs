//! Charts as SVG text: grouped bars, and lines with bands. One palette and one frame for all, so that they look alike.
//!
//! The background is drawn, and light, so that a page may be dark. Nothing is loaded and nothing runs: a chart is one file
//! that GitHub shows. How it fails: values that are no numbers are left out; a chart without any is an empty frame.

pub(crate) mod bars;
pub(crate) mod lines;

use std::fmt::Write as _;

pub(crate) use bars::Bars;
pub(crate) use lines::{Line, Lines};

/// Told apart by the colour-blind (Okabe and Ito), and repeated with dashes.
pub(crate) const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000"];
/// Dash patterns of lines, one for each round through the colours.
pub(crate) const DASHES: [&str; 4] = ["", "6 3", "2 2", "8 3 2 3"];

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 24.0;
const BOTTOM: f64 = 52.0;
/// Room for the title and one row of the legend.
const TOP: f64 = 62.0;
/// A further row of the legend.
const LEGEND_ROW: f64 = 18.0;
/// Width of a character in the legend, about.
const CHARACTER: f64 = 6.6;
/// Lines across, about.
const TICKS: f64 = 6.0;

/// The colour of the so-many-th series.
pub(crate) fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// Its dashes.
pub(crate) fn dash(index: usize) -> &'static str {
    DASHES[index / COLOURS.len() % DASHES.len()]
}

/// A frame with a title, a legend, and an axis upwards that begins at 0, or is logarithmic.
struct Frame {
    out: String,
    top: f64,
    /// Least and most; the least is 0 on an axis that is not logarithmic.
    scale: (f64, f64),
}

impl Frame {
    /// A frame for values up to `high`; from `low` on a logarithmic axis, if that is given.
    fn new(title: &str, y_label: &str, legend: &[&str], low: Option<f64>, high: f64) -> Self {
        let (scale, lines) = axis(low, high);
        let rows = place(legend);
        let top = TOP + LEGEND_ROW * rows.last().map_or(0.0, |(row, _)| *row as f64);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<title>{title}</title>\n\
             <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"26\" font-size=\"16\" fill=\"#111\">{title}</text>\n",
            title = escaped(title)
        );
        for (index, (name, (row, x))) in legend.iter().zip(&rows).enumerate() {
            let y = 40.0 + LEGEND_ROW * *row as f64;
            let fill = colour(index);
            let _ = writeln!(
                out,
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"12\" height=\"12\" rx=\"2\" fill=\"{fill}\"/>",
                LEFT + x
            );
            label(&mut out, LEFT + x + 17.0, y + 10.0, "start", name);
        }
        let mut frame = Self { out, top, scale };
        for tick in lines {
            let y = frame.y(tick);
            line(&mut frame.out, [LEFT, y, WIDTH - RIGHT, y]);
            label(&mut frame.out, LEFT - 8.0, y + 4.0, "end", &number(tick));
        }
        let middle = (top + HEIGHT - BOTTOM) / 2.0;
        let _ = writeln!(
            frame.out,
            "<text transform=\"translate(18,{middle:.1}) rotate(-90)\" text-anchor=\"middle\" fill=\"#333\">{}</text>",
            escaped(y_label)
        );
        frame
    }

    /// Where a value is.
    fn y(&self, value: f64) -> f64 {
        let (low, high) = self.scale;
        let share = if low > 0.0 { (value.max(low) / low).ln() / (high / low).ln() } else { value / high };
        HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - self.top)
    }

    /// A text below the axis.
    fn below(&mut self, x: f64, text: &str) {
        label(&mut self.out, x, HEIGHT - BOTTOM + 18.0, "middle", text);
    }

    /// The name of the axis below.
    fn x_label(&mut self, text: &str) {
        label(&mut self.out, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0, "middle", text);
    }

    fn finish(mut self) -> String {
        self.out.push_str("</svg>\n");
        self.out
    }
}

/// Row and offset of each name of a legend; a legend of one name is none.
fn place(legend: &[&str]) -> Vec<(usize, f64)> {
    let (mut row, mut x) = (0, 0.0);
    let mut places = Vec::new();
    for name in legend {
        let width = 34.0 + CHARACTER * name.chars().count() as f64;
        if x > 0.0 && x + width > WIDTH - LEFT - RIGHT {
            (row, x) = (row + 1, 0.0);
        }
        places.push((row, x));
        x += width;
    }
    places
}

/// The ends of an axis, and where it has lines.
fn axis(low: Option<f64>, high: f64) -> ((f64, f64), Vec<f64>) {
    if let Some(low) = low.filter(|low| low.is_finite() && *low > 0.0 && high > *low) {
        let low = 10f64.powf(low.log10().floor());
        return ((low, high), ticks(low, high));
    }
    let step = step(high);
    let steps = (high / step).ceil().max(1.0);
    ((0.0, steps * step), (0..=steps as u32).map(|at| f64::from(at) * step).collect())
}

/// 1, 2 and 5 of each decade between two values.
pub(crate) fn ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(decade)));
    all.filter(|tick| (low..=high).contains(tick)).collect()
}

/// 1, 2 or 5 times a power of ten: the distance of lines for values up to `high`.
pub(crate) fn step(high: f64) -> f64 {
    if !(high.is_finite() && high > 0.0) {
        return 1.0;
    }
    let raw = high / TICKS;
    let decade = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0].map(|of| of * decade).into_iter().find(|step| *step >= raw).unwrap_or(10.0 * decade)
}

/// As short as can be read: thousands apart, no more than three decimals.
pub(crate) fn number(value: f64) -> String {
    if value.fract().abs() > 1e-9 && value.abs() < 100.0 {
        let digits = if value.abs() < 1.0 { 3 } else { 2 };
        let text = format!("{value:.digits$}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A thin line of the grid.
pub(crate) fn line(out: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = writeln!(out, "<path d=\"M{x1:.1},{y1:.1} L{x2:.1},{y2:.1}\" stroke=\"#ddd\"/>");
}

/// A text at a place.
pub(crate) fn label(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escaped(text);
    let _ =
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#333\">{text}</text>");
}

/// Text as XML has it.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_round() {
        assert_eq!(ticks(15.0, 600.0), [20.0, 50.0, 100.0, 200.0, 500.0]);
        assert_eq!(axis(None, 3.4), ((0.0, 4.0), vec![0.0, 1.0, 2.0, 3.0, 4.0]));
        assert_eq!(axis(Some(3.0), 30.0), ((1.0, 30.0), vec![1.0, 2.0, 5.0, 10.0, 20.0]));
        assert_eq!(axis(Some(0.0), 2.0).0, (0.0, 2.0));
    }

    #[test]
    fn steps_and_numbers_are_round() {
        for (high, expected) in
            [(10_000.0, 2_000.0), (3_650.0, 1_000.0), (0.07, 0.02), (32.4, 10.0), (0.0, 1.0)]
        {
            assert!((step(high) - expected).abs() < 1e-9, "{high}: {}", step(high));
        }
        let told = [0.0, 3_650.0, 1_234_567.0, 0.02, 2.73, 32.4, 250.0].map(number);
        assert_eq!(told, ["0", "3,650", "1,234,567", "0.02", "2.73", "32.4", "250"]);
        assert_eq!(escaped("a<b & \"c\""), "a&lt;b &amp; &quot;c&quot;");
    }

    #[test]
    fn a_long_legend_goes_on_below() {
        let names = ["a name of thirty characters or so"; 6];
        let rows: Vec<usize> = place(&names).into_iter().map(|(row, _)| row).collect();
        assert_eq!(rows, [0, 0, 0, 1, 1, 1]);
    }
}
