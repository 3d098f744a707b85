//! Bars in groups: one group for each thing, one bar in it for each series, the value above the bar.

use std::fmt::Write as _;

use super::{Frame, LEFT, RIGHT, WIDTH, colour, escaped, number};

/// Share of a group that is bars.
const FILLED: f64 = 0.78;
/// A bar is no wider.
const WIDEST: f64 = 90.0;
/// Values above a bar narrower than this would touch each other.
const LEAST_FOR_VALUE: f64 = 24.0;
/// Values above a bar narrower than this are small.
const LEAST_FOR_LARGE: f64 = 38.0;

/// A chart of bars.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bars {
    pub(crate) title: String,
    pub(crate) y_label: String,
    /// What is below each group.
    pub(crate) groups: Vec<String>,
    /// Name and values of each series, one value for each group; one that is not there has no bar.
    pub(crate) series: Vec<(String, Vec<Option<f64>>)>,
    /// A line across, with its name: a mean, or a bound.
    pub(crate) reference: Option<(String, f64)>,
    /// Heights are logarithms, where values differ by orders of magnitude.
    pub(crate) log: bool,
}

impl Bars {
    /// The chart.
    pub(crate) fn svg(&self) -> String {
        let values = self.series.iter().flat_map(|(_, values)| values.iter().flatten().copied());
        let all: Vec<f64> =
            values.chain(self.reference.iter().map(|(_, at)| *at)).filter(|v| v.is_finite()).collect();
        let high = all.iter().copied().fold(0.0, f64::max);
        let low = all.iter().copied().filter(|v| *v > 0.0).reduce(f64::min).filter(|_| self.log);
        let names: Vec<&str> = match &self.series[..] {
            [_] => Vec::new(),
            many => many.iter().map(|(name, _)| name.as_str()).collect(),
        };
        // Room for the values above the bars.
        let room = if self.log { 1.5 } else { 1.06 };
        let mut frame = Frame::new(&self.title, &self.y_label, &names, low, high * room);
        let room = (WIDTH - LEFT - RIGHT) / self.groups.len().max(1) as f64;
        let bar = (room * FILLED / self.series.len().max(1) as f64).min(WIDEST);
        for (at, group) in self.groups.iter().enumerate() {
            let middle = LEFT + room * (at as f64 + 0.5);
            let left = middle - bar * self.series.len() as f64 / 2.0;
            frame.below(middle, group);
            for (index, (name, values)) in self.series.iter().enumerate() {
                let Some(value) = values.get(at).copied().flatten().filter(|v| v.is_finite()) else {
                    continue;
                };
                let told = format!("{group}, {name}: {}", number(value));
                rectangle(&mut frame, left + bar * index as f64, bar, value, (colour(index), &told));
            }
        }
        if let Some((name, at)) = &self.reference {
            let y = frame.y(*at);
            let _ = writeln!(
                frame.out,
                "<path d=\"M{LEFT},{y:.1} H{:.1}\" stroke=\"#111\" stroke-dasharray=\"6 4\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#111\" stroke=\"#fff\" stroke-width=\"3\" \
                 paint-order=\"stroke\">{}</text>",
                WIDTH - RIGHT,
                WIDTH - RIGHT - 4.0,
                y - 5.0,
                escaped(name)
            );
        }
        frame.finish()
    }
}

fn rectangle(frame: &mut Frame, x: f64, width: f64, value: f64, (fill, told): (&str, &str)) {
    let (top, bottom) = (frame.y(value), frame.y(frame.scale.0));
    let _ = writeln!(
        frame.out,
        "<rect class=\"bar\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\"><title>{}</title></rect>",
        x + 1.0,
        (width - 2.0).max(1.0),
        (bottom - top).max(0.0),
        escaped(told)
    );
    if width >= LEAST_FOR_VALUE {
        let size = if width < LEAST_FOR_LARGE { 10 } else { 12 };
        let _ = writeln!(
            frame.out,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{size}\" text-anchor=\"middle\" fill=\"#333\" stroke=\"#fff\" \
             stroke-width=\"3\" paint-order=\"stroke\">{}</text>",
            x + width / 2.0,
            top - 4.0,
            number(value)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_a_bar_of_its_height() {
        let chart = Bars {
            title: "Requests < all".to_owned(),
            y_label: "requests".to_owned(),
            groups: vec!["server1".to_owned(), "server2".to_owned()],
            series: vec![
                ("measured".to_owned(), vec![Some(50.0), Some(100.0)]),
                ("published".to_owned(), vec![None, Some(100.0)]),
            ],
            reference: Some(("mean".to_owned(), 75.0)),
            log: false,
        };
        let svg = chart.svg();
        assert_eq!(svg.matches("class=\"bar\"").count(), 3, "{svg}");
        assert!(svg.contains("Requests &lt; all") && svg.contains(">mean</text>"), "{svg}");
        let heights: Vec<f64> = svg
            .split("class=\"bar\"")
            .skip(1)
            .filter_map(|bar| bar.split("height=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert!(
            (heights[1] / heights[0] - 2.0).abs() < 0.01 && (heights[1] - heights[2]).abs() < 0.01,
            "{svg}"
        );
    }

    #[test]
    fn nothing_is_an_empty_frame() {
        let svg = Bars::default().svg();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"), "{svg}");
    }
}
