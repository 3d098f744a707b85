//! The balancer's own answers: JSON with a request id, and with the reason for those who may ask.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::headers;
use crate::clock;
use crate::error::{Kind, ProxyError, Quota};
use crate::forward::{Body, Exchange};
use crate::worker::Worker;

/// Seconds after which a client may find a backend again: about the interval between checks of a doubtful backend.
const RETRY_AFTER: &str = "1";

/// The response for `error`. With `explain` it tells the reason, the algorithm, and how far the request got.
#[must_use]
pub fn response(error: &ProxyError, id: &HeaderValue, explain: Option<&Exchange>) -> Response<Body> {
    let mut fields = fields(error, id);
    if let Some(exchange) = explain {
        fields.insert(
            "reason".into(),
            json!({
                "kind": error.kind.reason(),
                "detail": error.detail,
                "algorithm": exchange.algorithm.map(lb_core::Algorithm::name),
                "attempts": exchange.attempts,
                "backend": exchange.backend.as_ref().map(|lane| lane.backend.name.as_str()),
            }),
        );
    }
    let mut response = Response::new(Body::Full(Some(Value::Object(fields).to_string().into())));
    *response.status_mut() = error.kind.status();
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.insert(headers::REQUEST_ID, id.clone());
    if let Ok(date) = HeaderValue::from_str(&clock::http_date()) {
        head.insert(header::DATE, date);
    }
    if error.kind.status() == StatusCode::SERVICE_UNAVAILABLE {
        head.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    if let Some(quota) = &error.quota {
        tell_quota(head, quota);
    }
    if error.kind == Kind::MethodNotAllowed {
        head.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    if error.kind.closes() {
        head.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// When to come again (RFC 9110, 10.2.3), and how much may be asked for then (`draft-ietf-httpapi-ratelimit-headers-10`).
fn tell_quota(head: &mut header::HeaderMap, quota: &Quota) {
    let seconds = |time: Duration| time.as_nanos().div_ceil(1_000_000_000).max(1);
    let (name, wait) = (&quota.name, seconds(quota.wait));
    let fields = [
        (header::RETRY_AFTER, wait.to_string()),
        (headers::RATE_LIMIT, format!("\"{name}\";r=0;t={wait}")),
        (headers::RATE_LIMIT_POLICY, format!("\"{name}\";q={};w={}", quota.burst, seconds(quota.window))),
    ];
    for (field, text) in fields {
        if let Ok(value) = HeaderValue::from_str(&text) {
            head.insert(field, value);
        }
    }
}

/// The same as bytes, for connections on which no request came to be: counted here, since no exchange will.
#[must_use]
pub fn on_the_wire(worker: &Worker, error: &ProxyError) -> Bytes {
    worker.meters.aborted(error.kind.reason());
    let status = error.kind.status();
    worker.meters.answered(
        None,
        crate::observe::local::method_index(""),
        status.as_u16(),
        std::time::Duration::ZERO,
    );
    let id = headers::new_request_id(&mut worker.rng.borrow_mut());
    let body = Value::Object(fields(error, &id)).to_string();
    let reason = status.canonical_reason().unwrap_or("Error");
    let id = id.to_str().unwrap_or_default();
    Bytes::from(format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\ndate: {}\r\n\
         x-request-id: {id}\r\nconnection: close\r\n\r\n{body}",
        status.as_u16(),
        body.len(),
        clock::http_date(),
    ))
}

fn fields(error: &ProxyError, id: &HeaderValue) -> Map<String, Value> {
    let message = if error.kind.tells_detail() { &*error.detail } else { error.kind.message() };
    let mut fields = Map::new();
    if error.kind == Kind::PathNotAllowed {
        // Contracted: the id is in its header alone.
        fields.insert("message".into(), message.into());
        fields.insert("status".into(), "failure".into());
        return fields;
    }
    fields.insert("error".into(), message.into());
    fields.insert("request_id".into(), id.to_str().unwrap_or_default().into());
    fields
}
