//! Rule `core-pure`: lb-core decides and does nothing else, so it depends on nothing and imports only std.

use super::source::find_word;
use super::tree::Tree;
use super::violation::Violation;

const MANIFEST: &str = "load-balancer/core/Cargo.toml";
const SOURCES: &str = "load-balancer/core/src/";
const ROOTS: [&str; 6] = ["std", "core", "alloc", "crate", "self", "super"];

/// Checks the manifest and every import.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = manifest(tree.text(MANIFEST).unwrap_or_default());
    for source in tree.sources().filter(|source| source.path.starts_with(SOURCES)) {
        let code = &source.code;
        for at in source.find("use").into_iter().filter(|&at| !source.in_test(at)) {
            let import = code[at + 3..].split(';').next().unwrap_or_default();
            if import.trim_start().starts_with('<') {
                continue; // `use<'a>` in a type captures, it does not import.
            }
            for root in roots(import).into_iter().filter(|root| !is_own(code, root)) {
                let remedy = format!("lb-core imports only std: take what `{root}` gives as an argument");
                found.push(Violation::new(&source.path, source.line(at), remedy));
            }
        }
        for at in source.find("extern crate") {
            found.push(Violation::new(
                &source.path,
                source.line(at),
                "lb-core imports only std: remove the crate",
            ));
        }
    }
    found
}

/// The first names of an import; a group has several.
fn roots(import: &str) -> Vec<&str> {
    let import = import.trim().trim_start_matches("::");
    let list = import.strip_prefix('{').map_or(vec![import], super::observe_leaf::group_members);
    list.into_iter().map(|path| path.split([':', ' ', '{']).next().unwrap_or_default()).collect()
}

/// Whether a name is std's, the crate's, a module of this file, or a type (whose variants may be imported).
fn is_own(code: &str, root: &str) -> bool {
    ROOTS.contains(&root)
        || root.is_empty()
        || root.starts_with(|c: char| c.is_ascii_uppercase())
        || !find_word(code, &format!("mod {root}")).is_empty()
}

fn manifest(text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut in_dependencies = false;
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            let last_two = table.rsplit('.').take(2);
            in_dependencies =
                last_two.into_iter().any(|part| matches!(part, "dependencies" | "build-dependencies"));
            if in_dependencies && !table.ends_with("dependencies") {
                found.push(remove(index)); // `[dependencies.name]` is an entry by itself.
            }
        } else if in_dependencies && !line.is_empty() {
            found.push(remove(index));
        }
    }
    found
}

fn remove(index: usize) -> Violation {
    Violation::new(MANIFEST, index + 1, "lb-core depends on nothing: remove it, or make it a dev-dependency")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(manifest: &str, source: &str) -> Vec<usize> {
        let tree = Tree::of(&[(MANIFEST, manifest), ("load-balancer/core/src/lib.rs", source)]);
        check(&tree).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_dependency_is_a_violation() {
        assert_eq!(lines("[dependencies]\nserde = \"1\"\n[dev-dependencies]\nx = \"1\"", ""), [2]);
        assert_eq!(lines("[dependencies.serde]", ""), [1]);
        assert_eq!(lines("[target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"", ""), [2]);
        assert_eq!(lines("[dependencies]\n\n[lints]\nworkspace = true", ""), [0; 0]);
    }

    #[test]
    fn an_import_from_elsewhere_is_a_violation() {
        assert_eq!(lines("", "use std::fmt;\nuse rand::Rng;"), [2]);
        assert_eq!(lines("", "pub use ::{core::mem, rand::{Rng, rngs}};"), [1]);
        assert_eq!(lines("", "extern crate rand;"), [1]);
    }

    #[test]
    fn own_modules_types_and_tests_are_fine() {
        assert_eq!(lines("", "mod tick;\npub use tick::Tick;\nuse crate::{a, b};\nuse Policy::*;"), [0; 0]);
        assert_eq!(lines("", "#[cfg(test)]\nmod tests { use proptest::prelude::*; }"), [0; 0]);
        assert_eq!(lines("", "fn f<'a>() -> impl Iterator + use<'a> { g() }"), [0; 0]);
    }
}
