//! Rule `machine-paths`: no tracked file names a path of the machine it was written on.
//!
//! The workspace's own root is found at run time; home directories are always wrong.

use super::tree::Tree;
use super::violation::Violation;

/// Home directories, spelled in parts so that this file does not break its own rule.
const HOMES: [&str; 2] = [concat!("/", "root/"), concat!("/", "home/")];

/// Checks every line of every text file.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut needles = HOMES.to_vec();
    // A root such as `/app` is a word that images and configurations use rightly; two levels are somebody's machine.
    if tree.root().matches('/').count() > 1 {
        needles.push(tree.root());
    }
    let mut found = Vec::new();
    for (path, text) in tree.texts() {
        for (index, line) in text.lines().enumerate() {
            if let Some(needle) = needles.iter().find(|needle| names(line, needle)) {
                let remedy =
                    format!("`{needle}` is a path of one machine: write it relative to the workspace");
                found.push(Violation::new(path, index + 1, remedy));
            }
        }
    }
    found
}

/// Whether a line holds the path as an absolute one: nothing path-like before it, and a whole component at its end.
fn names(line: &str, needle: &str) -> bool {
    let path_like = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '~' | '}');
    line.match_indices(needle).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + needle.len()..].chars().next();
        !before.is_some_and(path_like)
            && (needle.ends_with('/')
                || !after.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        check(&Tree::of(&[("docs/a.md", text)])).len()
    }

    #[test]
    fn a_path_of_a_machine_is_a_violation() {
        assert_eq!(count(&format!("see {}me/x", HOMES[1])), 1);
        assert_eq!(count(&format!("a\nCOPY {}x", HOMES[0])), 1);
        assert_eq!(count("cd /srv/sample"), 1);
        assert_eq!(count("\"/srv/sample/target\""), 1);
    }

    #[test]
    fn urls_relative_paths_and_other_roots_are_fine() {
        assert_eq!(count("http://localhost:5000/home/ and /home and docs/root/x"), 0);
        assert_eq!(count("/srv/samples and /srv/sample-2 and ./srv/sample"), 0);
    }
}
