//! `/api/live`: a balancer at work, as server-sent events. Its own stream of facts and requests is passed on, and once a
//! second what its metrics say about each backend.
//!
//! Each viewer has a connection of its own to the balancer, which begins and ends with the page: nobody watches when nobody
//! looks. A page can read some requests a second, not thousands: the rest are counted.
//! How it fails: a balancer that is away, or says no, is told to the page with the reason, and is tried again.

mod admin;
mod figures;
mod news;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::Shared;
pub(super) use admin::Admin;
use figures::Figures;
use news::{Item, News};

/// Between two looks at the metrics.
const LOOK: Duration = Duration::from_secs(1);
/// Before a balancer that was away is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Requests that are passed on between two looks: what a person can follow, with some to choose from.
const REQUESTS: usize = 20;

/// One viewer's stream.
struct Viewer {
    shared: Arc<Shared>,
    news: Option<News>,
    figures: Figures,
    look: Interval,
    /// Requests passed on, and not, since the last look.
    shown: usize,
    skipped: u64,
    /// What is still to be sent.
    pending: Vec<Event>,
    /// It was said that the balancer is away, and why.
    away: Option<String>,
    _seat: OwnedSemaphorePermit,
}

/// Begins a stream.
pub(super) async fn stream(State(shared): State<Arc<Shared>>) -> Response {
    let Some(seat) = shared.admin.seat() else {
        let why = json!({ "error": "too many pages watch already: close one" });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(why)).into_response();
    };
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let viewer = Viewer {
        shared,
        news: None,
        figures: Figures::default(),
        look,
        shown: 0,
        skipped: 0,
        pending: Vec::new(),
        away: None,
        _seat: seat,
    };
    let events = futures_util::stream::unfold(viewer, |mut viewer| async {
        let event = viewer.next().await;
        Some((Ok::<_, Infallible>(event), viewer))
    });
    // Every second something is sent, so that a page that has gone is noticed and nothing is needed to keep it alive.
    Sse::new(events).into_response()
}

impl Viewer {
    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.pending.pop() {
                return event;
            }
            let Some(news) = &mut self.news else {
                return self.connect().await;
            };
            let item = tokio::select! {
                item = news.next() => item,
                _ = self.look.tick() => {
                    match self.look_at_metrics().await {
                        Ok(event) => return event,
                        Err(why) => Err(why),
                    }
                }
            };
            match item {
                Ok(Item { kind, data }) if kind == "request" => {
                    if self.shown < REQUESTS {
                        self.shown += 1;
                        return Event::default().event(kind).data(data);
                    }
                    self.skipped += 1;
                }
                // The balancer had more to tell than this connection took.
                Ok(Item { kind, data }) if kind == "lost" => {
                    self.skipped += data.parse::<u64>().unwrap_or_default();
                }
                Ok(Item { kind, data }) => return Event::default().event(kind).data(data),
                Err(why) => {
                    self.news = None;
                    return self.gone(&why);
                }
            }
        }
    }

    /// Connects, and says so; or why not, once a second.
    async fn connect(&mut self) -> Event {
        if self.away.is_some() {
            sleep(AGAIN).await;
        }
        match self.shared.admin.news().await {
            Ok(news) => {
                self.news = Some(news);
                self.away = None;
                self.figures = Figures::default();
                (self.shown, self.skipped) = (0, 0);
                event("state", &json!({ "up": true, "admin": self.shared.admin.url() }))
            }
            Err(why) => self.gone(&why),
        }
    }

    fn gone(&mut self, why: &str) -> Event {
        self.away = Some(why.to_owned());
        event("state", &json!({ "up": false, "admin": self.shared.admin.url(), "why": why }))
    }

    async fn look_at_metrics(&mut self) -> Result<Event, String> {
        let text = self.shared.admin.metrics().await?;
        let mut tick = self.figures.tick(&text, crate::clock::now());
        tick["skipped"] = self.skipped.into();
        (self.shown, self.skipped) = (0, 0);
        Ok(event("tick", &tick))
    }
}

fn event(kind: &str, data: &Value) -> Event {
    Event::default().event(kind).data(data.to_string())
}
