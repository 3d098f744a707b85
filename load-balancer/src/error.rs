//! What the balancer answers when it cannot answer with a backend's words: one table of status, reason and retry.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use hyper::StatusCode;

/// Why a request was not proxied, or not to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is malformed or asks for something that does not exist here.
    BadRequest,
    /// Two programs could see different ends of the request: framing is refused unless it is beyond doubt.
    AmbiguousFraming,
    /// A chunk of the body is malformed.
    BadChunk,
    /// A trailer says what only a head may say.
    ForbiddenTrailer,
    /// A transfer coding that nobody here takes off.
    UnknownCoding,
    /// The request target is not one that is proxied, or holds bytes that must be escaped.
    BadTarget,
    /// The host is missing, malformed or said twice differently.
    BadHost,
    /// The path is not one of `pool.allowed_paths`.
    PathNotAllowed,
    /// `?algo=` or `x-lb-algo` from a client that may not choose.
    AlgorithmNotAllowed,
    /// The method is not proxied (CONNECT, TRACE).
    MethodNotAllowed,
    /// The request did not arrive in time.
    RequestTimeout,
    /// The body exceeds `limits.body_bytes`.
    BodyTooLarge,
    /// The target exceeds `limits.target_bytes`.
    TargetTooLong,
    /// The head exceeds `limits.header_bytes` or `limits.headers`.
    HeadersTooLarge,
    /// A rate limit is reached.
    RateLimited,
    /// No backend is eligible.
    NoBackend,
    /// Every backend has as many requests as it may, and enough wait already.
    QueueFull,
    /// The same, and none had room in time.
    QueueTimeout,
    /// As many requests are in flight as may be.
    Shed,
    /// The process has as much memory in use as it may, and requests enough in flight.
    Memory,
    /// There is no file descriptor left for a connection to a backend.
    NoDescriptors,
    /// A connection to the backend was refused or reset before it answered.
    UpstreamConnect,
    /// The backend's TLS cannot be spoken, or its certificate is not believed.
    UpstreamTls,
    /// Connecting took longer than `timeouts.connect`.
    UpstreamConnectTimeout,
    /// The backend closed or broke the connection before its response head was complete.
    UpstreamReset,
    /// The backend's answer is not HTTP.
    UpstreamProtocol,
    /// No response head within `timeouts.first_byte`.
    FirstByteTimeout,
    /// The exchange took longer than `timeouts.total`.
    TotalTimeout,
    /// Something failed inside the balancer.
    Internal,
}

/// A request's failure: its kind, and words for whoever has to mend it.
#[derive(Debug, Clone)]
pub struct ProxyError {
    /// Which row of the table.
    pub kind: Kind,
    /// What to tell beyond the kind's own message; for a bad request this *is* the message.
    pub detail: Cow<'static, str>,
    /// The rate limit that was reached, where that is why.
    pub quota: Option<Box<Quota>>,
}

/// A rate limit that was reached, as its client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// The limit's name.
    pub name: String,
    /// Requests at once.
    pub burst: u32,
    /// The time in which so many are allowed again.
    pub window: Duration,
    /// How long until one is.
    pub wait: Duration,
}

impl ProxyError {
    /// An error of `kind`, explained by `detail`.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        ProxyError { kind, detail: detail.into(), quota: None }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.reason(), self.detail)
    }
}

impl std::error::Error for ProxyError {}

impl Kind {
    /// Every kind, for metrics that start at zero.
    pub const ALL: [Kind; 29] = [
        Kind::BadRequest,
        Kind::AmbiguousFraming,
        Kind::BadChunk,
        Kind::ForbiddenTrailer,
        Kind::UnknownCoding,
        Kind::BadTarget,
        Kind::BadHost,
        Kind::PathNotAllowed,
        Kind::AlgorithmNotAllowed,
        Kind::MethodNotAllowed,
        Kind::RequestTimeout,
        Kind::BodyTooLarge,
        Kind::TargetTooLong,
        Kind::HeadersTooLarge,
        Kind::RateLimited,
        Kind::NoBackend,
        Kind::QueueFull,
        Kind::QueueTimeout,
        Kind::Shed,
        Kind::Memory,
        Kind::NoDescriptors,
        Kind::UpstreamConnect,
        Kind::UpstreamTls,
        Kind::UpstreamConnectTimeout,
        Kind::UpstreamReset,
        Kind::UpstreamProtocol,
        Kind::FirstByteTimeout,
        Kind::TotalTimeout,
        Kind::Internal,
    ];

    /// Those after which a request may be made again.
    pub const RETRIED: [&'static str; 6] = [
        Kind::UpstreamConnect.reason(),
        Kind::UpstreamTls.reason(),
        Kind::UpstreamConnectTimeout.reason(),
        Kind::UpstreamReset.reason(),
        Kind::UpstreamProtocol.reason(),
        Kind::STATUS,
    ];

    /// The label `reason` of a retry because of an answer's status.
    pub const STATUS: &'static str = "upstream_status";
    /// The label `reason` where the client left first.
    pub const CLIENT_CLOSED: &'static str = "client_closed";
    /// The label `reason` where the balancer cut a connection that made no progress.
    pub const CUT: &'static str = "timeout";

    /// Every value of the label `reason` of requests that were not proxied to the end.
    #[must_use]
    pub fn aborts() -> Vec<&'static str> {
        Kind::ALL.into_iter().map(Kind::reason).chain([Kind::CLIENT_CLOSED, Kind::CUT]).collect()
    }

    /// The status a client gets.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.row().0
    }

    /// The value of the metric label `reason`.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.row().1
    }

    /// The `error` text of the JSON body; a bad request is told its own fault instead.
    #[must_use]
    pub const fn message(self) -> &'static str {
        self.row().2
    }

    /// Whether the balancer must close the client's connection after answering: what follows on it cannot be trusted,
    /// or may be an endless body.
    #[must_use]
    pub const fn closes(self) -> bool {
        matches!(
            self,
            Kind::RequestTimeout
                | Kind::BodyTooLarge
                | Kind::HeadersTooLarge
                | Kind::TargetTooLong
                | Kind::BadTarget
                | Kind::BadHost
                | Kind::MethodNotAllowed
        )
    }

    /// Whether the client spoilt an attempt, which then says nothing about its backend.
    #[must_use]
    pub const fn blames_client(self) -> bool {
        matches!(
            self,
            Kind::BodyTooLarge
                | Kind::RequestTimeout
                | Kind::BadRequest
                | Kind::BadChunk
                | Kind::ForbiddenTrailer
                | Kind::AmbiguousFraming
        )
    }

    /// Whether the message is the detail itself, because the client can act on it.
    #[must_use]
    pub const fn tells_detail(self) -> bool {
        matches!(
            self,
            Kind::BadRequest
                | Kind::AmbiguousFraming
                | Kind::BadChunk
                | Kind::ForbiddenTrailer
                | Kind::UnknownCoding
                | Kind::BadTarget
                | Kind::BadHost
                | Kind::PathNotAllowed
                | Kind::AlgorithmNotAllowed
                | Kind::MethodNotAllowed
                | Kind::BodyTooLarge
                | Kind::TargetTooLong
                | Kind::HeadersTooLarge
        )
    }

    const fn row(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Kind::BadRequest => (StatusCode::BAD_REQUEST, "bad_request", "Bad request"),
            Kind::AmbiguousFraming => (StatusCode::BAD_REQUEST, "ambiguous_framing", "Ambiguous framing"),
            Kind::BadChunk => (StatusCode::BAD_REQUEST, "bad_chunk", "Malformed chunk"),
            Kind::ForbiddenTrailer => (StatusCode::BAD_REQUEST, "forbidden_trailer", "Forbidden trailer"),
            Kind::UnknownCoding => (StatusCode::NOT_IMPLEMENTED, "unknown_coding", "Unknown transfer coding"),
            Kind::BadTarget => (StatusCode::BAD_REQUEST, "bad_target", "Bad request target"),
            Kind::BadHost => (StatusCode::BAD_REQUEST, "bad_host", "Bad host"),
            Kind::PathNotAllowed => (StatusCode::BAD_REQUEST, "path_not_allowed", "No such path"),
            Kind::AlgorithmNotAllowed => {
                (StatusCode::FORBIDDEN, "algorithm_not_allowed", "Choosing the algorithm is not allowed")
            }
            Kind::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed")
            }
            Kind::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout", "Request timeout"),
            Kind::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "Body too large"),
            Kind::TargetTooLong => (StatusCode::URI_TOO_LONG, "target_too_long", "Request target too long"),
            Kind::HeadersTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "Request headers too large",
            ),
            Kind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
            Kind::NoBackend => (StatusCode::SERVICE_UNAVAILABLE, "no_backend", "No backend available"),
            Kind::QueueFull => (StatusCode::SERVICE_UNAVAILABLE, "queue_full", "All backends are busy"),
            Kind::QueueTimeout => (StatusCode::SERVICE_UNAVAILABLE, "queue_timeout", "All backends are busy"),
            Kind::Shed => (StatusCode::SERVICE_UNAVAILABLE, "shed", "Too many requests in flight"),
            Kind::Memory => (StatusCode::SERVICE_UNAVAILABLE, "memory", "Out of resources"),
            Kind::NoDescriptors => (StatusCode::SERVICE_UNAVAILABLE, "no_descriptors", "Out of resources"),
            Kind::UpstreamConnect => (StatusCode::BAD_GATEWAY, "upstream_connect", "Backend unreachable"),
            Kind::UpstreamTls => (StatusCode::BAD_GATEWAY, "upstream_tls", "Backend unreachable"),
            Kind::UpstreamConnectTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, "upstream_connect_timeout", "Backend timeout")
            }
            Kind::UpstreamReset => {
                (StatusCode::BAD_GATEWAY, "upstream_reset", "Backend closed the connection")
            }
            Kind::UpstreamProtocol => {
                (StatusCode::BAD_GATEWAY, "upstream_protocol", "Backend sent an invalid response")
            }
            Kind::FirstByteTimeout => (StatusCode::GATEWAY_TIMEOUT, "first_byte_timeout", "Backend timeout"),
            Kind::TotalTimeout => (StatusCode::GATEWAY_TIMEOUT, "total_timeout", "Backend timeout"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_distinct_and_contracted_texts_hold() {
        let reasons: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|k| k.reason()).collect();
        assert_eq!(reasons.len(), Kind::ALL.len());
        assert_eq!(
            (Kind::NoBackend.status().as_u16(), Kind::NoBackend.message()),
            (503, "No backend available")
        );
        for kind in [Kind::FirstByteTimeout, Kind::TotalTimeout, Kind::UpstreamConnectTimeout] {
            assert_eq!((kind.status().as_u16(), kind.message()), (504, "Backend timeout"));
        }
        for kind in [Kind::UpstreamConnect, Kind::UpstreamTls, Kind::UpstreamReset, Kind::UpstreamProtocol] {
            assert_eq!(kind.status().as_u16(), 502);
        }
    }
}
