//! Rule `links`: every relative link of a Markdown file leads to a tracked file or directory.
//!
//! Fenced and inline code is skipped. Links are judged against tracked files, not the working tree: what only one
//! machine has is a dead link for everyone else. Fragments are not checked.

use super::tree::Tree;
use super::violation::Violation;

/// Checks every link of every `.md` file.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        let mut fenced = false;
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~") {
                fenced = !fenced;
            }
            if fenced {
                continue;
            }
            for target in targets(&without_code(line)) {
                if !resolve(path, &target).is_some_and(|file| tree.exists(&file)) {
                    let remedy = format!("`{target}` leads nowhere: correct the link, or track the file");
                    found.push(Violation::new(path, index + 1, remedy));
                }
            }
        }
    }
    found
}

/// The line without its inline code.
fn without_code(line: &str) -> String {
    if line.matches('`').count() < 2 {
        return line.to_owned();
    }
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// Relative targets: inline links and images, reference definitions, HTML `src` and `href`.
fn targets(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (open, close) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
        for (at, _) in line.match_indices(open) {
            let rest = &line[at + open.len()..];
            found.push(rest.split(close).next().unwrap_or_default());
        }
    }
    if line.starts_with('[')
        && !line.starts_with("[^")
        && let Some((_, target)) = line.split_once("]: ")
    {
        found.push(target);
    }
    found
        .into_iter()
        .map(|target| target.trim().trim_start_matches('<'))
        .map(|target| target.split([' ', '#', '?', '>']).next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.starts_with("//"))
        .filter(|target| !target.split('/').next().is_some_and(|scheme| scheme.contains(':')))
        .map(|target| target.replace("%20", " "))
        .collect()
}

/// The tracked path a target means; a leading slash means the workspace, climbing above it means nothing.
fn resolve(file: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = file.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        parts.clear();
    }
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let files = [("docs/a.md", text), ("docs/adr/001-x.md", ""), ("README.md", ""), ("img/c d.svg", "")];
        check(&Tree::of(&files)).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_dead_link_is_a_violation() {
        assert_eq!(lines("x\n[a](b.md)"), [2]);
        assert_eq!(lines("![a](../img/no.svg) <img src=\"no.png\">"), [1, 1]);
        assert_eq!(lines("[a]: ../../README.md"), [1]);
        assert_eq!(lines("[a](README.md#top)"), [1]);
    }

    #[test]
    fn good_links_urls_anchors_and_code_are_fine() {
        assert_eq!(
            lines("[a](adr/001-x.md#decision) [b](adr) [c](../README.md \"t\") ![d](/img/c%20d.svg)"),
            [0; 0]
        );
        assert_eq!(
            lines("[a](https://x.y/z) [b](#here) [c](mailto:a@b.c)\n```\n[d](no.md)\n```\n`[e](no.md)`"),
            [0; 0]
        );
    }
}
