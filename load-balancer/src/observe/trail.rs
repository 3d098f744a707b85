//! What is known about a request that is traced, or written to the access log: it rides on the exchange, and is told once,
//! when the exchange ends.
//!
//! Requests of which neither is wanted have none. Where it goes afterwards, and how it looks there, is [`super::trace`]'s
//! and [`super::access`]'s business.

use std::net::IpAddr;
use std::time::Duration;

use hyper::header::{HOST, HeaderValue};
use hyper::{HeaderMap, Method, Uri, Version};
use lb_core::Tick;

use super::trace::Spans;

/// Bytes of a host, a path or a query that lines and spans tell: more than any honest one has, and few enough that what
/// waits to be written does not grow with what clients send.
const TOLD: usize = 2 << 10;

/// As much of what a client sent as is told, and whether that is not all of it.
#[must_use]
pub(super) fn told(bytes: &[u8]) -> (&[u8], bool) {
    if bytes.len() <= TOLD {
        return (bytes, false);
    }
    // Not within a character.
    let end = (TOLD - 3..=TOLD).rev().find(|&at| bytes[at] & 0xc0 != 0x80);
    (&bytes[..end.unwrap_or(TOLD)], true)
}

/// The same as text, with `…` where something is missing.
#[must_use]
pub(super) fn told_text(bytes: &[u8]) -> String {
    let (kept, cut) = told(bytes);
    let mut text = String::from_utf8_lossy(kept).into_owned();
    if cut {
        text.push('…');
    }
    text
}

/// A request on its way.
#[derive(Debug)]
pub struct Trail {
    /// What it is.
    pub passing: Passing,
    /// Its spans, where it is traced.
    pub spans: Option<Spans>,
    /// It is to be written to the access log.
    pub logged: bool,
}

/// What a request is, beyond what its exchange knows.
#[derive(Debug)]
pub struct Passing {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The version that the client speaks.
    pub version: Version,
    /// The field `Host`.
    pub host: Option<HeaderValue>,
    /// Whether it came by TLS.
    pub secure: bool,
    /// The client's address, after the trust rules once they were applied.
    pub client: IpAddr,
    /// The request's id, once it has one.
    pub id: Option<HeaderValue>,
    /// Where the time went.
    pub phases: Phases,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// The pool.
    pub pool: &'a str,
    /// What picked, once that was chosen.
    pub algorithm: Option<&'static str>,
    /// The last backend asked.
    pub backend: Option<&'a str>,
    /// The client's region, where regions matter.
    pub region: Option<&'a str>,
    /// The status that was answered, or stands for none.
    pub code: u16,
    /// Why it failed, if it did.
    pub reason: Option<&'static str>,
    /// Attempts made.
    pub attempts: u32,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// From head to last byte.
    pub total: Duration,
    /// What of that was not waited for backends: the metric of that name.
    pub overhead: Duration,
}

/// Points in time of a request's last attempt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Phases {
    begun: Option<Tick>,
    sent: Option<Tick>,
    answered: Option<Tick>,
}

impl Phases {
    /// An attempt begins.
    pub fn begin(&mut self, now: Tick) {
        *self = Phases { begun: Some(now), ..Phases::default() };
    }

    /// It was sent, and answered, if it got so far.
    pub fn end(&mut self, sent: Option<Tick>, answered: Option<Tick>) {
        (self.sent, self.answered) = (sent, answered);
    }

    /// From the beginning of the attempt to its being sent: nearly all of it is the connection, where it is a new one.
    #[must_use]
    pub fn connect(&self) -> Option<Duration> {
        Some(self.sent?.since(self.begun?))
    }

    /// From the request sent to the first byte of the answer.
    #[must_use]
    pub fn first_byte(&self) -> Option<Duration> {
        Some(self.answered?.since(self.sent?))
    }
}

impl Passing {
    /// A request from `client`.
    #[must_use]
    pub fn new(method: &Method, uri: &Uri, version: Version, headers: &HeaderMap, client: IpAddr) -> Self {
        Passing {
            method: method.clone(),
            uri: uri.clone(),
            version,
            host: headers.get(HOST).cloned(),
            secure: false,
            client,
            id: None,
            phases: Phases::default(),
        }
    }

    /// The host and port that the client asked for.
    #[must_use]
    pub fn host(&self) -> Option<(String, Option<u16>)> {
        let text = told_text(self.host.as_ref()?.as_bytes());
        match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => Some((host.to_owned(), port.parse().ok())),
            _ => Some((text, None)),
        }
    }
}

impl Trail {
    /// Lets go of all that was a request's.
    pub fn blank(&mut self) {
        let nobody = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        let (method, uri, headers) = (Method::GET, Uri::default(), HeaderMap::new());
        self.passing = Passing::new(&method, &uri, Version::HTTP_11, &headers, nobody);
        self.spans = None;
    }

    /// The trace's id, where it is traced.
    #[must_use]
    pub fn trace(&self) -> Option<[u8; 16]> {
        self.spans.as_ref().map(Spans::trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::ZERO.after(Duration::from_millis(ms))
    }

    #[test]
    fn phases_are_the_last_attempts() {
        let mut phases = Phases::default();
        assert_eq!((phases.connect(), phases.first_byte()), (None, None));
        phases.begin(at(1));
        phases.end(Some(at(3)), None);
        assert_eq!((phases.connect(), phases.first_byte()), (Some(Duration::from_millis(2)), None));
        phases.begin(at(20));
        phases.end(Some(at(20)), Some(at(50)));
        assert_eq!(phases.connect(), Some(Duration::ZERO));
        assert_eq!(phases.first_byte(), Some(Duration::from_millis(30)));
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(told_text(&[b'a'; TOLD]), "a".repeat(TOLD));
        assert_eq!(told_text(&[b'a'; TOLD + 1]), format!("{}…", "a".repeat(TOLD)));
        let euros = format!("a{}", "€".repeat(TOLD));
        assert_eq!(told_text(euros.as_bytes()), format!("a{}…", "€".repeat((TOLD - 1) / 3)));
        assert_eq!(told(&[0x80; TOLD + 9]).0.len(), TOLD, "no character at all");
    }

    #[test]
    fn a_blank_one_holds_nothing_of_its_request() {
        let headers: HeaderMap = [(HOST, HeaderValue::from_static("lab"))].into_iter().collect();
        let (uri, client) = (Uri::from_static("/secret?token"), IpAddr::from([203, 0, 113, 7]));
        let mut passing = Passing::new(&Method::PUT, &uri, Version::HTTP_11, &headers, client);
        passing.id = Some(HeaderValue::from_static("id-1"));
        let mut trail = Trail { passing, spans: None, logged: true };
        trail.blank();
        let text = format!("{trail:?}");
        assert!(["secret", "lab", "id-1", "203"].iter().all(|part| !text.contains(part)), "{text}");
    }

    #[test]
    fn hosts_are_taken_apart() {
        let host = |text: &'static str| {
            let headers = [(HOST, HeaderValue::from_static(text))].into_iter().collect();
            let client = IpAddr::from([127, 0, 0, 1]);
            Passing::new(&Method::GET, &Uri::from_static("/"), Version::HTTP_11, &headers, client).host()
        };
        assert_eq!(host("lab"), Some(("lab".into(), None)));
        assert_eq!(host("lab:80"), Some(("lab".into(), Some(80))));
        assert_eq!(host("[::1]"), Some(("[::1]".into(), None)));
        assert_eq!(host("[::1]:80"), Some(("[::1]".into(), Some(80))));
    }
}
