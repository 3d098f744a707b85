//! Rule `observe-leaf`: observation imports lb-core and itself, so it can never change what it looks at.

use super::source::Source;
use super::tree::Tree;
use super::violation::Violation;

const FILE: &str = "load-balancer/src/observe";

/// Checks every path that leads out of `observe`.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    tree.sources().filter(|source| source.path.starts_with(FILE)).flat_map(check_file).collect()
}

fn check_file(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for root in ["crate::", "load_balancer::"] {
        for at in source.find(root).into_iter().filter(|&at| !source.code[..at].ends_with('$')) {
            found.extend(outside(source, at, &source.code[at + root.len()..]));
        }
    }
    let code = &source.code;
    for at in source.find("super::").into_iter().filter(|&at| !code[..at].ends_with("super::")) {
        let mut rest = &code[at..];
        let mut ups = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            (rest, ups) = (next, ups + 1);
        }
        if ups >= depth(source, at) {
            found.extend(outside(source, at, rest));
        }
    }
    found
}

/// How many `super`s lead from an offset to the crate: the file's own depth, and one for each module around it.
fn depth(source: &Source, at: usize) -> usize {
    let file = source.path.matches('/').count() - FILE.matches('/').count() + 1;
    let file = if source.name() == "mod.rs" { file - 1 } else { file };
    let inline = source.find("mod").into_iter().filter(|&module| {
        let body = &source.code[module..];
        let opens = body.find('{').filter(|&open| body.find(';').is_none_or(|semicolon| open < semicolon));
        module < at && opens.is_some_and(|open| open < at - module && is_open(&body[open..at - module]))
    });
    file + inline.count()
}

/// Whether the block that begins a text is still open at its end.
fn is_open(text: &str) -> bool {
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return false;
        }
    }
    true
}

/// A violation for each name, imported from the crate's root, that is not `observe`.
fn outside(source: &Source, at: usize, rest: &str) -> Vec<Violation> {
    let names = rest.strip_prefix('{').map_or(vec![rest], group_members);
    let first = names.into_iter().map(|name| name.split(|c: char| !c.is_alphanumeric() && c != '_').next());
    first
        .flatten()
        .filter(|name| *name != "observe")
        .map(|name| {
            let remedy = format!(
                "observe is a leaf: hand the value of `{name}` in as plain data, or move its type to lb-core"
            );
            Violation::new(&source.path, source.line(at), remedy)
        })
        .collect()
}

/// The members of an import group, given the text after its opening brace.
pub(crate) fn group_members(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut members) = (0_usize, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                members.push(text[start..at].trim());
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn an_import_of_the_crate_is_a_violation() {
        assert_eq!(
            lines("load-balancer/src/observe.rs", "use lb_core::Tick;\nuse crate::config::Config;"),
            [2]
        );
        assert_eq!(
            lines("load-balancer/src/observe/log.rs", "use crate::{observe::wire, control, clock::now};"),
            [1, 1]
        );
        assert_eq!(lines("load-balancer/src/observe/log.rs", "fn f() { crate::clock::now(); }"), [1]);
        assert_eq!(lines("load-balancer/src/observe/log.rs", "use super::super::config;"), [1]);
        assert_eq!(lines("load-balancer/src/observe.rs", "use super::config;"), [1]);
    }

    #[test]
    fn its_own_modules_are_fine() {
        assert_eq!(
            lines(
                "load-balancer/src/observe.rs",
                "use crate::observe::log;\n#[cfg(test)] mod t { use super::*; }"
            ),
            [0; 0]
        );
        assert_eq!(
            lines("load-balancer/src/observe/log.rs", "use super::wire;\nmod t { use super::super::wire; }"),
            [0; 0]
        );
        assert_eq!(lines("load-balancer/src/http.rs", "use crate::config;"), [0; 0]);
    }
}
