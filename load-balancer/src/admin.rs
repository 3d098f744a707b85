//! The operators' side: metrics, health, membership and what has happened, on its own listener, and on the traffic port
//! where configured.
//!
//! The listener is on loopback by default, and `serve` answers there only who may read; what changes something passes
//! `access` first, and is told to the audit log by `membership`. Bodies and answers are bounded; nothing here is on a
//! request's way to a backend.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::control;
use crate::event::Event;
use crate::journal::Journal;
use crate::observe::{Chronicle, Metrics};
use crate::registry::Registry;
use crate::stage::Stage;
use crate::worker::Command;

mod access;
mod decisions;
mod denied;
mod explain;
pub(crate) mod membership;
pub(crate) mod registration;
mod requests;
mod serve;

pub use access::Peer;
pub use denied::Denials;
pub use serve::{Served, serve};

/// Paths that the admin router owns; on the traffic port they hide backends' paths of the same name.
const PATHS: [&str; 8] = ["/metrics", "/health", "/ready", "/rep", "/add", "/rm", "/server_up", "/decisions"];
/// Those that have more below them.
const BELOW: [&str; 2] = ["/requests/", "/explain/"];
/// How long a scrape waits for the workers' buffers. A worker that is busier than that is up to a second behind.
const FLUSH_WAIT: Duration = Duration::from_millis(250);
/// What Prometheus 3 insists on.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Largest body of a control request, bytes: a thousand names.
const BODY_MOST: usize = 64 << 10;

/// Whether a path belongs to the admin router.
#[must_use]
pub fn owns(path: &str) -> bool {
    PATHS.contains(&path) || BELOW.iter().any(|above| path.starts_with(above))
}

/// Whether a path changes something.
fn changes(path: &str) -> bool {
    membership::CHANGING.contains(&path)
}

/// What the admin endpoints read.
#[derive(Clone)]
pub struct Admin {
    /// The metric families.
    pub metrics: Arc<Metrics>,
    /// The current snapshot.
    pub registry: Arc<Registry>,
    /// The one clock.
    pub clock: Clock,
    /// The way to each worker.
    pub workers: Arc<[mpsc::UnboundedSender<Command>]>,
    /// How far the end has come.
    pub stage: watch::Receiver<Stage>,
    /// The way to the control task.
    pub events: mpsc::UnboundedSender<Event>,
    /// What has happened to the pool.
    pub chronicle: Arc<Chronicle>,
    /// Why requests went where they went.
    pub journal: Arc<Journal>,
    /// Who was allowed to see nothing.
    pub denials: Arc<Denials>,
    /// Where this balancer listens itself: no place for a backend.
    pub listening: Vec<SocketAddr>,
}

/// The admin endpoints.
pub fn router(admin: Admin) -> Router {
    for endpoint in membership::CHANGING {
        admin.metrics.control_requests.with_label_values(&[endpoint, "200"]);
    }
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(|| async { "OK" }))
        .route("/ready", get(ready))
        .route("/rep", get(membership::list))
        .route("/add", post(membership::add))
        .route("/rm", post(membership::remove).delete(membership::remove))
        .route("/server_up", post(membership::server_up))
        .route("/requests/", get(requests::unknown))
        .route("/requests/{*id}", get(requests::requests))
        .route("/decisions", get(decisions::decisions))
        .route("/explain/{id}", get(explain::explain))
        .with_state(admin)
}

async fn metrics(State(admin): State<Admin>) -> Response {
    admin.flush().await;
    control::publish_loads(&admin.registry.load(), &admin.metrics, &admin.clock);
    match admin.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// 200 while new requests are welcome: not told to stop, and at least one backend eligible.
async fn ready(State(admin): State<Admin>, peer: Peer) -> Response {
    let snapshot = admin.registry.load();
    let eligible = snapshot.view.eligible().len();
    // Names and paths of what is asked are for operators.
    let trouble = snapshot.trouble.as_ref().filter(|_| !peer.on_traffic_port);
    let trouble = trouble.map(|trouble| format!("; {trouble}")).unwrap_or_default();
    // Where a successor listens this address is as ready as before: whoever still asks here came a moment too early.
    if matches!(*admin.stage.borrow(), Stage::Leaving | Stage::Draining) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    } else if eligible == 0 {
        (StatusCode::SERVICE_UNAVAILABLE, format!("no eligible backend{trouble}\n")).into_response()
    } else {
        format!("ready: {eligible} eligible backends{trouble}\n").into_response()
    }
}

impl Admin {
    /// Has every worker add its buffers to the shared families.
    async fn flush(&self) {
        let asked: Vec<_> = self
            .workers
            .iter()
            .filter_map(|worker| {
                let (done, answer) = oneshot::channel();
                worker.send(Command::Flush(done)).ok().map(|()| answer)
            })
            .collect();
        let all = async {
            for answer in asked {
                // A worker that has ended has flushed on its way out.
                let _ = answer.await;
            }
        };
        if tokio::time::timeout(FLUSH_WAIT, all).await.is_err() {
            tracing::warn!(
                "a worker did not flush its metrics in time: this scrape is up to a second behind"
            );
        }
    }
}
