//! Finds test code: items under `#[cfg(test)]` or a test attribute, and files that such an item declares.

use super::source::Source;

/// Byte offsets: where something begins, and where it has ended.
pub(crate) type Span = (usize, usize);

/// Byte ranges of test items in masked code.
pub(crate) fn tests(code: &str) -> Vec<Span> {
    if code.contains("#![cfg(test)]") {
        return vec![(0, code.len())];
    }
    let attributes = code.match_indices("#[").filter_map(|(at, _)| {
        let end = at + closing(&code[at + 1..], b'[', b']')? + 2;
        says_test(&code[at + 2..end - 1]).then_some((at, end))
    });
    attributes.map(|(at, end)| (at, item_end(code, end))).collect()
}

/// Whether an attribute compiles its item for tests only.
fn says_test(attribute: &str) -> bool {
    let compact: String = attribute.chars().filter(|c| !c.is_whitespace()).collect();
    let name = compact.split('(').next().unwrap_or_default();
    ["cfg(test)", "cfg(all(test", "cfg(any(test"].iter().any(|start| compact.starts_with(start))
        || name == "test"
        || name.ends_with("::test")
}

/// Where the item after an attribute ends: at its block's brace, or at a semicolon before any.
fn item_end(code: &str, from: usize) -> usize {
    let Some(at) = code[from..].find(['{', ';']).map(|n| from + n) else { return code.len() };
    if code.as_bytes()[at] == b';' {
        return at + 1;
    }
    closing(&code[at..], b'{', b'}').map_or(code.len(), |n| at + n + 1)
}

/// The offset of the bracket that closes the first one opened.
fn closing(code: &str, open: u8, close: u8) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate() {
        if byte == open {
            depth += 1;
        } else if byte == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some(at);
            }
        }
    }
    None
}

/// Paths of the files that test items of this file declare with `mod name;`, wherever rustc would look for them.
pub(crate) fn test_files(source: &Source) -> Vec<String> {
    let (dir, name) = source.path.rsplit_once('/').unwrap_or(("", &source.path));
    let stem = name.trim_end_matches(".rs");
    let children =
        if matches!(stem, "mod" | "lib" | "main") { dir.to_owned() } else { format!("{dir}/{stem}") };
    let mut files = Vec::new();
    for &(begin, end) in source.tests() {
        let code = source.code[begin..end].trim_end();
        let Some(module) = code.strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) else { continue };
        files.push(format!("{children}/{}.rs", module.1.trim()));
        files.push(format!("{children}/{}/mod.rs", module.1.trim()));
        if let Some((_, path)) = source.text[begin..end].split_once("#[path = \"") {
            files.push(format!("{dir}/{}", path.split('"').next().unwrap_or_default()));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_under_a_test_attribute_are_tests_and_others_are_not() {
        let code = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod t { fn b() { {} } }\nfn c() {}";
        assert_eq!(tests(code), [(10, code.len() - "\nfn c() {}".len())]);
        assert_eq!(tests("#[cfg(not(test))] fn a() {}"), []);
        assert_eq!(tests("#[tokio::test(start_paused = true)] async fn a() {} fn b() {}"), [(0, 51)]);
        assert_eq!(tests("#![cfg(test)]\nfn a() {}"), [(0, 23)]);
    }

    #[test]
    fn a_file_declared_by_a_test_item_is_known() {
        let source =
            Source::new("a/src/usage.rs", "#[cfg(test)]\n#[path = \"other.rs\"]\nmod checks;\nmod real;");
        assert_eq!(
            test_files(&source),
            ["a/src/usage/checks.rs", "a/src/usage/checks/mod.rs", "a/src/other.rs"]
        );
    }
}
