//! A request's head, line by line: how far the request extends.

use super::{Fault, same_name, trimmed};
use crate::error::Kind;

/// What has been seen of a head.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The request line has come.
    begun: bool,
    /// It says HTTP/1.0.
    old: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

/// How far the request goes on after its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// It has no body.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Until the last chunk.
    Chunks,
    /// It asks for another protocol: what follows may be that.
    Unknown,
}

impl Head {
    /// Takes in a line without its CR LF; an empty one ends the head.
    pub(super) fn line(&mut self, line: &[u8]) -> Result<Option<Extent>, Fault> {
        if line.is_empty() {
            // Before a request line, empty lines are ignored (RFC 9112, 2.2).
            return if self.begun { self.extent().map(Some) } else { Ok(None) };
        }
        if !self.begun {
            self.begun = true;
            return self.request_line(line).map(|()| None);
        }
        // Only names that begin like one of ours are looked at further.
        if !matches!(line[0] | 0x20, b'c' | b't' | b'u') {
            return Ok(None);
        }
        let Some(colon) = memchr::memchr(b':', line) else { return Ok(None) };
        let (name, value) = (&line[..colon], trimmed(&line[colon + 1..]));
        if name.eq_ignore_ascii_case(b"content-length") {
            self.length(value)?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.coding(value)?;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if framing_in_disguise(name) {
            return Err(Fault::ambiguous(
                "a field looks like Content-Length or Transfer-Encoding, and is not",
            ));
        }
        Ok(None)
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.old = line.ends_with(b"HTTP/1.0");
        let target = line.split(|&b| b == b' ').nth(1).unwrap_or_default();
        if target.iter().any(|b| !b.is_ascii_graphic() || *b == b'#') {
            let detail = "the request target holds a fragment, or bytes that must be escaped (RFC 3986)";
            return Err(Fault::new(Kind::BadTarget, detail));
        }
        Ok(())
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::ambiguous("Content-Length is given twice"));
        }
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        self.length = Some(number.ok_or(Fault::ambiguous("Content-Length is not a number of bytes"))?);
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Fault> {
        let ambiguous = |detail| Err(Fault::ambiguous(detail));
        if self.chunked {
            return ambiguous("Transfer-Encoding is given twice");
        }
        if self.old {
            return ambiguous("HTTP/1.0 has no Transfer-Encoding");
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            // A coding that exists, with chunked behind it, is not wrong: nobody here takes it off.
            let mut codings = value.rsplit(|&b| b == b',').map(trimmed);
            let ends = codings.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
            let known = |coding: &[u8]| {
                [&b"gzip"[..], b"x-gzip", b"deflate", b"compress", b"x-compress"]
                    .iter()
                    .any(|known| coding.eq_ignore_ascii_case(known))
            };
            return match ends && codings.all(known) {
                true => Err(Fault::new(Kind::UnknownCoding, "of all transfer codings only chunked is taken")),
                false => ambiguous("Transfer-Encoding must be chunked"),
            };
        }
        self.chunked = true;
        Ok(())
    }

    fn extent(&self) -> Result<Extent, Fault> {
        match (self.length, self.chunked) {
            (Some(_), true) => {
                Err(Fault::ambiguous("both Content-Length and Transfer-Encoding: the request has two ends"))
            }
            (_, true) => Ok(Extent::Chunks),
            (Some(bytes), false) if bytes > 0 => Ok(Extent::Length(bytes)),
            _ if self.upgrade => Ok(Extent::Unknown),
            _ => Ok(Extent::None),
        }
    }
}

/// Whether some program behind us might take this name for one that says how long the request is.
#[must_use]
pub fn framing_in_disguise(name: &[u8]) -> bool {
    same_name(name, b"content-length") || same_name(name, b"transfer-encoding")
}
