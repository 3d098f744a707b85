//! The map from paths to the files that answer them, one file for each of the systems this service stands in for
//! (rows A, F, G, H, P of the contracts), and `probe`, `lab` and `wire` for what all of them share.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::{any, get};

use crate::app::App;
use crate::reply;

mod lab;
mod probe;
pub(crate) mod row_a;
mod row_f;
mod row_g;
mod row_h;
mod row_p;
mod wire;

/// Largest body that a route holds in memory, bytes: only `/fault` does, and five fields fit well. `/echo` streams.
const BODY_MAX: usize = 16 * 1024;

/// Every route. Axum answers HEAD wherever GET is routed.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(row_g::greeting))
        .route("/home", get(row_a::home_route))
        .route("/heartbeat", get(row_a::heartbeat_route))
        .route("/bench", get(row_f::bench))
        .route("/bench10", get(row_f::bench10))
        .route("/bench50", get(row_f::bench50))
        .route("/bench500", get(row_f::bench500))
        .route("/is_prime/{n}", get(row_p::is_prime))
        .route("/request", get(row_h::request))
        .route("/health_check", get(probe::health_check))
        .route("/health", get(probe::health))
        .route("/healthy", get(probe::become_healthy).post(probe::become_healthy))
        .route("/unhealthy", get(probe::become_unhealthy).post(probe::become_unhealthy))
        .route("/metrics", get(probe::metrics))
        .route("/stats", get(probe::stats))
        .route("/fault", get(lab::show).post(lab::change).delete(lab::clear))
        .route("/echo", any(wire::echo::echo))
        .route("/echo/{*rest}", any(wire::echo::echo))
        .route("/bytes/{n}", get(wire::stream::bytes))
        .route("/sse", get(wire::stream::events))
        .route("/trailers", get(wire::stream::trailers))
        .route("/ws", get(wire::socket::echo))
        .route("/status/{code}", any(wire::echo::status))
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(app)
}

async fn nothing_here(uri: Uri) -> Response {
    reply::error(StatusCode::NOT_FOUND, format!("this server has no {}", uri.path()))
}
