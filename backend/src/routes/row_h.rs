//! Row H, the hash balancer's server: `/request?request_id=` says which server got which request.
//!
//! How it fails: without an id, or with an empty one, 400 in row H's own shape.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use crate::app::App;
use crate::reply;

#[derive(Debug, Deserialize)]
pub(super) struct Named {
    request_id: Option<String>,
}

pub(super) async fn request(State(app): State<Arc<App>>, Query(named): Query<Named>) -> Response {
    let Some(id) = named.request_id.filter(|id| !id.is_empty()) else {
        let missing = json!({
            "message": "<Error> request_id is missing; send /request?request_id=1",
            "status": "failure",
        });
        return (StatusCode::BAD_REQUEST, Json(missing)).into_response();
    };
    reply::ok(json!({
        "message": format!("Request {id} handled by Server: {}", app.config.name),
        "request_id": id,
        "server": app.config.name,
        "status": "successful",
    }))
}
