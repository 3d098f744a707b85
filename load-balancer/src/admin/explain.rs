//! GET `/explain/<request-id>`: why a request went where it went, from its decision record.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Admin;
use super::access::{self, Peer};

/// The record, or how to get one.
pub(super) async fn explain(
    State(admin): State<Admin>,
    peer: Peer,
    target: Uri,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let config = Arc::clone(&admin.registry.load().config);
    if let Err(denied) = access::may_look(&config.control, peer, &headers) {
        return admin.denials.answer(&config.control, (peer, &target, &headers), denied);
    }
    if let Some(entry) = admin.journal.find(&id) {
        return axum::Json(entry.json()).into_response();
    }
    let decisions = &config.decisions;
    let hint = format!(
        "no record of this request: {:.1} % of requests are recorded (decisions.record, decisions.sample), the last {} \
         are kept (decisions.keep), a request that is still on its way is not there yet; whoever may choose an algorithm \
         has a request recorded by sending the header x-lb-debug with it",
        decisions.share * 100.0,
        decisions.keep
    );
    let body = json!({ "message": "unknown request id", "hint": hint, "status": "failure" });
    (StatusCode::NOT_FOUND, axum::Json(body)).into_response()
}
