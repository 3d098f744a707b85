//! The spans of one request: a server span for the whole, and one client span for each attempt, by OpenTelemetry's
//! semantic conventions; what only a balancer knows is called `lb.*`.
//!
//! Paths are attributes, never names, and queries are nowhere: they hold what nobody should keep.

use std::time::Duration;

use hyper::header::HeaderValue;
use opentelemetry::trace::{SpanContext, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use tracing::{Dispatch, Span, dispatcher};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::super::trail::{Ending, Passing, told_text};
use super::{Parent, TARGET, context};

/// What the conventions call a method that they do not know.
const OTHER: &str = "_OTHER";

/// The spans of a request that is traced. Dropping them ends them.
#[derive(Debug)]
pub struct Spans {
    dispatch: Dispatch,
    /// Ends before `server`.
    attempt: Option<Open>,
    server: Open,
    method: &'static str,
    /// The trace has come with the request.
    continued: bool,
}

/// One attempt, as its span tells it.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The pool.
    pub pool: &'a str,
    /// What picked.
    pub algorithm: &'static str,
    /// The backend's name.
    pub backend: &'a str,
    /// How it is spoken with: `http` or `https`.
    pub scheme: &'static str,
    /// Its host.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// Its configured weight.
    pub weight: u32,
    /// Its region, if it has one.
    pub region: &'a str,
    /// Why it was chosen.
    pub reason: &'a str,
    /// 1 for the first.
    pub nth: u32,
}

/// A span that has begun.
#[derive(Debug)]
struct Open {
    /// Dropped, it ends.
    _span: Span,
    context: Context,
}

impl Open {
    fn new(span: Span) -> Self {
        Open { context: span.context(), _span: span }
    }

    fn context(&self) -> SpanContext {
        self.context.span().span_context().clone()
    }

    fn set(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        self.context.span().set_attributes(attributes);
    }

    fn failed(&self, reason: String) {
        self.set([KeyValue::new("error.type", reason)]);
        self.context.span().set_status(Status::error(""));
    }
}

impl Spans {
    /// Begins the server span; `method` is one of the closed set.
    pub(super) fn begin(dispatch: &Dispatch, method: &'static str, parent: Option<Parent>) -> Self {
        let (name, method) = if method == "other" { ("HTTP", OTHER) } else { (method, method) };
        let span = dispatcher::with_default(
            dispatch,
            || tracing::info_span!(target: TARGET, parent: None, "request", otel.name = name, otel.kind = "server"),
        );
        let continued = parent.is_some();
        if let Some(parent) = parent {
            // Fails for a span that has begun or that no layer listens to: this one is new, and one does.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent.context()));
        }
        Spans { dispatch: dispatch.clone(), attempt: None, server: Open::new(span), method, continued }
    }

    /// The trace's id.
    #[must_use]
    pub fn trace(&self) -> [u8; 16] {
        self.server.context().trace_id().to_bytes()
    }

    /// What tells a backend which span its request comes from: the present attempt's.
    #[must_use]
    pub fn traceparent(&self) -> Option<HeaderValue> {
        context::traceparent(&self.attempt.as_ref()?.context())
    }

    /// Whether the trace has come with the request, so that its `tracestate` goes on with it.
    #[must_use]
    pub fn continued(&self) -> bool {
        self.continued
    }

    /// An attempt begins; the one before it is over.
    pub fn attempt(&mut self, passing: &Passing, attempt: &Attempt<'_>) {
        self.attempt = None;
        let name = if self.method == OTHER { "HTTP" } else { self.method };
        let span = dispatcher::with_default(
            &self.dispatch,
            || tracing::info_span!(target: TARGET, parent: None, "attempt", otel.name = name, otel.kind = "client"),
        );
        // Not as `tracing` knows parents: that would let go of them by whichever dispatcher is the default when the child
        // ends. As for why it cannot fail, see above.
        let _ = span.set_parent(self.server.context.clone());
        let open = Open::new(span);
        let (host, port) = (attempt.host, attempt.port);
        let known = [
            KeyValue::new("http.request.method", self.method),
            KeyValue::new("url.full", url((attempt.scheme, host, port), passing.uri.path())),
            KeyValue::new("server.address", host.to_owned()),
            KeyValue::new("server.port", i64::from(port)),
            KeyValue::new("lb.pool", attempt.pool.to_owned()),
            KeyValue::new("lb.algorithm", attempt.algorithm),
            KeyValue::new("lb.backend", attempt.backend.to_owned()),
            KeyValue::new("lb.weight", i64::from(attempt.weight)),
            KeyValue::new("lb.decision.reason", attempt.reason.to_owned()),
        ];
        open.set(known);
        if attempt.nth > 1 {
            open.set([KeyValue::new("http.request.resend_count", i64::from(attempt.nth) - 1)]);
        }
        if !attempt.region.is_empty() {
            open.set([KeyValue::new("lb.backend_region", attempt.region.to_owned())]);
        }
        self.attempt = Some(open);
    }

    /// The attempt has an answer. Its span goes on to the last byte, or to the next attempt.
    pub fn answered(&self, code: u16) {
        let Some(open) = &self.attempt else { return };
        open.set([KeyValue::new("http.response.status_code", i64::from(code))]);
        // To a client any 4xx is an error, too.
        if code >= 400 {
            open.failed(code.to_string());
        }
    }

    /// The attempt has none, or its answer broke off.
    pub fn failed(&mut self, reason: &'static str) {
        if let Some(open) = self.attempt.take() {
            open.failed(reason.to_owned());
        }
    }

    /// The attempt's answer is not the client's: another follows.
    pub fn set_aside(&mut self) {
        self.attempt = None;
    }

    /// The request has ended.
    pub fn finish(mut self, passing: &Passing, ending: &Ending<'_>) {
        match ending.reason {
            // Nobody else has said so: the client left, or the connection was cut.
            Some(reason) => self.failed(reason),
            None => self.attempt = None,
        }
        let server = &self.server;
        server.set([
            KeyValue::new("http.request.method", self.method),
            KeyValue::new("url.scheme", if passing.secure { "https" } else { "http" }),
            KeyValue::new("url.path", told_text(passing.uri.path().as_bytes())),
            KeyValue::new("http.response.status_code", i64::from(ending.code)),
            KeyValue::new("client.address", passing.client.to_string()),
            KeyValue::new("lb.pool", ending.pool.to_owned()),
            KeyValue::new("lb.attempts", i64::from(ending.attempts)),
            KeyValue::new("lb.total", ending.total.as_secs_f64()),
        ]);
        if self.method == OTHER {
            server.set([KeyValue::new(
                "http.request.method_original",
                told_text(passing.method.as_str().as_bytes()),
            )]);
        }
        if let Some((host, port)) = passing.host() {
            server.set([KeyValue::new("server.address", host)]);
            server.set(port.map(|port| KeyValue::new("server.port", i64::from(port))));
        }
        if let Some(id) = &passing.id {
            server.set([KeyValue::new("lb.request_id", told_text(id.as_bytes()))]);
        }
        server.set(ending.algorithm.map(|name| KeyValue::new("lb.algorithm", name)));
        server.set(ending.backend.map(|name| KeyValue::new("lb.backend", name.to_owned())));
        server.set(ending.region.map(|name| KeyValue::new("lb.client_region", name.to_owned())));
        let seconds = |name, time: Option<Duration>| time.map(|time| KeyValue::new(name, time.as_secs_f64()));
        server.set(seconds("lb.connect", passing.phases.connect()));
        server.set(seconds("lb.first_byte", passing.phases.first_byte()));
        server.set(seconds("lb.overhead", Some(ending.overhead)));
        match ending.reason {
            // What the client got wrong is no error of the server's.
            Some(reason) if (400..500).contains(&ending.code) => {
                server.set([KeyValue::new("error.type", reason)]);
            }
            Some(reason) => server.failed(reason.to_owned()),
            None if ending.code >= 500 => server.failed(ending.code.to_string()),
            None => {}
        }
    }
}

/// Where an attempt goes to, without the query. An IPv6 address is bracketed, as it must be in front of a port.
fn url((scheme, host, port): (&str, &str, u16), path: &str) -> String {
    let path = told_text(path.as_bytes());
    if host.contains(':') && !host.starts_with('[') {
        format!("{scheme}://[{host}]:{port}{path}")
    } else {
        format!("{scheme}://{host}:{port}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_urls() {
        assert_eq!(url(("http", "b1.lab", 80), "/a"), "http://b1.lab:80/a");
        assert_eq!(url(("https", "::1", 80), "/"), "https://[::1]:80/");
        assert_eq!(url(("http", "[::1]", 80), "/"), "http://[::1]:80/");
    }
}
