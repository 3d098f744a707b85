//! Which paths backends have: no spelling of a path slips past the list, and what is on it stays below its entry for whoever
//! resolves it.

use load_balancer::config::AllowedPath;
use load_balancer::http::paths::{allowed, is_allowed};

use super::input;

/// The input's first byte says which characters are respelt; then come the entry and the path, a line each.
pub fn run(data: &[u8]) {
    let (spelling, rest) = input::byte(data);
    let Some((entry, path)) = std::str::from_utf8(rest).ok().and_then(|text| text.split_once('\n')) else {
        return;
    };
    let Some(entry) = allowed(entry) else { return };
    let list = [entry];
    let on_it = is_allowed(&list, path);
    assert_eq!(is_allowed(&list, &respelt(path, spelling)), on_it, "{path:?} in another spelling");
    if !on_it {
        return;
    }
    let resolved = resolved(path);
    match &list[0] {
        AllowedPath::Exact(exact) => assert_eq!(resolved, self::resolved(exact), "{path:?}"),
        AllowedPath::Below(root) => {
            let root = self::resolved(root);
            assert!(resolved.starts_with(&root), "{path:?} resolves to {resolved:?}, not below {root:?}");
        }
    }
}

/// The same path with some unreserved characters escaped, and the escapes that are there in another case.
fn respelt(path: &str, spelling: u8) -> String {
    let mut out = String::new();
    let mut escape = 0;
    for (i, c) in path.chars().enumerate() {
        if escape > 0 {
            escape -= 1;
            out.push(if spelling & 1 == 0 { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() });
        } else if c == '%' {
            escape = 2;
            out.push(c);
        } else if c.is_ascii_alphanumeric() && spelling >> (i % 7 + 1) & 1 == 1 {
            out.push_str(&format!("%{:02x}", c as u32));
        } else {
            out.push(c);
        }
    }
    out
}

/// The segments that the most generous backend ends up with: it decodes everything, takes a backslash for a slash, and cuts
/// parameters off, before it resolves dots.
fn resolved(path: &str) -> Vec<String> {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let escaped = (first == b'%').then(|| behind.get(..2)).flatten();
        let value = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(value.unwrap_or(first));
        rest = if value.is_some() { &behind[2..] } else { behind };
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut segments = Vec::new();
    for segment in text.split(['/', '\\']) {
        match segment.split(';').next() {
            Some(".") => {}
            Some("..") => drop(segments.pop()),
            _ => segments.push(segment.to_owned()),
        }
    }
    segments
}
