//! What only HTTP/2 has: streams, and ways to end them.

use super::{Family, counter, gauge};

/// Connections by what is spoken on them.
pub const PROTOCOLS: Family = counter(
    "lb_downstream_protocol_connections_total",
    &["protocol"],
    "Client connections by what they speak: http1, http2.",
);
/// Streams open.
pub const STREAMS: Family =
    gauge("lb_http2_streams", &[], "HTTP/2 streams of clients that are being answered.");
/// Streams that were reset.
pub const RESETS: Family = counter(
    "lb_http2_resets_total",
    &["by", "code"],
    "HTTP/2 streams of clients ended by RST_STREAM, by whom (client, balancer) and with which error; protocol_error by the \
     balancer is a malformed request.",
);
/// Connections that only made work.
pub const FLOODS: Family = counter(
    "lb_http2_floods_total",
    &["kind"],
    "HTTP/2 connections ended because they only made work: resets, control (frames that ask for nothing), library (its own \
     bounds).",
);
