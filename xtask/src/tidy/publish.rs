//! Rule `publish`: one task publishes snapshots, so only `control` calls `publish(`.

use super::tree::Tree;
use super::violation::Violation;

/// Checks every call outside tests.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in tree.sources() {
        if source.name() == "control.rs" || source.is_under("control") {
            continue;
        }
        for at in source.find("publish(").into_iter().filter(|&at| !source.in_test(at)) {
            if !source.code[..at].trim_end().ends_with("fn") {
                let remedy = "control alone publishes: send it an Event instead";
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
    fn a_call_elsewhere_is_a_violation() {
        assert_eq!(count("load-balancer/src/admin.rs", "fn f() { registry.publish(next); }"), 1);
        assert_eq!(count("load-balancer/src/admin.rs", "fn f() { publish(next); }"), 1);
    }

    #[test]
    fn control_tests_and_the_definition_are_fine() {
        assert_eq!(count("load-balancer/src/control.rs", "fn f() { registry.publish(next); }"), 0);
        assert_eq!(count("load-balancer/src/control/state.rs", "fn f() { registry.publish(next); }"), 0);
        assert_eq!(count("load-balancer/src/registry.rs", "pub fn publish(&self) {} // publish(x)"), 0);
        assert_eq!(count("load-balancer/src/registry.rs", "#[test] fn t() { r.publish(x); }"), 0);
        assert_eq!(count("load-balancer/src/registry.rs", "fn f() { republish(x); }"), 0);
    }
}
