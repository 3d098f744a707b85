//! W3C Trace Context: `traceparent` and `tracestate`, read strictly and written by hand.
//!
//! The propagator of the SDK would do, but it writes an empty `tracestate` where there is none, and allocates a map for two
//! headers. What is malformed is taken for absent, as the recommendation wants it.

use std::str::FromStr;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// Which trace a request belongs to, and the span it was sent from.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems want carried along with it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Length of a `traceparent` of version 00: `00-` trace id `-` span id `-` flags.
const LENGTH: usize = 55;

/// The span that a request was sent from.
#[derive(Debug, Clone, PartialEq)]
pub struct Parent(SpanContext);

impl Parent {
    /// Reads it out of a request's headers; `None` where there is none, more than one, or a malformed one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Parent> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let (only, None) = (all.next()?, all.next()) else { return None };
        let (trace, span, flags) = parse(only.to_str().ok()?)?;
        let mut states = headers.get_all(TRACESTATE).iter();
        let state = match (states.next(), states.next()) {
            // Several fields are one list; they go on to the backend as they came, and are left out of the span.
            (Some(state), None) => state.to_str().ok().and_then(|text| TraceState::from_str(text).ok()),
            _ => None,
        };
        let context = SpanContext::new(trace, span, flags, true, state.unwrap_or_default());
        context.is_valid().then_some(Parent(context))
    }

    /// Whether whoever sent it records the trace.
    #[must_use]
    pub fn sampled(&self) -> bool {
        self.0.is_sampled()
    }

    pub(super) fn context(self) -> SpanContext {
        self.0
    }
}

fn parse(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let bytes = text.as_bytes();
    let field = |from: usize, to: usize| {
        let field = text.get(from..to)?;
        let hex = |c: &u8| c.is_ascii_digit() || (b'a'..=b'f').contains(c);
        field.as_bytes().iter().all(hex).then_some(field)
    };
    let version = field(0, 2)?;
    // Later versions may have more behind the fields that are known.
    let ends = bytes.len() == LENGTH || (version != "00" && bytes.get(LENGTH) == Some(&b'-'));
    let dashes = [2, 35, 52].iter().all(|&at| bytes.get(at) == Some(&b'-'));
    if version == "ff" || !ends || !dashes {
        return None;
    }
    let flags = u8::from_str_radix(field(53, 55)?, 16).ok()?;
    Some((
        TraceId::from_hex(field(3, 35)?).ok()?,
        SpanId::from_hex(field(36, 52)?).ok()?,
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
    ))
}

/// The `traceparent` of what is sent from within a span.
pub(super) fn traceparent(context: &SpanContext) -> Option<HeaderValue> {
    let flags = u8::from(context.is_sampled());
    HeaderValue::try_from(format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(values: &[&str]) -> Option<Parent> {
        Parent::of(&values.iter().map(|v| (TRACEPARENT, HeaderValue::from_str(v).unwrap())).collect())
    }

    #[test]
    fn what_is_well_formed_is_read_and_written_back() {
        for flags in ["01", "00"] {
            let text = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
            let parent = of(&[&text]).unwrap();
            assert_eq!(parent.sampled(), flags == "01");
            assert_eq!(traceparent(&parent.context()).unwrap(), text);
        }
        assert!(of(&[&format!("cc-{TRACE}-00f067aa0ba902b7-03-what-comes")]).unwrap().sampled());
    }

    #[test]
    fn what_is_not_is_no_parent() {
        let zero = "0".repeat(32);
        for bad in [
            "",
            "00",
            &format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            &format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            &format!("cc-{TRACE}-00f067aa0ba902b7-01more"),
            &format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            &format!("00-{zero}-00f067aa0ba902b7-01"),
            &format!("00-{TRACE}-0000000000000000-01"),
            &format!("00_{TRACE}-00f067aa0ba902b7-01"),
            &format!("00-{TRACE}-00f067aa0ba902b7-1"),
            &format!("00-{TRACE}-00f067aa0ba902b7-+1"),
        ] {
            assert_eq!(of(&[bad]), None, "{bad}");
        }
        let good = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(of(&[&good, &good]), None, "two of them: whose?");
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_state_is_kept_where_it_can_be_read() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, format!("00-{TRACE}-00f067aa0ba902b7-01").parse().unwrap());
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=value"));
        let state = |headers: &HeaderMap| Parent::of(headers).unwrap().context().trace_state().header();
        assert_eq!(state(&headers), "vendor=value");
        headers.insert(TRACESTATE, HeaderValue::from_static("no list"));
        assert_eq!(state(&headers), "");
    }
}
