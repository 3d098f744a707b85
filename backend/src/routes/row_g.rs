//! Row G, the adaptive balancer's server: `/` says who answers, from where, and by whose choice.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::probe::UNHEALTHY;
use crate::app::App;

/// Header by which the balancer tells which algorithm chose this server.
const ALGORITHM: &str = "x-lb-algorithm";

pub(super) async fn greeting(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    if !app.healthy() {
        return (StatusCode::SERVICE_UNAVAILABLE, UNHEALTHY).into_response();
    }
    // Text that is not printable ASCII is not an algorithm's name.
    let algorithm = headers.get(ALGORITHM).and_then(|value| value.to_str().ok()).unwrap_or("-");
    let (name, region) = (&app.config.name, &app.config.region);
    format!("Hello from {name}, region {region}, algorithm {algorithm}\n").into_response()
}
