//! What balancers and monitors ask: `/health…`, and `/metrics` with its JSON twin `/stats`.
//!
//! `/healthy` and `/unhealthy` switch what `/health` and `/` say; `/heartbeat` and `/health_check` go on saying yes,
//! since they ask whether the process lives, not whether it wants work.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::reply;

/// The body of 503 when told to be unhealthy.
pub(super) const UNHEALTHY: &str = "Unhealthy";

/// Prometheus 3 refuses a scrape without exactly such a type.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn health_check() -> &'static str {
    "ok"
}

pub(super) async fn health(State(app): State<Arc<App>>) -> Response {
    if app.healthy() {
        reply::ok(json!({ "status": "healthy" }))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, UNHEALTHY).into_response()
    }
}

pub(super) async fn become_healthy(State(app): State<Arc<App>>) -> Response {
    app.set_healthy(true);
    (StatusCode::CREATED, "Healthy").into_response()
}

pub(super) async fn become_unhealthy(State(app): State<Arc<App>>) -> Response {
    app.set_healthy(false);
    (StatusCode::CREATED, UNHEALTHY).into_response()
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.meters.text() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

pub(super) async fn stats(State(app): State<Arc<App>>) -> Response {
    let (config, meters) = (&app.config, &app.meters);
    let (cpu_ratio, cpu_limit) = meters.cpu();
    let (memory_bytes, memory_limit, memory_ratio) = meters.memory();
    let codes: Map<String, Value> = meters.codes().map(|(code, count)| (code, count.into())).collect();
    let total: u64 = meters.codes().map(|(_, count)| count).sum();
    let (count, seconds) = (meters.duration.get_sample_count(), meters.duration.get_sample_sum());
    reply::ok(json!({
        "server": config.name,
        "region": config.region,
        "weight": config.weight,
        "healthy": app.healthy(),
        "uptime_seconds": app.begun.elapsed().as_secs_f64(),
        "cpu": { "usage_ratio": cpu_ratio, "limit_cores": cpu_limit },
        "memory": { "bytes": memory_bytes, "limit_bytes": memory_limit, "usage_ratio": memory_ratio },
        "connections": { "active": meters.connections.get(), "total": meters.connections_total.get() },
        "requests": { "in_flight": meters.in_flight.get(), "total": total, "by_code": codes },
        "latency": {
            "count": count,
            "sum_seconds": seconds,
            "mean_seconds": if count > 0 { seconds / count as f64 } else { 0.0 },
            "buckets": meters.buckets().iter().map(|(le, count)| json!({ "le": le, "count": count })).collect::<Vec<_>>(),
        },
    }))
}
