//! What clients send, made harmless: nothing in it can end a line, a string or a field, or command a terminal.

use super::super::trail::told;

/// Appends as much of what a client sent as is told, escaped, with `…` where something is missing.
pub(super) fn cut(out: &mut Vec<u8>, bytes: &[u8]) {
    let (kept, cut) = told(bytes);
    escaped(out, kept);
    if cut {
        out.extend_from_slice("…".as_bytes());
    }
}

/// Appends `bytes` as the inside of a JSON string, which also suits the quoted strings of the text format.
pub(crate) fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.iter().all(|&b| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\') {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                // Line separators end lines for some readers, controls of both kinds mean things to terminals, and
                // what turns the direction of writing lets a line look like another.
                c if c.is_control() || turns(c) => unicode(out, c as u32),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            unicode(out, 0xfffd);
        }
    }
}

/// Whether a character turns the direction of writing, or ends a line.
fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `\u` and four digits: everything that is escaped lies below 2¹⁶.
fn unicode(out: &mut Vec<u8>, code: u32) {
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(b"0123456789abcdef"[(code >> shift & 15) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        escaped(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_breaks_out() {
        assert_eq!(of(b"/plain?a=b&c=%20"), "/plain?a=b&c=%20");
        assert_eq!(of(b"a\"b\\c"), "a\\\"b\\\\c");
        assert_eq!(of(b"a\r\nb\x00\x1b[31m\x7f"), "a\\u000d\\u000ab\\u0000\\u001b[31m\\u007f");
        assert_eq!(of("é\u{85}\u{2028}\u{202e}".as_bytes()), "é\\u0085\\u2028\\u202e");
        assert_eq!(of("\u{61c}\u{200e}\u{200f}\u{2069}".as_bytes()), "\\u061c\\u200e\\u200f\\u2069");
        assert_eq!(of(b"a\xff\xc3b"), "a\\ufffd\\ufffdb");
    }

    #[test]
    fn any_bytes_are_the_inside_of_a_json_string() {
        let all: Vec<u8> = (0..=255).chain("é€😀\u{2029}".bytes()).collect();
        let text = format!("\"{}\"", of(&all));
        let back: String = serde_json::from_str(&text).unwrap();
        assert_eq!(back, String::from_utf8_lossy(&all));
        assert!(text.chars().all(|c| !c.is_control()));
    }
}
