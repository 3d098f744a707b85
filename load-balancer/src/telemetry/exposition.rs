//! The Prometheus text format (0.0.4, and OpenMetrics as far as samples go), read for a few names only.
//!
//! Own code, because no crate does: the permissive one (`prometheus-parse`) splits labels at every comma and brace, quoted
//! or not, and builds maps for every line; the correct one is LGPL and refuses a whole page for one bad line. Here a line
//! that is not wanted is one comparison a name, and a bad line is counted and passed over.

use std::borrow::Cow;

/// One sample, borrowed from its line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: Labels<'a>,
    /// Name and labels as they stand there: its identity from one scrape to the next.
    pub(super) series: &'a str,
    pub(super) value: f64,
    /// When it was taken, in seconds since the Unix epoch, where it says so.
    pub(super) stamp: Option<f64>,
}

/// Lines of wanted names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Read {
    pub(super) good: usize,
    pub(super) bad: usize,
}

/// Hands every sample of the names `wanted` to `take`.
pub(super) fn each<'a>(text: &'a str, wanted: &[String], mut take: impl FnMut(Sample<'a>)) -> Read {
    let mut read = Read::default();
    for line in text.split('\n') {
        let line = line.trim_ascii();
        if !wanted.iter().any(|name| is_of(line, name)) {
            continue;
        }
        match sample(line) {
            Some(sample) => {
                read.good += 1;
                take(sample);
            }
            None => read.bad += 1,
        }
    }
    read
}

fn is_of(line: &str, name: &str) -> bool {
    line.as_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| !rest.first().is_some_and(is_name))
}

fn is_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')
}

/// Whether a text begins as an exposition may: with a comment or a name. HTML and JSON do not.
pub(super) fn looks_right(text: &str) -> bool {
    let first = text.trim_ascii_start().as_bytes().first();
    first.is_none_or(|first| *first == b'#' || (is_name(first) && !first.is_ascii_digit()))
}

/// `name{labels} value [timestamp] [# exemplar]`.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (name, labels, rest) = series(line)?;
    let series = &line[..line.len() - rest.len()];
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let value = words.next()?.parse().ok()?;
    let stamp = match words.next() {
        Some(word) if !word.starts_with('#') => Some(seconds(word.parse().ok()?)),
        _ => None,
    };
    Some(Sample { name, labels, series, value, stamp })
}

/// Prometheus writes milliseconds, OpenMetrics seconds. In milliseconds this limit is in 1973, in seconds in 5138.
const LARGEST_SECONDS: f64 = 1e11;

fn seconds(stamp: f64) -> f64 {
    if stamp > LARGEST_SECONDS { stamp / 1e3 } else { stamp }
}

/// The name and labels that a text begins with, and what follows them.
pub(super) fn series(text: &str) -> Option<(&str, Labels<'_>, &str)> {
    let end = text.bytes().position(|byte| !is_name(&byte)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let Some(inside) = rest.trim_ascii_start().strip_prefix('{') else {
        return Some((name, Labels(""), rest));
    };
    let mut labels = Labels(inside);
    labels.by_ref().for_each(drop);
    let rest = labels.0.strip_prefix('}')?;
    Some((name, Labels(&inside[..inside.len() - rest.len() - 1]), rest))
}

/// The labels that a text begins with. What is no label any more stays in it, without spaces and commas before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Labels<'a>(&'a str);

impl<'a> Iterator for Labels<'a> {
    type Item = (&'a str, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0 = self.0.trim_start_matches([' ', '\t', ',']);
        let end = self.0.bytes().position(|byte| matches!(byte, b'=' | b'}' | b'"'))?;
        let (name, rest) = self.0.split_at(end);
        let quoted = rest.strip_prefix('=')?.trim_ascii_start().strip_prefix('"')?;
        let end = closing(quoted)?;
        self.0 = &quoted[end + 1..];
        Some((name.trim_ascii(), unescaped(&quoted[..end])))
    }
}

/// Where the quotes close.
fn closing(quoted: &str) -> Option<usize> {
    let mut escaped = false;
    quoted.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('n') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            (c, false) => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parts = (Vec<(String, String)>, f64, Option<f64>);

    fn one(line: &str) -> Option<Parts> {
        let sample = sample(line)?;
        let labels = sample.labels.map(|(name, value)| (name.to_owned(), value.into_owned()));
        Some((labels.collect(), sample.value, sample.stamp))
    }

    #[test]
    fn samples_in_all_their_forms() {
        let labels = |all: &[(&str, &str)]| all.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        for (line, expected) in [
            ("up 1", (vec![], 1.0, None)),
            ("up\t 1.5e3 ", (vec![], 1500.0, None)),
            ("up{} 1", (vec![], 1.0, None)),
            ("up{a=\"b\"} 1 1700000000123", (labels(&[("a", "b")]), 1.0, Some(1_700_000_000.123))),
            ("up{a=\"b\",} 1 1700000000.5", (labels(&[("a", "b")]), 1.0, Some(1_700_000_000.5))),
            ("up { a = \"b\" , c=\"\" } +Inf", (labels(&[("a", "b"), ("c", "")]), f64::INFINITY, None)),
            (r#"up{a="\"}\\,\n"} 2"#, (labels(&[("a", "\"}\\,\n")]), 2.0, None)),
            ("up{a=\"ü }{ #\"} 3 # {trace_id=\"x\"} 0.5 1.0", (labels(&[("a", "ü }{ #")]), 3.0, None)),
        ] {
            assert_eq!(one(line).unwrap(), expected, "{line}");
        }
        assert!(one("up NaN").unwrap().1.is_nan());
    }

    #[test]
    fn bad_lines_are_none() {
        for line in [
            "",
            "up",
            "up{",
            "up{a}",
            "up{a=}",
            "up{a=\"b} 1",
            "up{a=\"b\\\"} 1",
            "up{a=\"b\"",
            "up{a=\"b\"}",
            "up x",
            "1up 1",
            "up 1 soon",
            "up{a=\"b\" \"c\"} 1",
            "up} 1",
            "{a=\"b\"} 1",
        ] {
            assert_eq!(one(line), None, "{line}");
        }
    }

    #[test]
    fn only_wanted_names_are_read() {
        let text = "# HELP up is it\r\n# TYPE up gauge\r\nup 1\r\nupper 2\nup_total 3\n up{a=\"b\"} 4\n\nup five\n# EOF\n";
        let (wanted, mut values) = (["up".to_owned(), "absent".to_owned()], Vec::new());
        let read = each(text, &wanted, |sample| values.push((sample.series, sample.value)));
        assert_eq!(values, [("up", 1.0), ("up{a=\"b\"}", 4.0)]);
        assert_eq!(read, Read { good: 2, bad: 1 });
    }

    #[test]
    fn pages_and_documents_do_not_look_right() {
        assert!(["", "\n# HELP x", "up 1", ":up 1", "_x 1"].iter().all(|text| looks_right(text)));
        assert!(!["<html>", "{\"a\":1}", "1", "\"x\"", "\u{fffd}"].iter().any(|text| looks_right(text)));
    }
}
