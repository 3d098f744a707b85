//! Row A, the assignment's server: `/home` and `/heartbeat`.
//!
//! Both are what load tests call most, so they touch neither heap nor JSON: the front calls them without the router,
//! which has them as well for the sake of other methods (405) and completeness.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use crate::app::App;

/// Who answers; the body was rendered at start.
#[must_use]
pub(crate) fn home(app: &App) -> Response {
    let mut response = Response::new(Body::from(app.home.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Alive: 200, empty.
#[must_use]
pub(crate) fn heartbeat() -> Response {
    Response::new(Body::empty())
}

pub(super) async fn home_route(State(app): State<Arc<App>>) -> Response {
    home(&app)
}

pub(super) async fn heartbeat_route() -> Response {
    heartbeat()
}
