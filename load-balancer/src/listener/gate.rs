//! One strict reading of what a client sends over HTTP/1.1, before hyper reads it: a request whose extent two programs could
//! see differently is refused, never repaired (RFC 9112, 6.3 and 11.2).
//!
//! hyper drops a `Content-Length` beside `Transfer-Encoding`, takes equal lengths for one, ends lines at a bare LF and cuts
//! targets at `#`. Each is a way for a proxy in front of us to see one request where we see two. So every byte passes here
//! first: lines of heads are looked at, bodies only counted. Everything else about a head is still hyper's to judge.
//!
//! Pure: bytes in, a fault or nothing out, however they are cut into pieces. It fails closed: after a fault nothing passes.

mod chunks;
mod head;

pub use chunks::forbidden_trailer;
pub use head::framing_in_disguise;

use chunks::Chunks;
use head::{Extent, Head};

use crate::error::Kind;

/// Longest line that is kept while its end has not come: far above `limits.target_bytes` and `limits.header_bytes` as they
/// are set by anybody. hyper refuses a head that is larger than its limit by itself.
const LINE_MOST: usize = 1 << 20;

/// Why the bytes from here on are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The row of the table of errors.
    pub kind: Kind,
    /// What the client has to mend.
    pub detail: &'static str,
}

impl Fault {
    const fn new(kind: Kind, detail: &'static str) -> Self {
        Fault { kind, detail }
    }

    const fn ambiguous(detail: &'static str) -> Self {
        Fault::new(Kind::AmbiguousFraming, detail)
    }
}

/// Where in the stream of requests a connection is.
#[derive(Debug)]
pub struct Gate {
    place: Place,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
}

#[derive(Debug)]
enum Place {
    /// In a head, or before one.
    Head(Head),
    /// In a body of so many further bytes.
    Sized(u64),
    /// In a body in chunks.
    Chunked(Chunks),
    /// Behind a request that may make the connection another protocol's: what follows is judged once it has not.
    Waiting,
    /// A fault was found.
    Shut(Fault),
}

/// What [`Gate::pass`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// All of it may be read.
    All,
    /// So many bytes may be read; whether those behind them are a request's depends on the answer to the one before.
    Kept(usize),
    /// So many bytes may be read; then comes what is refused.
    Until(usize, Fault),
}

impl Default for Gate {
    fn default() -> Self {
        Gate { place: Place::Head(Head::default()), partial: Vec::new() }
    }
}

impl Gate {
    /// Judges the next bytes of the connection.
    pub fn pass(&mut self, bytes: &[u8]) -> Passed {
        let mut at = 0;
        while at < bytes.len() {
            if self.waits() {
                return Passed::Kept(at);
            }
            match self.step(&bytes[at..]) {
                Ok(taken) => at += taken,
                Err(fault) => {
                    self.place = Place::Shut(fault);
                    return Passed::Until(at, fault);
                }
            }
        }
        Passed::All
    }

    /// Whether what follows cannot be judged before [`Gate::resume`].
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self.place, Place::Waiting)
    }

    /// The last request has been answered, and the protocol is what it was: what comes is a request again.
    pub fn resume(&mut self) {
        if self.waits() {
            self.place = Place::Head(Head::default());
        }
    }

    /// Takes in a line, or as much of a body as is there; says how many bytes that was.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        match &mut self.place {
            // Not asked for.
            Place::Waiting => Ok(0),
            Place::Shut(fault) => Err(*fault),
            Place::Sized(left) => {
                let taken = take(left, bytes.len());
                if *left == 0 {
                    self.place = Place::Head(Head::default());
                }
                Ok(taken)
            }
            Place::Chunked(chunks) if chunks.left() > 0 => Ok(chunks.skip(bytes.len())),
            Place::Head(_) | Place::Chunked(_) => self.line(bytes),
        }
    }

    /// Takes in the next line, or keeps its beginning.
    fn line(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            if self.partial.len() + bytes.len() > LINE_MOST {
                return Err(Fault::new(Kind::HeadersTooLarge, "a line is longer than any that is taken"));
            }
            self.partial.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        let mut kept = std::mem::take(&mut self.partial);
        let line = match kept.is_empty() {
            true => &bytes[..end],
            false => {
                kept.extend_from_slice(&bytes[..end]);
                &kept[..]
            }
        };
        let line = match line.split_last() {
            Some((b'\r', line)) if !line.contains(&b'\r') => line,
            _ => return Err(Fault::ambiguous("a line does not end with CR LF")),
        };
        let next = match &mut self.place {
            Place::Head(head) => head.line(line)?.map(|extent| match extent {
                Extent::None => Place::Head(Head::default()),
                Extent::Length(bytes) => Place::Sized(bytes),
                Extent::Chunks => Place::Chunked(Chunks::default()),
                Extent::Unknown => Place::Waiting,
            }),
            Place::Chunked(chunks) => chunks.line(line)?.then(|| Place::Head(Head::default())),
            // Lines are only of heads and chunks.
            Place::Sized(_) | Place::Waiting | Place::Shut(_) => None,
        };
        if let Some(next) = next {
            self.place = next;
        }
        Ok(end + 1)
    }
}

/// Takes what is `there` of the bytes that are `left`; says how many.
fn take(left: &mut u64, there: usize) -> usize {
    let taken = usize::try_from(*left).map_or(there, |left| left.min(there));
    *left -= taken as u64;
    taken
}

/// A field's value without the space and tabs around it (RFC 9110, 5.6.3): other blanks belong to it, and are wrong there.
fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether `name` is `known`, or what CGI and its heirs take for it: they do not tell `_` from `-`.
fn same_name(name: &[u8], known: &[u8]) -> bool {
    let alike = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
    name.len() == known.len() && name.iter().zip(known).all(alike)
}

#[cfg(test)]
mod tests;
