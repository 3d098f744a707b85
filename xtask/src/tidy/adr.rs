//! Rule `adr`: every decision record says context, decision and consequence, and the numbers have no gaps.

use std::collections::BTreeMap;

use super::tree::Tree;
use super::violation::Violation;

const DIRECTORY: &str = "docs/adr/";
const HEADINGS: [&str; 3] = ["Context", "Decision", "Consequence"];

/// Checks headings and numbers.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut numbers: BTreeMap<u32, &str> = BTreeMap::new();
    for (path, text) in tree.texts() {
        let Some(number) = path.strip_prefix(DIRECTORY).and_then(number) else { continue };
        for heading in HEADINGS.iter().filter(|heading| !has_heading(text, heading)) {
            found.push(Violation::new(path, 1, format!("add the heading \"## {heading}\"")));
        }
        if let Some(other) = numbers.insert(number, path) {
            found.push(Violation::new(
                path,
                1,
                format!("number {number} is taken by {other}: take the next free one"),
            ));
        }
    }
    let mut expected = numbers.keys().next().map_or(1, |&first| first.min(1));
    for (&number, path) in &numbers {
        if number != expected {
            found.push(Violation::new(
                path,
                1,
                format!("number {number} leaves a gap: {expected} comes next"),
            ));
        }
        expected = number + 1;
    }
    found
}

/// The number of `NNN-title.md`.
fn number(name: &str) -> Option<u32> {
    let (digits, _) = name.strip_suffix(".md")?.split_once('-')?;
    (digits.len() == 3).then(|| digits.parse().ok())?
}

fn has_heading(text: &str, heading: &str) -> bool {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .any(|line| matches!(line.trim_start_matches('#').trim().strip_prefix(heading), Some("" | "s")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Title\n## Context\nx\n## Decision\ny\n## Consequences\nz\n";

    fn remedies(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).into_iter().map(|violation| violation.remedy).collect()
    }

    #[test]
    fn a_missing_heading_is_a_violation() {
        let text = "# Title\n## Context\nDecision\n## Decision\n";
        assert_eq!(remedies(&[("docs/adr/001-a.md", text)]), ["add the heading \"## Consequence\""]);
    }

    #[test]
    fn a_gap_and_a_duplicate_are_violations() {
        assert_eq!(remedies(&[("docs/adr/001-a.md", GOOD), ("docs/adr/003-b.md", GOOD)]).len(), 1);
        assert_eq!(remedies(&[("docs/adr/002-a.md", GOOD)]).len(), 1);
        assert_eq!(remedies(&[("docs/adr/001-a.md", GOOD), ("docs/adr/001-b.md", GOOD)]).len(), 1);
    }

    #[test]
    fn a_sequence_from_nought_or_one_is_fine() {
        assert_eq!(remedies(&[("docs/adr/000-a.md", GOOD), ("docs/adr/001-b.md", GOOD)]), [""; 0]);
        assert_eq!(remedies(&[("docs/adr/001-a.md", GOOD), ("docs/adr/README.md", "")]), [""; 0]);
    }
}
