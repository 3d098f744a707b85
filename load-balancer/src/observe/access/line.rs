//! One line, in either format, appended to a buffer without an allocation of its own.

use std::io::Write as _;
use std::time::Duration;

use hyper::Version;

use super::super::trail::{Ending, Trail, told};
use super::escape::{cut, escaped};
use super::{Format, Style};

/// Appends the line of a request that ended `at` milliseconds after the beginning of 1970.
pub(super) fn write(out: &mut Vec<u8>, trail: &Trail, ending: &Ending<'_>, style: Style, at: u64) {
    match style.format {
        Format::Json => json(out, trail, ending, style.query, at),
        Format::Text => text(out, trail, ending, style.query, at),
    }
    out.push(b'\n');
}

fn json(out: &mut Vec<u8>, trail: &Trail, ending: &Ending<'_>, query: bool, at: u64) {
    let passing = &trail.passing;
    out.extend_from_slice(b"{\"time\":\"");
    time(out, at);
    out.push(b'"');
    let mut fields = Json(out);
    fields.id("trace_id", trail.trace());
    fields.cut("request_id", passing.id.as_ref().map(|id| id.as_bytes()));
    fields.name("client");
    client(fields.0, trail);
    fields.0.push(b'"');
    fields.text("region", ending.region.map(str::as_bytes));
    fields.cut("method", Some(passing.method.as_str().as_bytes()));
    fields.cut("host", passing.host.as_ref().map(|host| host.as_bytes()));
    fields.cut("path", Some(passing.uri.path().as_bytes()));
    fields.cut("query", passing.uri.query().filter(|_| query).map(str::as_bytes));
    fields.text("protocol", Some(protocol(passing.version).as_bytes()));
    fields.number("status", u64::from(ending.code));
    fields.text("algorithm", ending.algorithm.map(str::as_bytes));
    fields.text("backend", ending.backend.map(str::as_bytes));
    fields.number("attempts", u64::from(ending.attempts));
    fields.number("bytes_in", ending.bytes_in);
    fields.number("bytes_out", ending.bytes_out);
    for (name, took) in times(trail, ending) {
        if let Some(took) = took {
            fields.key(name);
            milliseconds(fields.0, took);
        }
    }
    fields.text("reason", ending.reason.map(str::as_bytes));
    out.push(b'}');
}

fn text(out: &mut Vec<u8>, trail: &Trail, ending: &Ending<'_>, query: bool, at: u64) {
    let passing = &trail.passing;
    client(out, trail);
    out.extend_from_slice(b" - - [");
    time(out, at);
    out.extend_from_slice(b"] \"");
    cut(out, passing.method.as_str().as_bytes());
    out.push(b' ');
    cut(out, passing.uri.path().as_bytes());
    if let Some(text) = passing.uri.query().filter(|_| query) {
        out.push(b'?');
        cut(out, text.as_bytes());
    }
    out.push(b' ');
    out.extend_from_slice(protocol(passing.version).as_bytes());
    out.extend_from_slice(b"\" ");
    number(out, u64::from(ending.code));
    out.push(b' ');
    number(out, ending.bytes_out);
    let mut fields = Text(out);
    fields.cut("request_id", passing.id.as_ref().map(|id| id.as_bytes()));
    if let Some(id) = trail.trace() {
        fields.key("trace_id");
        hex(fields.0, &id);
    }
    fields.cut("host", passing.host.as_ref().map(|host| host.as_bytes()));
    fields.text("region", ending.region.map(str::as_bytes));
    fields.text("algorithm", ending.algorithm.map(str::as_bytes));
    fields.text("backend", ending.backend.map(str::as_bytes));
    fields.key("attempts");
    number(fields.0, u64::from(ending.attempts));
    fields.key("bytes_in");
    number(fields.0, ending.bytes_in);
    for (name, took) in times(trail, ending) {
        if let Some(took) = took {
            fields.key(name);
            milliseconds(fields.0, took);
        }
    }
    fields.text("reason", ending.reason.map(str::as_bytes));
}

/// Where the time went.
fn times(trail: &Trail, ending: &Ending<'_>) -> [(&'static str, Option<Duration>); 4] {
    let phases = &trail.passing.phases;
    [
        ("total_ms", Some(ending.total)),
        ("connect_ms", phases.connect()),
        ("first_byte_ms", phases.first_byte()),
        ("overhead_ms", Some(ending.overhead)),
    ]
}

/// Fields of an object that has one already.
struct Json<'a>(&'a mut Vec<u8>);

impl Json<'_> {
    fn key(&mut self, key: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }
    /// A key whose value is a string, up to its opening quote.
    fn name(&mut self, key: &str) {
        self.key(key);
        self.0.push(b'"');
    }
    fn text(&mut self, key: &str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.name(key);
            escaped(self.0, value);
            self.0.push(b'"');
        }
    }
    /// The same of what may be long.
    fn cut(&mut self, key: &str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.name(key);
            cut(self.0, value);
            self.0.push(b'"');
        }
    }
    fn id(&mut self, key: &str, value: Option<[u8; 16]>) {
        if let Some(value) = value {
            self.name(key);
            hex(self.0, &value);
            self.0.push(b'"');
        }
    }
    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        number(self.0, value);
    }
}

/// `key=value` behind the rest; a value with a space or a quote is quoted.
struct Text<'a>(&'a mut Vec<u8>);

impl Text<'_> {
    fn key(&mut self, key: &str) {
        self.0.push(b' ');
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b'=');
    }
    fn text(&mut self, key: &str, value: Option<&[u8]>) {
        let Some(value) = value else { return };
        self.key(key);
        let bare = !value.is_empty() && value.iter().all(|&b| b.is_ascii_graphic() && !b"\"\\=".contains(&b));
        if bare {
            self.0.extend_from_slice(value);
        } else {
            self.0.push(b'"');
            escaped(self.0, value);
            self.0.push(b'"');
        }
    }
    /// The same of what may be long: where it is cut, it is quoted.
    fn cut(&mut self, key: &str, value: Option<&[u8]>) {
        let Some(long) = value.filter(|value| told(value).1) else { return self.text(key, value) };
        self.key(key);
        self.0.push(b'"');
        cut(self.0, long);
        self.0.push(b'"');
    }
}

fn client(out: &mut Vec<u8>, trail: &Trail) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{}", trail.passing.client);
}

fn protocol(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" }
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `12.345`, to the microsecond.
fn milliseconds(out: &mut Vec<u8>, took: Duration) {
    let micros = took.as_micros() as u64;
    number(out, micros / 1_000);
    out.push(b'.');
    digits(out, micros % 1_000, 3);
}

/// The last `n` digits of `value`, zeros in front.
fn digits(out: &mut Vec<u8>, value: u64, n: u32) {
    out.extend((0..n).rev().map(|at| b'0' + (value / 10_u64.pow(at) % 10) as u8));
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]));
}

/// RFC 3339 in UTC, to the millisecond.
fn time(out: &mut Vec<u8>, at: u64) {
    let (days, ms) = (at / 86_400_000, at % 86_400_000);
    let (year, month, day) = date(days);
    for (value, n, behind) in [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (ms / 3_600_000, 2, b':'),
        (ms / 60_000 % 60, 2, b':'),
        (ms / 1_000 % 60, 2, b'.'),
        (ms % 1_000, 3, b'Z'),
    ] {
        digits(out, value, n);
        out.push(behind);
    }
}

/// Year, month and day of a day after 1970-01-01: years begin in March, so that the leap day is a year's last (Howard
/// Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
