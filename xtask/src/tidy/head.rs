//! Rule `head`: every Rust file begins with a `//!` head, so that a reader learns its purpose before its code.

use super::tree::Tree;
use super::violation::Violation;

/// Checks the first line of each file.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    tree.sources()
        .filter(|source| source.text.strip_prefix("//! ").is_none_or(|head| head.trim().is_empty()))
        .map(|source| {
            Violation::new(&source.path, 1, "begin with a `//!` head: what it is, why, how it fails")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_head_is_a_violation() {
        for text in ["use std::fmt;\n", "// A comment.\n", "\n//! Too late.\n", "//!\n", ""] {
            assert_eq!(check(&Tree::of(&[("a.rs", text)])).len(), 1, "{text:?}");
        }
        assert_eq!(check(&Tree::of(&[("a.rs", "//! What it is.\n"), ("b.md", "x")])), []);
    }
}
