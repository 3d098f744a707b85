//! One answer over HTTP, bounded in time and length: what comes after the limit is not read, let alone kept.
//!
//! Connections are kept between scrapes, one a backend: unlike a health check, a scrape asks how busy a backend is, not
//! whether it accepts. Every way to fail is a [`Miss`].

use std::rc::Rc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::{Response, header};
use tokio::sync::Semaphore;

use super::line::{Line, Target, innermost};
use crate::telemetry::Miss;

/// Scrapes under way at once: with the longest answers they hold this many times `signals.max_bytes`.
const CONCURRENT: usize = 64;

/// Forms that are understood; no encoding is, so none is asked for.
const UNDERSTOOD: &str = "text/plain;version=0.0.4,application/json;q=0.9,*/*;q=0.1";

/// What all scrapers share: their patience, and permits for scrapes under way.
pub(super) struct Fetcher {
    timeout: Duration,
    permits: Semaphore,
}

impl Fetcher {
    /// Waits `timeout` for a whole answer.
    pub(super) fn new(timeout: Duration) -> Rc<Self> {
        Rc::new(Fetcher { timeout, permits: Semaphore::new(CONCURRENT) })
    }

    /// Waits for a permit: the time it takes is nobody's fault.
    pub(super) async fn permit(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }

    /// The body of `path`, of at most `most` bytes. `kept` is the line of the last time, and of the next.
    pub(super) async fn fetch(
        &self,
        to: &Target,
        kept: &mut Option<Line>,
        path: &str,
        most: usize,
    ) -> Result<Vec<u8>, Miss> {
        let before = kept.take().filter(Line::is_open);
        let fetching = async {
            let (line, answer) = ask(to, before, path).await.map_err(Miss::Refused)?;
            Ok((line, read(answer, most).await?))
        };
        let (line, body) =
            tokio::time::timeout(self.timeout, fetching).await.unwrap_or(Err(Miss::Timeout))?;
        *kept = Some(line);
        Ok(body)
    }
}

/// Asks on the line of before, or on a new one where that has been closed meanwhile.
async fn ask(to: &Target, before: Option<Line>, path: &str) -> Result<(Line, Response<Incoming>), String> {
    if let Some(mut line) = before
        && let Ok(answer) = line.get(to, path, UNDERSTOOD).await
    {
        return Ok((line, answer));
    }
    let mut line = Line::open(to).await.map_err(|unreached| unreached.to_string())?;
    let answer = line.get(to, path, UNDERSTOOD).await?;
    Ok((line, answer))
}

async fn read(answer: Response<Incoming>, most: usize) -> Result<Vec<u8>, Miss> {
    if answer.status().as_u16() != 200 {
        return Err(Miss::Status(answer.status().as_u16()));
    }
    if answer.headers().get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Miss::Unreadable("it is compressed, although that was not asked for".to_owned()));
    }
    let mut rest = answer.into_body();
    if rest.size_hint().lower() > most as u64 {
        return Err(Miss::TooLarge(most));
    }
    let mut body = Vec::new();
    while let Some(frame) = rest.frame().await {
        let broke_off = |error| Miss::Unreadable(format!("it broke off: {}", innermost(&error)));
        let Ok(piece) = frame.map_err(broke_off)?.into_data() else { continue };
        if body.len() + piece.len() > most {
            return Err(Miss::TooLarge(most));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}
