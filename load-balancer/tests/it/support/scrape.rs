//! `/metrics`, read strictly: a line that is not exactly what the text format allows fails the test that met it.

use std::collections::BTreeMap;

/// Labels in order of name.
pub(crate) type Labels = BTreeMap<String, String>;

/// One exposition.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    /// Family name to type.
    pub(crate) types: BTreeMap<String, String>,
    /// In order.
    pub(crate) samples: Vec<(String, Labels, f64)>,
}

impl Scrape {
    pub(crate) fn parse(text: &str) -> Scrape {
        assert!(text.ends_with('\n'), "the last line must end");
        let mut scrape = Scrape::default();
        let mut helped = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
                assert!(!help.is_empty(), "{line:?}");
                helped = name;
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("{line:?}"));
                assert_eq!(name, helped, "HELP and TYPE go together");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line:?}");
                let before = scrape.types.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "{name} twice");
            } else {
                let sample = sample(line);
                let family = &sample.0;
                let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|s| {
                    family.strip_suffix(s) == Some(helped)
                        && scrape.types.get(helped).is_some_and(|t| t == "histogram")
                });
                assert!(of_histogram || family == helped, "{line:?} under {helped}");
                scrape.samples.push(sample);
            }
        }
        scrape
    }

    /// The sum over all samples of `name` whose labels include these.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |l: &Labels| labels.iter().all(|(k, v)| l.get(*k).is_some_and(|have| have == v));
        self.samples
            .iter()
            .filter(|(n, l, _)| n == name && fits(l))
            .fold(0.0, |sum, (_, _, value)| sum + value)
    }

    /// What moved, for people.
    pub(crate) fn gist(&self) -> String {
        let told =
            |(n, _, v): &&(String, Labels, f64)| n.starts_with("lb_") && !n.ends_with("_bucket") && *v != 0.0;
        self.samples.iter().filter(told).map(|(n, l, v)| format!("{n}{l:?} {v}\n")).collect()
    }

    pub(crate) fn requests(&self) -> f64 {
        self.sum("lb_requests_total", &[])
    }

    pub(crate) fn code(&self, code: &str) -> f64 {
        self.sum("lb_requests_total", &[("code", code)])
    }

    pub(crate) fn aborts(&self, reason: &str) -> f64 {
        self.sum("lb_request_aborts_total", &[("reason", reason)])
    }

    /// Exactly one request was answered, with `code`, and aborted for `reason` alone.
    pub(crate) fn assert_one(&self, code: &str, reason: &str) {
        let abort = self.sum("lb_request_aborts_total", &[]);
        let got = (self.requests(), self.code(code), self.aborts(reason), abort);
        assert_eq!(got, (1.0, 1.0, 1.0, 1.0), "expected one {code} for {reason}:\n{}", self.gist());
        assert_eq!(self.sum("lb_request_duration_seconds_count", &[]), 1.0);
    }
}

fn sample(line: &str) -> (String, Labels, f64) {
    parts(line).unwrap_or_else(|| panic!("no sample: {line:?}"))
}

fn parts(line: &str) -> Option<(String, Labels, f64)> {
    let (name, mut rest) = line.split_at(line.find(['{', ' '])?);
    assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'), "{line:?}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"")?;
            let end = after.find('"')?;
            assert!(!after[..end].contains('\\'), "no label here needs escapes: {line:?}");
            assert!(labels.insert(key.to_owned(), after[..end].to_owned()).is_none(), "{line:?}");
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        rest = &rest[1..];
    }
    Some((name.to_owned(), labels, rest.strip_prefix(' ')?.parse().ok()?))
}
