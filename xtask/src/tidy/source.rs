//! One Rust file as the rules see it: code without prose, lines by offset, and which of them are tests.

use super::mask::mask;
use super::regions::{self, Span};

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path from the workspace root.
    pub(crate) path: String,
    /// The file as it is.
    pub(crate) text: String,
    /// The same, with comments and literals blanked out; offsets agree with `text`.
    pub(crate) code: String,
    tests: Vec<Span>,
}

impl Source {
    /// Masks a file and finds its tests.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = mask(text);
        let tests = if is_test_path(path) { vec![(0, code.len())] } else { regions::tests(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, tests }
    }

    /// Makes the whole file test code, as `#[cfg(test)] mod x;` elsewhere says.
    pub(crate) fn mark_as_test(&mut self) {
        self.tests = vec![(0, self.code.len())];
    }

    /// The spans of test code.
    pub(crate) fn tests(&self) -> &[Span] {
        &self.tests
    }

    /// Whether the code at an offset is compiled for tests only.
    pub(crate) fn in_test(&self, offset: usize) -> bool {
        self.tests.iter().any(|&(begin, end)| (begin..end).contains(&offset))
    }

    /// The line of an offset, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.code.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    /// Offsets of a phrase that no identifier runs into, at either end that is itself a word.
    pub(crate) fn find(&self, phrase: &str) -> Vec<usize> {
        find_word(&self.code, phrase)
    }

    /// The file's name without directories.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// Whether a directory of this name is on the path.
    pub(crate) fn is_under(&self, directory: &str) -> bool {
        self.path.rsplit_once('/').is_some_and(|(dirs, _)| dirs.split('/').any(|dir| dir == directory))
    }
}

/// What must hold of any bytes: run by tests and by fuzzers, part of no program.
const FUZZ: &str = "load-balancer/fuzz/";

/// Whether a path alone says that a file is test code.
fn is_test_path(path: &str) -> bool {
    path.starts_with(FUZZ)
        || path.split('/').any(|part| part == "tests" || part == "tests.rs" || part.ends_with("_tests.rs"))
}

/// Offsets of a phrase in code, as whole words.
pub(crate) fn find_word(code: &str, phrase: &str) -> Vec<usize> {
    let word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(phrase)
        .filter(|(at, found)| {
            let runs_in = word(found.chars().next()) && word(code[..*at].chars().next_back());
            let runs_on = word(found.chars().next_back()) && word(code[at + found.len()..].chars().next());
            !runs_in && !runs_on
        })
        .map(|(at, _)| at)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phrase_is_found_as_a_whole_word_only() {
        assert_eq!(find_word("control x.control precontrol control_x", "control"), [0, 10]);
        assert_eq!(find_word("a.unwrap() b.unwrap_or()", ".unwrap()"), [1]);
    }

    #[test]
    fn lines_and_paths_are_told() {
        let source = Source::new("a/tests/b.rs", "x\ny\n");
        assert_eq!(source.line(2), 2);
        assert!(source.in_test(0) && source.is_under("tests") && source.name() == "b.rs");
        assert!(!Source::new("a/src/b.rs", "x\n").in_test(0));
        assert!(Source::new("a/src/b_tests.rs", "x\n").in_test(0));
        assert!(Source::new("load-balancer/fuzz/src/a.rs", "x\n").in_test(0));
        assert!(!Source::new("a/src/fuzz/b.rs", "x\n").in_test(0));
    }
}
