//! Rule `banned`: words that promise trouble: skipped safety, unfinished work, panics, waiting for time to pass.

use super::source::Source;
use super::tree::Tree;
use super::violation::Violation;

/// What is banned where, and what to write instead.
struct Ban {
    phrase: &'static str,
    in_tests: bool,
    remedy: &'static str,
}

/// xtask may panic and sleep: it measures, in time windows.
const BANS: [Ban; 6] = [
    Ban {
        phrase: "unsafe",
        in_tests: true,
        remedy: "no unsafe code: find a safe way or a crate that has one",
    },
    Ban {
        phrase: "todo!",
        in_tests: true,
        remedy: "finish it, or return an error that says what is missing",
    },
    Ban {
        phrase: "unimplemented!",
        in_tests: true,
        remedy: "finish it, or return an error that says what is missing",
    },
    Ban {
        phrase: ".unwrap()",
        in_tests: false,
        remedy: "return the error, or choose a value with unwrap_or",
    },
    Ban { phrase: ".expect(", in_tests: false, remedy: "return the error, or make the state impossible" },
    Ban {
        phrase: "thread::sleep",
        in_tests: true,
        remedy: "wait for the condition, or use paused tokio time",
    },
];

/// Checks every Rust file.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    tree.sources().flat_map(|source| BANS.iter().flat_map(move |ban| apply(ban, source))).collect()
}

fn apply(ban: &Ban, source: &Source) -> Vec<Violation> {
    let exempt = source.is_under("xtask") && matches!(ban.phrase, ".unwrap()" | ".expect(" | "thread::sleep");
    let places = if exempt { Vec::new() } else { source.find(ban.phrase) };
    places
        .into_iter()
        .filter(|&at| ban.in_tests || !source.in_test(at))
        .map(|at| Violation::new(&source.path, source.line(at), format!("`{}`: {}", ban.phrase, ban.remedy)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn every_banned_phrase_is_found() {
        for text in [
            "unsafe { x() }",
            "todo!()",
            "unimplemented!(\"x\")",
            "x.unwrap();",
            "x\n    .expect(\"y\");",
            "std::thread::sleep(d);",
            "use std::thread::sleep;",
        ] {
            assert_eq!(count("backend/src/main.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn tests_may_panic_but_not_sleep_nor_be_unsafe() {
        assert_eq!(
            count("backend/src/main.rs", "#[cfg(test)] mod t { fn f() { x.unwrap(); y.expect(\"z\"); } }"),
            0
        );
        assert_eq!(count("backend/tests/a.rs", "x.unwrap();"), 0);
        assert_eq!(count("backend/tests/a.rs", "thread::sleep(d); unsafe {}"), 2);
    }

    #[test]
    fn prose_lint_names_and_xtask_are_fine() {
        let text = "#![forbid(unsafe_code)]\n// unsafe todo!\nlet s = \".unwrap()\"; x.unwrap_or(1); x.expect_err(\"\");";
        assert_eq!(count("backend/src/main.rs", text), 0);
        assert_eq!(count("xtask/src/main.rs", "x.unwrap(); thread::sleep(d);"), 0);
        assert_eq!(count("xtask/src/main.rs", "unsafe {}"), 1);
    }
}
