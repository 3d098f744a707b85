//! `/api/runs`: the list with its figures, and one run with its five charts, whole or between two moments.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shared;
use super::charts::Charts;
use super::library::Figures;
use crate::results::Run;

/// What part of a run is asked for: seconds since its beginning.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    from: Option<f64>,
    to: Option<f64>,
}

/// A run without its records.
#[derive(Serialize)]
struct Told<'a> {
    id: &'a str,
    title: &'a Option<String>,
    target: &'a str,
    started: f64,
    sending: &'a crate::results::Sending,
    clock: &'a Option<crate::results::ClockDifference>,
    summary: &'a crate::results::Summary,
}

/// Where runs are looked for, and all that were found.
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Response {
    blocking(move || {
        let listed = shared.library.list()?;
        let runs: Vec<Value> = listed.iter().map(|(id, figures)| listed_as(id, figures)).collect();
        Ok(json!({ "directory": shared.library.directory().display().to_string(), "runs": runs }))
    })
    .await
}

/// One run and its charts.
pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Query(part): Query<Part>,
) -> Response {
    blocking(move || {
        let run = shared.library.run(&id)?;
        let charts = Charts::of(&run.records, part.from, part.to);
        Ok(json!({ "run": told(&run), "charts": charts }))
    })
    .await
}

/// Reads and computes beside the requests of others; an error is an answer that says why.
async fn blocking(work: impl FnOnce() -> anyhow::Result<Value> + Send + 'static) -> Response {
    let failed = |status: StatusCode, why: String| (status, Json(json!({ "error": why }))).into_response();
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Json(value).into_response(),
        Ok(Err(why)) => failed(StatusCode::NOT_FOUND, format!("{why:#}")),
        Err(why) => failed(StatusCode::INTERNAL_SERVER_ERROR, why.to_string()),
    }
}

fn listed_as(id: &str, figures: &Figures) -> Value {
    match figures {
        Ok(run) => json!(told(run)),
        Err(why) => json!({ "id": id, "fault": why }),
    }
}

fn told(run: &Run) -> Told<'_> {
    let Run { id, title, target, started, sending, clock, summary, .. } = run;
    Told { id, title, target, started: *started, sending, clock, summary }
}
