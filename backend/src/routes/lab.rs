//! `/fault`: GET shows, POST changes the fields it names, DELETE sets all back.
//!
//! Off unless the server was started with it, since it lets any caller break the server; then 404 says how to turn it
//! on. How it fails: bad input is 400 with the field and the fix, and changes nothing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use crate::app::App;
use crate::fault::Faults;
use crate::reply;

pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    app.faults.as_ref().map_or_else(off, current)
}

pub(super) async fn change(State(app): State<Arc<App>>, body: Bytes) -> Response {
    app.faults.as_ref().map_or_else(off, |faults| match faults.change(&body) {
        Ok(fault) => {
            tracing::warn!(?fault, "fault set");
            Json(fault).into_response()
        }
        Err(why) => reply::bad_request(why),
    })
}

pub(super) async fn clear(State(app): State<Arc<App>>) -> Response {
    app.faults.as_ref().map_or_else(off, |faults| {
        faults.clear();
        current(faults)
    })
}

fn current(faults: &Faults) -> Response {
    Json(faults.current()).into_response()
}

fn off() -> Response {
    reply::error(
        StatusCode::NOT_FOUND,
        "faults are off; start the server with --fault or FAULT=1 to turn them on",
    )
}
