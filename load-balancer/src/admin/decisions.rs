//! GET `/decisions`: what has happened to the pool and why, as a stream of server-sent events, or as JSON once.
//!
//! A reader that is slower than what happens is told how much it lost (`lost`) and goes on: nobody waits for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::watch;

use super::Admin;
use crate::observe::chronicle::Told;

/// Facts of the past that are told unless asked otherwise.
const LAST: usize = 100;
/// Between signs of life on a silent stream, so that proxies do not close it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a reader may ask for.
#[derive(Debug, Deserialize)]
pub(super) struct Wish {
    /// How many facts of the past to begin with.
    last: Option<usize>,
    /// `json`: those, and no stream.
    format: Option<String>,
}

/// The stream, or the list.
pub(super) async fn decisions(
    State(admin): State<Admin>,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let after = text(header::HeaderName::from_static("last-event-id")).and_then(|id| id.parse().ok());
    // Who comes back wants all that it has missed.
    let most = wish.last.unwrap_or(if after.is_some() { usize::MAX } else { LAST });
    let (past, live) = admin.chronicle.since(after.unwrap_or(0), most);
    let json = wish.format.as_deref() == Some("json")
        || text(header::ACCEPT).is_some_and(|accepted| accepted.contains("application/json"));
    if json {
        let facts: Vec<_> = past.iter().map(|told| told.json()).collect();
        return axum::Json(json!({ "facts": facts })).into_response();
    }
    Sse::new(Facts { past: past.into_iter(), live, draining: admin.draining }.stream())
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
        .into_response()
}

struct Facts {
    past: std::vec::IntoIter<Arc<Told>>,
    live: Receiver<Arc<Told>>,
    /// A stream that never ends must not hold up the end.
    draining: watch::Receiver<bool>,
}

impl Facts {
    fn stream(self) -> impl futures_util::Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(self, |mut facts| async {
            let event = match facts.past.next() {
                Some(told) => fact(&told),
                None => tokio::select! {
                    told = facts.live.recv() => match told {
                        Ok(told) => fact(&told),
                        Err(RecvError::Lagged(lost)) => {
                            Event::default().event("lost").data(lost.to_string())
                        }
                        Err(RecvError::Closed) => return None,
                    },
                    _ = facts.draining.wait_for(|&draining| draining) => return None,
                },
            };
            Some((Ok(event), facts))
        })
    }
}

fn fact(told: &Told) -> Event {
    Event::default().event("fact").id(told.number.to_string()).data(told.json().to_string())
}
