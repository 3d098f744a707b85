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
}

/// Points in time of a request, the last attempt's where there are several, and what they add up to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Phases {
    begun: Option<Tick>,
    sent: Option<Tick>,
    answered: Option<Tick>,
    /// Waited for backends, in attempts that are over and in this one up to its head.
    waited: Duration,
    /// From the first byte of the answer that was passed on to its last.
    streamed: Duration,
}

impl Phases {
    /// An attempt begins.
    pub fn begin(&mut self, now: Tick) {
        (self.begun, self.sent, self.answered) = (Some(now), None, None);
    }

    /// It had a connection at `sent`, if it got so far, and is over, or answered, at `now`.
    pub fn end(&mut self, sent: Option<Tick>, now: Tick, answered: bool) {
        self.sent = sent;
        self.answered = answered.then_some(now);
        self.waited += now.since(sent.or(self.begun).unwrap_or(now));
    }

    /// The exchange ends at `now`.
    pub fn finish(&mut self, now: Tick) {
        self.streamed = self.answered.map_or(Duration::ZERO, |answered| now.since(answered));
    }

    /// From the beginning of the attempt to a connection.
    #[must_use]
    pub fn connect(&self) -> Option<Duration> {
        Some(self.sent?.since(self.begun?))
    }

    /// From the request sent to the first byte of the answer.
    #[must_use]
    pub fn first_byte(&self) -> Option<Duration> {
        Some(self.answered?.since(self.sent?))
    }

    /// What of `total` was neither waiting for a backend nor passing its answer on.
    #[must_use]
    pub fn overhead(&self, total: Duration) -> Duration {
        total.saturating_sub(self.waited + self.streamed)
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
            client,
            id: None,
            phases: Phases::default(),
        }
    }

    /// The host and port that the client asked for.
    #[must_use]
    pub fn host(&self) -> Option<(String, Option<u16>)> {
        let text = String::from_utf8_lossy(self.host.as_ref()?.as_bytes()).into_owned();
        match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => Some((host.to_owned(), port.parse().ok())),
            _ => Some((text, None)),
        }
    }
}

impl Trail {
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
    fn what_the_backends_took_is_not_overhead() {
        let mut phases = Phases::default();
        phases.begin(at(1));
        phases.end(Some(at(3)), at(13), false);
        phases.begin(at(20));
        phases.end(Some(at(20)), at(50), true);
        phases.finish(at(90));
        assert_eq!(phases.connect(), Some(Duration::ZERO));
        assert_eq!(phases.first_byte(), Some(Duration::from_millis(30)));
        // 90 in all, of which 10 and 30 were waited for answers, and 40 passed.
        assert_eq!(phases.overhead(Duration::from_millis(90)), Duration::from_millis(10));
    }

    #[test]
    fn without_an_attempt_all_is_overhead() {
        let mut phases = Phases::default();
        phases.finish(at(7));
        assert_eq!((phases.connect(), phases.first_byte()), (None, None));
        assert_eq!(phases.overhead(Duration::from_millis(7)), Duration::from_millis(7));
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
