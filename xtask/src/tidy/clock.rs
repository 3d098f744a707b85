//! Rule `clock`: time is read in files named `clock.rs` and handed on, so that tests and the simulator own it.
//!
//! Tests are not exempt: a test that reads the clock depends on how busy the machine is. They may ask tokio's clock,
//! by its full name, since that one can be paused. xtask and benches measure the machine, so they are exempt.

use super::tree::Tree;
use super::violation::Violation;

/// Checks for readers of the clock.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in tree.sources() {
        if source.name() == "clock.rs" || source.is_under("xtask") || source.is_under("benches") {
            continue;
        }
        for call in ["Instant::now", "SystemTime::now"] {
            let pausable = |at: usize| source.in_test(at) && source.code[..at].ends_with("tokio::time::");
            for at in source.find(call).into_iter().filter(|&at| !pausable(at)) {
                let remedy = format!("only clock.rs calls {call}: take the time as an argument");
                found.push(Violation::new(&source.path, source.line(at), remedy));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn reading_the_clock_is_a_violation_even_in_tests() {
        assert_eq!(count("backend/src/main.rs", "let t = std::time::Instant::now();"), 1);
        assert_eq!(count("load-balancer/tests/a.rs", "let t = SystemTime::now();"), 1);
        assert_eq!(count("load-balancer/src/a.rs", "#[cfg(test)] mod t { fn f() { Instant::now(); } }"), 1);
    }

    #[test]
    fn tests_may_read_the_clock_that_can_be_paused() {
        let text = "let t = tokio::time::Instant::now();";
        assert_eq!(count("backend/tests/a.rs", text), 0);
        assert_eq!(count("backend/src/a.rs", text), 1);
    }

    #[test]
    fn clock_files_xtask_and_benches_may() {
        for path in ["backend/src/clock.rs", "xtask/src/bench.rs", "load-balancer/core/benches/pick.rs"] {
            assert_eq!(count(path, "let t = Instant::now();"), 0);
        }
        assert_eq!(count("backend/src/main.rs", "/// Never `Instant::now()`.\nfn f() {}"), 0);
    }
}
