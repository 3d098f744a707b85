//! What is told about single requests while they pass: spans to a receiver, lines to a file.

use std::path::PathBuf;
use std::time::Duration;

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

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An object a line.
    Json,
    /// As web servers write it, with `key=value` behind.
    Text,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to; opened anew at each reload, for logrotate.
    File(PathBuf),
}
