//! The shapes of answers that several routes share.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// `{"error": …}` with a status.
pub(crate) fn error(status: StatusCode, why: impl Into<String>) -> Response {
    (status, Json(json!({ "error": why.into() }))).into_response()
}

/// 400 with what was wrong and what would be right.
pub(crate) fn bad_request(why: impl Into<String>) -> Response {
    error(StatusCode::BAD_REQUEST, why)
}

/// 200 with JSON.
pub(crate) fn ok(value: Value) -> Response {
    Json(value).into_response()
}
