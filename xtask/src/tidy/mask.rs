//! Blanks comments and literals out of Rust source, so that a rule about code does not trip over prose.
//!
//! Every masked byte becomes a space and newlines stay, so offsets and line numbers are those of the original.
//! How it fails: on source that does not lex, the rest of the file may be blank; the compiler complains first.

/// The code with comments, strings and characters blanked out, byte for byte.
pub(crate) fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at).min(bytes.len());
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|&byte| if byte == b'\n' { byte } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'"', ..] => at + quoted(rest, b'"'),
        [b'\'', ..] => at + character(rest),
        [b'r', ..] if begins_word(bytes, at) => at + raw_string(rest),
        _ => at,
    }
}

/// Whether the `r` at `at` may begin a raw string: no identifier runs into it, but for the prefixes of `br` and `cr`.
fn begins_word(bytes: &[u8], at: usize) -> bool {
    let word =
        |index: usize| bytes.get(index).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let before = |n: usize| at.checked_sub(n).is_some_and(word);
    let prefixed = at.checked_sub(1).is_some_and(|index| matches!(bytes[index], b'b' | b'c'));
    !before(1) || (prefixed && !before(2))
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// A character literal; a lifetime is none, and stays.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return quoted(rest, b'\'');
    }
    let width = match rest.get(1) {
        Some(0xF0..) => 4,
        Some(0xE0..) => 3,
        Some(0xC0..) => 2,
        _ => 1,
    };
    if rest.get(1 + width) == Some(&b'\'') { width + 2 } else { 0 }
}

fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = 2 + hashes;
    rest[body..]
        .windows(close.len())
        .position(|window| window == close)
        .map_or(rest.len(), |n| body + n + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blank_and_code_stays() {
        for (text, expected) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d\n */ e", "a               \n    e"),
            (r#"f("x\"y", 1)"#, "f(      , 1)"),
            (r##"g(r#"a"b"#)"##, "g(        )"),
            ("b(br\"x\")", "b(b    )"),
            ("let c = '\\''; let d = 'é';", "let c =     ; let d =     ;"),
            ("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)"),
            ("let r#type = var\"x\"", "let r#type = var   "),
        ] {
            assert_eq!(mask(text), expected, "{text}");
            assert_eq!(mask(text).len(), text.len(), "{text}");
        }
    }
}
