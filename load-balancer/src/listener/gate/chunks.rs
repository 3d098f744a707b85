//! A body in chunks (RFC 9112, 7.1): sizes, the end of each chunk, and what trailers may not say.

use super::{Fault, same_name, take, trimmed};
use crate::error::Kind;

/// Digits of a chunk's size: 16 EiB is more than anybody sends.
const DIGITS_MOST: usize = 15;

/// Bytes of a chunk's extensions: nobody uses them, and what nobody reads can be made large (CVE-2023-39326).
const EXTENSION_MOST: usize = 256;

/// Fields that tell how a message is read, routed or trusted mean nothing behind it (RFC 9110, 6.5.1).
const FORBIDDEN: [&[u8]; 17] = [
    b"authorization",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"keep-alive",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-request-id",
];
/// And those that begin so.
const FORBIDDEN_BEGIN: [&[u8]; 3] = [b"x-forwarded-", b"x-lb-", b"if-"];

/// What has been seen of the body.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    left: u64,
    next: Next,
}

/// What the next line is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A chunk's size.
    #[default]
    Size,
    /// Empty: the end of a chunk's data.
    End,
    /// A trailer, or the end of all.
    Trailer,
}

impl Chunks {
    /// Bytes of data before the next line.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Takes in data; says how much of `there`.
    pub(super) fn skip(&mut self, there: usize) -> usize {
        take(&mut self.left, there)
    }

    /// Takes in a line without its CR LF; true where it ends the body.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<bool, Fault> {
        match self.next {
            Next::Size => {
                self.left = size(line)?;
                self.next = if self.left == 0 { Next::Trailer } else { Next::End };
            }
            Next::End if line.is_empty() => self.next = Next::Size,
            Next::End => return Err(malformed("a chunk is longer than its size")),
            Next::Trailer if line.is_empty() => return Ok(true),
            Next::Trailer => trailer(line)?,
        }
        Ok(false)
    }
}

const fn malformed(detail: &'static str) -> Fault {
    Fault::new(Kind::BadChunk, detail)
}

fn size(line: &[u8]) -> Result<u64, Fault> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (number, rest) = line.split_at(digits);
    if !(1..=DIGITS_MOST).contains(&digits) {
        return Err(malformed("a chunk's size is not a hexadecimal number"));
    }
    // Space before an extension is tolerated by the grammar (BWS), and by nothing else.
    let extension = trimmed(rest);
    if !rest.is_empty() && extension.first() != Some(&b';') {
        return Err(malformed("a chunk's size is followed by something else"));
    }
    let printable = |b: &u8| *b == b'\t' || (0x20..=0x7e).contains(b) || *b >= 0x80;
    if rest.len() > EXTENSION_MOST || !rest.iter().all(printable) {
        return Err(malformed("a chunk's extension is too long, or holds control characters"));
    }
    let text = std::str::from_utf8(number).ok();
    text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or(malformed("a chunk's size is too large"))
}

/// Whether a field of this name says what only a head may say, on whatever protocol.
#[must_use]
pub fn forbidden_trailer(name: &[u8]) -> bool {
    let begins = |begin: &&[u8]| name.get(..begin.len()).is_some_and(|name| same_name(name, begin));
    FORBIDDEN.iter().any(|forbidden| same_name(name, forbidden)) || FORBIDDEN_BEGIN.iter().any(begins)
}

fn trailer(line: &[u8]) -> Result<(), Fault> {
    if forbidden_trailer(line.split(|&b| b == b':').next().unwrap_or_default()) {
        return Err(Fault::new(
            Kind::ForbiddenTrailer,
            "a trailer says what only a head may say: how the message is read, routed or trusted",
        ));
    }
    Ok(())
}
