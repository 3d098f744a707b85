//! As much of PromQL as the rules need: every selector, its matchers and window, and what it stands inside.
//!
//! Not a parser: whether a query is valid is for Prometheus to say, which runs them all in `tests-stack`. The crates
//! that parse PromQL bring thirty others, one of them no longer maintained.
//! How it fails: brackets or quotes that do not close are an error; what is valid is never refused.

/// A function or aggregation around a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) name: String,
    /// The labels of `by (…)`; none for functions.
    pub(super) by: Option<Vec<String>>,
}

/// A selector of series.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selector {
    pub(super) metric: String,
    /// Each as it is written: `job=~"$job"`.
    pub(super) matchers: Vec<String>,
    /// What stands in the brackets behind it.
    pub(super) window: Option<String>,
    /// From outside to inside; parentheses without a name are left out.
    pub(super) inside: Vec<Frame>,
}

/// Words of the language that are followed by labels, not by arguments.
const LABELLED: [&str; 5] = ["on", "ignoring", "group_left", "group_right", "without"];
const OPERATORS: [&str; 5] = ["or", "and", "unless", "bool", "offset"];
const AGGREGATIONS: [&str; 8] = ["sum", "min", "max", "avg", "count", "stddev", "topk", "group"];

/// Every selector of a query.
pub(super) fn selectors(expr: &str) -> Result<Vec<Selector>, String> {
    let mut found = Vec::new();
    let mut frames: Vec<Option<Frame>> = Vec::new();
    let mut pending: Option<Frame> = None;
    let mut rest = expr.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            rest = take(rest, '"', '"')?.1;
        } else if first == '(' {
            frames.push(pending.take());
            rest = &rest[1..];
        } else if first == ')' {
            frames.pop().ok_or("unbalanced brackets")?;
            rest = &rest[1..];
        } else if first.is_ascii_digit() {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            rest = behind.trim_start();
            if OPERATORS.contains(&word) {
            } else if word == "by" || LABELLED.contains(&word) {
                if rest.starts_with('(') {
                    let (labels, behind) = take(rest, '(', ')')?;
                    rest = behind;
                    if let (Some(frame), "by") = (&mut pending, word) {
                        frame.by = Some(labels.split(',').map(|label| label.trim().to_owned()).collect());
                    }
                }
            } else if rest.starts_with('(') || AGGREGATIONS.contains(&word) {
                pending = Some(Frame { name: word.to_owned(), by: None });
            } else {
                let (selector, behind) = selector(word, rest)?;
                let inside = frames.iter().flatten().cloned().collect();
                found.push(Selector { inside, ..selector });
                rest = behind;
            }
        } else {
            rest = &rest[first.len_utf8()..];
        }
        rest = rest.trim_start();
    }
    if frames.is_empty() { Ok(found) } else { Err("unbalanced brackets".to_owned()) }
}

/// The matchers and the window behind a metric's name.
fn selector<'a>(metric: &str, mut rest: &'a str) -> Result<(Selector, &'a str), String> {
    let (mut matchers, mut window) = (Vec::new(), None);
    if rest.starts_with('{') {
        let (inner, behind) = take(rest, '{', '}')?;
        matchers = split(inner);
        rest = behind;
    }
    if rest.starts_with('[') {
        let (inner, behind) = take(rest, '[', ']')?;
        window = Some(inner.to_owned());
        rest = behind;
    }
    Ok((Selector { metric: metric.to_owned(), matchers, window, inside: Vec::new() }, rest))
}

/// What is between a bracket and the one that closes it, and what is behind; brackets in quotes do not count.
fn take(text: &str, open: char, close: char) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == close && (!quoted || open == '"') {
            return Ok((&text[1..at], &text[at + 1..]));
        }
        quoted ^= c == '"';
    }
    Err(format!("unbalanced {open}"))
}

/// Matchers at the commas outside quotes.
fn split(inner: &str) -> Vec<String> {
    let mut quoted = false;
    let parts = inner.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_knows_what_it_stands_inside() {
        let expr = r#"histogram_quantile(0.95, sum by (a, le) (rate(x_bucket{a="},{",b=~"c"}[5m]))) > 1e3 or on () y"#;
        let found = selectors(expr).unwrap();
        let names: Vec<_> = found[0].inside.iter().map(|frame| frame.name.as_str()).collect();
        assert_eq!(names, ["histogram_quantile", "sum", "rate"]);
        assert_eq!(found[0].inside[1].by.as_deref().unwrap(), ["a", "le"]);
        assert_eq!(found[0].matchers, [r#"a="},{""#, r#"b=~"c""#]);
        assert_eq!(found[0].window.as_deref(), Some("5m"));
        assert_eq!((found[1].metric.as_str(), found[1].inside.len(), found.len()), ("y", 0, 2));
    }

    #[test]
    fn words_and_matching_are_no_selectors() {
        let expr = "a * on (pool) group_left (region) (b offset 5m) / ignoring (x) c unless vector(0)";
        let metrics: Vec<_> = selectors(expr).unwrap().into_iter().map(|found| found.metric).collect();
        assert_eq!(metrics, ["a", "b", "c"]);
    }

    #[test]
    fn what_does_not_close_is_told() {
        for bad in ["sum(a", "a)", "a{b=\"c}", "a[5m", "sum by (a"] {
            assert!(selectors(bad).is_err(), "{bad}");
        }
    }
}
