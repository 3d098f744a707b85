//! What the clients of a measurement do, and how they speak.

use clap::ValueEnum;
use serde::Serialize;

use super::backends;

/// Requests that one HTTP/2 connection has open at once.
pub(crate) const STREAMS: usize = 8;

/// How clients reach a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// HTTP/1.1, connections kept
    Http1,
    /// HTTP/1.1, a connection for each request
    Churn,
    /// HTTP/1.1 over TLS, connections kept
    Tls,
    /// HTTP/2 in clear, by prior knowledge
    H2c,
    /// HTTP/2 over TLS
    H2,
}

impl Way {
    /// Whether it needs a certificate.
    pub(crate) const fn encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::H2)
    }

    /// Whether requests share a connection.
    pub(crate) const fn multiplexed(self) -> bool {
        matches!(self, Self::H2c | Self::H2)
    }
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Scenario {
    pub(crate) connections: usize,
    pub(crate) body: usize,
    /// Requests per second in an open loop; none is a closed loop, as fast as it goes.
    pub(crate) rate: Option<u32>,
    pub(crate) way: Way,
    /// Behind each proxy.
    pub(crate) backends: usize,
}

impl Scenario {
    /// What everything else differs from in one thing.
    pub(crate) const PLAIN: Self = Self {
        connections: 64,
        body: backends::BODY,
        rate: None,
        way: Way::Http1,
        backends: backends::COUNT,
    };

    /// Requests that are open at once when it ends.
    pub(crate) const fn open(self) -> usize {
        if self.way.multiplexed() { self.connections * STREAMS } else { self.connections }
    }
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} connections, {} bytes, ", self.connections, self.body)?;
        match self.way {
            Way::Http1 => {}
            Way::Churn => f.write_str("a connection for each request, ")?,
            Way::Tls => f.write_str("TLS, ")?,
            Way::H2c => write!(f, "HTTP/2 in clear with {STREAMS} requests at once on each, ")?,
            Way::H2 => write!(f, "HTTP/2 over TLS with {STREAMS} requests at once on each, ")?,
        }
        if self.backends != backends::COUNT {
            write!(f, "{} backends, ", self.backends)?;
        }
        match self.rate {
            Some(rate) => write!(f, "{rate} requests/s (open loop)"),
            None => f.write_str("as fast as it goes (closed loop)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_says_what_is_special_about_it() {
        assert_eq!(
            Scenario::PLAIN.to_string(),
            "64 connections, 100 bytes, as fast as it goes (closed loop)"
        );
        let many =
            Scenario { backends: 1000, way: Way::H2, connections: 8, rate: Some(5), ..Scenario::PLAIN };
        assert_eq!(
            many.to_string(),
            "8 connections, 100 bytes, HTTP/2 over TLS with 8 requests at once on each, 1000 backends, \
             5 requests/s (open loop)"
        );
        assert_eq!((Scenario::PLAIN.open(), many.open()), (64, 64));
    }
}
