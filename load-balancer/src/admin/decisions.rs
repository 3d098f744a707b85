//! GET `/decisions`: what has happened to the pool and why (`facts`), and why requests went where they went
//! (`requests`), as a stream of server-sent events, or as JSON once.
//!
//! A reader that is slower than what happens is told how much it lost (`lost`) and goes on: nobody waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::watch;

use super::Admin;
use super::access::{self, Peer};
use super::membership::failure;
use crate::journal::Entry;
use crate::observe::chronicle::Told;
use crate::registry::Snapshot;
use crate::stage::Stage;

/// Facts, and requests, of the past that are told unless asked otherwise.
const LAST: usize = 100;
/// Most requests of the past that are told at once: a record of a large pool is 50 kB of JSON, and making it takes the
/// control thread's time.
const MOST: usize = 500;
/// Between signs of life on a silent stream, so that proxies do not close it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a reader may ask for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    /// How many of the past to begin with.
    last: Option<usize>,
    /// `json`: those, and no stream.
    format: Option<String>,
    /// Every number of each pick's record, and the views they were made over: for making them again elsewhere.
    #[serde(default)]
    exact: bool,
    /// `facts`, `requests` or `all`.
    what: Option<What>,
    /// Only what is about this backend.
    backend: Option<String>,
    /// Only requests that this algorithm decided.
    algorithm: Option<String>,
    /// Only requests that ended with this status.
    code: Option<u16>,
    /// Only facts of this kind.
    kind: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum What {
    #[default]
    Facts,
    Requests,
    All,
}

impl Wish {
    fn facts(&self) -> bool {
        self.what.unwrap_or_default() != What::Requests
    }

    fn requests(&self) -> bool {
        self.what.unwrap_or_default() != What::Facts
    }

    fn wants_fact(&self, told: &Told) -> bool {
        let about = self.backend.as_deref().is_none_or(|name| told.fact.backend() == Some(name));
        about && self.kind.as_deref().is_none_or(|kind| told.fact.kind() == kind)
    }

    fn wants_request(&self, entry: &Entry) -> bool {
        let about = |name| entry.choices.iter().any(|choice| choice.backend(&entry.snapshot) == Some(name));
        self.backend.as_deref().is_none_or(about)
            && self.algorithm.as_deref().is_none_or(|name| entry.algorithm.name() == name)
            && self.code.is_none_or(|code| entry.code == code)
    }
}

/// The stream, or the list.
pub(super) async fn decisions(
    State(admin): State<Admin>,
    peer: Peer,
    target: Uri,
    wish: Result<Query<Wish>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let wish = match wish {
        Ok(Query(wish)) => wish,
        Err(why) => {
            let hint = "known: last, format=json, exact=true, what=facts|requests|all, backend, algorithm, code, kind";
            let body = json!({ "message": why.body_text(), "hint": hint, "status": "failure" });
            return (StatusCode::BAD_REQUEST, axum::Json(body)).into_response();
        }
    };
    if wish.requests() {
        let control = &admin.registry.load().config.control;
        // What will be drawn next, and clients' keys, are for those who may change something.
        let may = if wish.exact {
            access::may_change(control, peer, &headers).map(drop)
        } else {
            access::may_look(control, peer, &headers)
        };
        if let Err(denied) = may {
            return admin.denials.answer(control, (peer, &target, &headers), denied);
        }
        if wish.last.is_some_and(|last| last > MOST) {
            let message = format!("last: at most {MOST} requests are told at once");
            return failure(StatusCode::BAD_REQUEST, &message);
        }
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let after = text(header::HeaderName::from_static("last-event-id")).and_then(|id| id.parse().ok());
    // Who comes back wants all that it has missed.
    let most = wish.last.unwrap_or(if after.is_some() { usize::MAX } else { LAST });
    let (facts, live_facts) = admin.chronicle.since(after.unwrap_or(0), usize::MAX);
    let facts = facts.into_iter().filter(|told| wish.facts() && wish.wants_fact(told));
    let facts = last(facts.collect(), most);
    // Who does not listen must not keep records: the buffer for listeners holds on to them.
    let (entries, live_entries) = wish.requests().then(|| admin.journal.all()).unzip();
    let entries = entries.unwrap_or_default().into_iter().filter(|entry| wish.wants_request(entry));
    let entries = last(entries.collect(), wish.last.unwrap_or(LAST));
    let json = wish.format.as_deref() == Some("json")
        || text(header::ACCEPT).is_some_and(|accepted| accepted.contains("application/json"));
    if json {
        let mut body = serde_json::Map::new();
        if wish.facts() {
            body.insert("facts".into(), facts.iter().map(|told| told.json()).collect());
        }
        if wish.requests() {
            let told = |entry: &Arc<Entry>| if wish.exact { entry.exact() } else { entry.json() };
            body.insert("requests".into(), entries.iter().map(told).collect());
        }
        if wish.exact {
            let views: BTreeMap<u64, &Snapshot> =
                entries.iter().map(|entry| (entry.snapshot.epoch, &*entry.snapshot)).collect();
            body.insert("views".into(), views.into_values().map(Snapshot::exact).collect());
        }
        return axum::Json(body).into_response();
    }
    if wish.exact {
        return failure(StatusCode::BAD_REQUEST, "exact records come with format=json, not as a stream");
    }
    let mut past: VecDeque<News> = facts.into_iter().map(News::Fact).collect();
    past.extend(entries.into_iter().map(News::Request));
    let stream = Stream { past, wish, live_facts, live_entries, stage: admin.stage };
    Sse::new(stream.stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

fn last<T>(mut all: Vec<T>, most: usize) -> Vec<T> {
    all.drain(..all.len().saturating_sub(most));
    all
}

/// What is still to be told.
enum News {
    Fact(Arc<Told>),
    Request(Arc<Entry>),
}

struct Stream {
    past: VecDeque<News>,
    wish: Wish,
    live_facts: Receiver<Arc<Told>>,
    /// Where requests are wanted.
    live_entries: Option<Receiver<Arc<Entry>>>,
    /// A stream that never ends must not hold up the end.
    stage: watch::Receiver<Stage>,
}

impl Stream {
    fn stream(self) -> impl futures_util::Stream<Item = Result<Event, Infallible>> {
        futures_util::stream::unfold(self, |mut stream| async {
            let event = stream.next().await?;
            Some((Ok(event), stream))
        })
    }

    /// The next event that is wanted; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        match self.past.pop_front() {
            Some(News::Fact(told)) => return Some(fact(&told)),
            Some(News::Request(entry)) => return Some(request(&entry)),
            None => {}
        }
        loop {
            let event = tokio::select! {
                told = self.live_facts.recv(), if self.wish.facts() => {
                    heard(told)?.map(|told| self.wish.wants_fact(&told).then(|| fact(&told)))
                }
                entry = next_entry(&mut self.live_entries) => {
                    heard(entry)?.map(|entry| self.wish.wants_request(&entry).then(|| request(&entry)))
                }
                _ = self.stage.wait_for(|&stage| stage == Stage::Draining) => return None,
            };
            match event {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(lost) => return Some(Event::default().event("lost").data(lost.to_string())),
            }
        }
    }
}

/// The next record; never, where none is wanted.
async fn next_entry(live: &mut Option<Receiver<Arc<Entry>>>) -> Result<Arc<Entry>, RecvError> {
    match live {
        Some(live) => live.recv().await,
        None => std::future::pending().await,
    }
}

/// What was heard, or how much was lost; `None` where there will be nothing more.
fn heard<T>(received: Result<T, RecvError>) -> Option<Result<T, u64>> {
    match received {
        Ok(heard) => Some(Ok(heard)),
        Err(RecvError::Lagged(lost)) => Some(Err(lost)),
        Err(RecvError::Closed) => None,
    }
}

fn fact(told: &Told) -> Event {
    Event::default().event("fact").id(told.number.to_string()).data(told.json().to_string())
}

fn request(entry: &Entry) -> Event {
    Event::default().event("request").data(entry.json().to_string())
}
