//! Samples of the balancer's metrics page. It is our own program's text, so this reads what that writes: label values
//! with escapes, no time stamps.
//!
//! How it fails: a line that is not understood is passed over.

/// A sample with its labels.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample<'a> {
    pub(crate) name: &'a str,
    labels: Vec<(&'a str, String)>,
    pub(crate) value: f64,
}

impl Sample<'_> {
    /// A label's value; empty where there is none.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
}

/// All samples of a page.
pub(crate) fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample)
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return Some(Sample { name: series, labels: Vec::new(), value });
    };
    let (mut rest, mut labels) = (rest.strip_suffix('}')?, Vec::new());
    while let Some((key, quoted)) = rest.split_once("=\"") {
        let (text, after) = unquoted(quoted)?;
        labels.push((key, text));
        rest = after.trim_start_matches(',');
    }
    Some(Sample { name, labels, value })
}

/// The text up to the closing quote, and what follows it.
fn unquoted(quoted: &str) -> Option<(String, &str)> {
    let (mut text, mut escaped) = (String::new(), false);
    for (at, c) in quoted.char_indices() {
        match c {
            _ if escaped => {
                text.push(if c == 'n' { '\n' } else { c });
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((text, &quoted[at + 1..])),
            c => text.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_may_hold_anything() {
        let text = "# HELP a b\na 1\nb{x=\"1\",y=\"a,b}\\\"\\\\ =\\n\"} 2.5e3\nbad{x=\"1} 3\nc NaN\nworse\n";
        let all: Vec<Sample<'_>> = samples(text).collect();
        assert_eq!((all[0].name, all[0].value, all[0].label("x")), ("a", 1.0, ""));
        assert_eq!((all[1].name, all[1].value, all[1].label("x")), ("b", 2500.0, "1"));
        assert_eq!(all[1].label("y"), "a,b}\"\\ =\n");
        assert_eq!(all.len(), 3);
        assert!(all[2].value.is_nan());
    }
}
