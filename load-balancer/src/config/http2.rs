//! HTTP/2: who may speak it, and how much of it at once.

/// What is taken of HTTP/2 from clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Http2 {
    /// Whether it is spoken at all.
    pub enabled: bool,
    /// Streams at once on one connection.
    pub streams: u32,
    /// Streams a second that may end by a reset on one connection; four times that at once.
    pub resets: u32,
    /// Frames a second that ask for nothing, on one connection; five times that at once.
    pub control_frames: u32,
}

/// What is spoken with backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.1, one request at once on a connection.
    Http1,
    /// HTTP/2: where there is TLS by ALPN, else with prior knowledge.
    Http2,
}
