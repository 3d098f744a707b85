//! What is told about single requests while they pass: spans to a receiver, lines to a file.

use std::time::Duration;

use crate::observe::access::Style;
pub use crate::observe::access::{Format, Target};
use crate::observe::trace::Destination;

/// Traces over OTLP.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// Where spans go; `None` makes none.
    pub endpoint: Option<String>,
    /// How they get there.
    pub protocol: Protocol,
    /// Share of requests that are traced where nobody has decided before, 0..=1.
    pub sample: f64,
    /// Whose `traceparent` is believed: the trace it names is continued, and its decision to sample obeyed.
    pub parent: Believed,
    /// The resource attribute `service.name`.
    pub service: String,
    /// For one export.
    pub timeout: Duration,
    /// Spans that wait for their export; more are dropped.
    pub queue: usize,
}

impl Traces {
    /// Where spans go, if anywhere.
    #[must_use]
    pub fn destination(&self) -> Option<Destination> {
        Some(Destination {
            endpoint: self.endpoint.clone()?,
            grpc: self.protocol == Protocol::Grpc,
            service: self.service.clone(),
            timeout: self.timeout,
            queue: self.queue,
        })
    }
}

/// How OTLP is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Protobuf in HTTP/1.1 requests.
    Http,
    /// gRPC, in clear.
    Grpc,
}

/// Whose word is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Believed {
    /// That of `client.trusted_proxies`.
    Trusted,
    /// Everybody's.
    Always,
    /// Nobody's.
    Nobody,
}

impl Believed {
    /// Whether a client's word is believed, which is `trusted` or not.
    #[must_use]
    pub fn includes(self, trusted: bool) -> bool {
        match self {
            Believed::Trusted => trusted,
            Believed::Always => true,
            Believed::Nobody => false,
        }
    }
}

/// The access log.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// How a line looks; `None` writes none.
    pub format: Option<Format>,
    /// Where lines go.
    pub to: Target,
    /// Share of requests that are written, 0..=1.
    pub share: f64,
    /// Lines that wait to be written; more are dropped.
    pub queue: usize,
    /// Whether the query is written behind the path.
    pub query: bool,
}

impl AccessLog {
    /// What is written, if anything.
    #[must_use]
    pub fn style(&self) -> Option<Style> {
        Some(Style { format: self.format?, query: self.query })
    }
}
