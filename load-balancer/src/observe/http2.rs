//! What is counted of HTTP/2: the families, and a worker's buffers in front of them.

use prometheus::local::LocalIntCounter;
use prometheus::{IntCounterVec, IntGaugeVec, Registry};

use super::catalog;
use super::local::{ByKey, LocalGauge};
use super::metrics::{counter, gauge};

/// The error codes of RFC 9113, 7, by number; any other is `other`.
const CODES: [&str; 14] = [
    "no_error",
    "protocol_error",
    "internal_error",
    "flow_control_error",
    "settings_timeout",
    "stream_closed",
    "frame_size_error",
    "refused_stream",
    "cancel",
    "compression_error",
    "connect_error",
    "enhance_your_calm",
    "inadequate_security",
    "http_1_1_required",
];
const OTHER: &str = "other";

/// Every value of the label `protocol`.
const PROTOCOLS: [&str; 2] = ["http1", "http2"];
/// Every value of the label `kind`.
const KINDS: [&str; 3] = ["resets", "control", LIBRARY];

/// The label `kind` of connections that the library ended by its own bounds.
pub const LIBRARY: &str = "library";

/// The families.
#[derive(Debug)]
pub struct Families {
    protocols: IntCounterVec,
    streams: IntGaugeVec,
    resets: IntCounterVec,
    floods: IntCounterVec,
}

impl Families {
    pub(super) fn new(r: &Registry) -> prometheus::Result<Self> {
        let families = Families {
            protocols: counter(r, &catalog::PROTOCOLS)?,
            streams: gauge(r, &catalog::STREAMS)?,
            resets: counter(r, &catalog::RESETS)?,
            floods: counter(r, &catalog::FLOODS)?,
        };
        for kind in KINDS {
            families.floods.with_label_values(&[kind]);
        }
        for (by, code) in [("client", "cancel"), ("balancer", "protocol_error")] {
            families.resets.with_label_values(&[by, code]);
        }
        Ok(families)
    }
}

/// A worker's buffers.
#[derive(Debug)]
pub struct Http2Meters {
    protocols: [LocalIntCounter; 2],
    /// Streams that are being answered.
    pub streams: LocalGauge,
    resets: ByKey<(&'static str, &'static str)>,
    floods: ByKey<&'static str>,
}

impl Http2Meters {
    pub(super) fn new(shared: &Families) -> Self {
        Http2Meters {
            protocols: PROTOCOLS.map(|protocol| shared.protocols.with_label_values(&[protocol]).local()),
            streams: LocalGauge::new(shared.streams.with_label_values::<&str>(&[])),
            resets: ByKey::default(),
            floods: ByKey::default(),
        }
    }

    /// It has become clear what a connection speaks.
    pub fn speaks(&self, http2: bool) {
        self.protocols[usize::from(http2)].inc();
    }

    /// `by` has reset a stream.
    pub fn reset(&self, shared: &Families, by: &'static str, code: u32) {
        let code = CODES.get(code as usize).copied().unwrap_or(OTHER);
        self.resets.inc((by, code), || Some(shared.resets.with_label_values(&[by, code]).local()));
    }

    /// A connection was ended because it only made work.
    pub fn flooded(&self, shared: &Families, kind: &'static str) {
        self.floods.inc(kind, || Some(shared.floods.with_label_values(&[kind]).local()));
    }

    pub(super) fn flush(&self) {
        self.protocols.iter().for_each(LocalIntCounter::flush);
        self.streams.flush();
        self.resets.flush();
        self.floods.flush();
    }
}
