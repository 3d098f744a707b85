//! Rule `lexicon`: one word has one meaning, so each term of the lexicon's table stands there once.

use std::collections::BTreeMap;

use super::tree::Tree;
use super::violation::Violation;

const FILE: &str = "docs/LEXICON.md";

/// Checks the first column of every table of the lexicon, where there is one.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = Vec::new();
    let lines: Vec<&str> = tree.text(FILE).unwrap_or_default().lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let Some(term) = first_cell(line) else { continue };
        let heads_table = lines.get(index + 1).is_some_and(|next| is_ruler(next));
        if heads_table || is_ruler(line) || term.is_empty() {
            continue;
        }
        if let Some(first) = seen.insert(term.clone(), index + 1) {
            let remedy = format!("\"{term}\" is defined at line {first}: merge the two, or rename one");
            found.push(Violation::new(FILE, index + 1, remedy));
        }
    }
    found
}

/// The first cell of a table row, without emphasis and case.
fn first_cell(line: &str) -> Option<String> {
    let cell = line.trim().strip_prefix('|')?.split('|').next()?;
    Some(cell.replace(['`', '*', '_'], "").trim().to_lowercase())
}

/// Whether a line is the dashes under a table's heading.
fn is_ruler(line: &str) -> bool {
    line.trim().starts_with('|')
        && line.contains("--")
        && line.chars().all(|c| matches!(c, '|' | '-' | ':' | ' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(&Tree::of(&[(FILE, text)])).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_term_defined_twice_is_a_violation() {
        assert_eq!(lines("| Term | Meaning |\n|---|---|\n| Pick | a |\n| **pick** | b |"), [4]);
    }

    #[test]
    fn different_terms_headings_and_no_file_are_fine() {
        let table = "| Term | Meaning |\n| --- | --- |\n| Pick | a |\n| Tick | a |\n";
        assert_eq!(lines(&format!("{table}\n{}", table.replace("ick", "ack"))), [0; 0]);
        assert_eq!(check(&Tree::of(&[])), []);
    }
}
