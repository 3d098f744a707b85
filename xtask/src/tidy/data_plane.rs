//! Rule `data-plane`: the request path never names the control side; it reads a snapshot and counts.

use super::tree::Tree;
use super::violation::Violation;

const PATHS: [&str; 2] = ["load-balancer/src/http", "load-balancer/src/forward"];

/// Checks `http*` and `forward*` for the word `control`; as a field (`config.control`) it is a section of settings.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in tree.sources().filter(|source| PATHS.iter().any(|path| source.path.starts_with(path))) {
        for at in source.find("control").into_iter().filter(|&at| !source.code[..at].ends_with('.')) {
            let remedy =
                "the request path does not know control: take a snapshot, a handle or a sender from lib.rs";
            found.push(Violation::new(&source.path, source.line(at), remedy));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naming_control_on_the_request_path_is_a_violation() {
        for path in ["load-balancer/src/http.rs", "load-balancer/src/forward/body.rs"] {
            let tree = Tree::of(&[(path, "// control\nuse crate::control::Event;")]);
            assert_eq!(check(&tree).len(), 1);
            assert_eq!(check(&tree)[0].line, 2);
        }
    }

    #[test]
    fn the_header_and_other_files_may() {
        let field = ("load-balancer/src/http.rs", "let most = config.control.request_log;");
        let header = ("load-balancer/src/http.rs", "let h = \"cache-control\"; let n = CACHE_CONTROL;");
        let other = ("load-balancer/src/lib.rs", "mod control;");
        assert_eq!(check(&Tree::of(&[field, header, other])), []);
    }
}
