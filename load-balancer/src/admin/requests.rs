//! GET `/requests/<id>`: the requests that a backend has answered lately, as `control.request_log` has them remembered.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::oneshot;

use super::Admin;
use super::membership::failure;
use crate::registry::Snapshot;
use crate::worker::{Command, Recent};

/// By the backend's name, or by which number it is in the pool's history.
pub(super) async fn requests(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let snapshot = admin.registry.load();
    let Some(backend) = find(&snapshot, &id) else { return unknown().await };
    let all = admin.recent(backend).await;
    let total: u64 = all.iter().map(|recent| recent.total).sum();
    let mut ids: Vec<_> = all.into_iter().flat_map(|recent| recent.ids).collect();
    // Each worker's are in order already; together they are cut to the newest.
    ids.sort_by_key(|(tick, _)| *tick);
    let skip = ids.len().saturating_sub(snapshot.config.control.request_log);
    let ids: Vec<&str> = ids.iter().skip(skip).map(|(_, id)| &**id).collect();
    axum::Json(json!({ "requests": ids, "status": "successful", "total": total })).into_response()
}

/// Nobody has this id.
pub(super) async fn unknown() -> Response {
    failure(StatusCode::NOT_FOUND, "Server ID not found")
}

fn find(snapshot: &Snapshot, id: &str) -> Option<u64> {
    let by_name = snapshot.backends.iter().position(|b| b.name == id);
    let number = || {
        let ordinal: u32 = id.parse().ok()?;
        snapshot.view.members().iter().position(|m| m.ordinal == ordinal)
    };
    by_name.or_else(number).map(|at| snapshot.backends[at].id)
}

impl Admin {
    /// What each worker remembers of a backend.
    async fn recent(&self, backend: u64) -> Vec<Recent> {
        let ask = |worker: &tokio::sync::mpsc::UnboundedSender<Command>| {
            let (reply, answer) = oneshot::channel();
            worker.send(Command::Recent { backend, reply }).ok().map(|()| answer)
        };
        let asked: Vec<_> = self.workers.iter().filter_map(ask).collect();
        let mut all = Vec::new();
        for answer in asked {
            // A worker that has ended remembers nothing.
            all.extend(answer.await.ok());
        }
        all
    }
}
