//! One answer over HTTP, bounded in time and length: what comes after the limit is not read, let alone kept.
//!
//! Connections are kept between scrapes, one a backend: unlike a health check, a scrape asks how busy a backend is, not
//! whether it accepts. Every way to fail is a [`Miss`].

use std::rc::Rc;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_ENCODING};
use tokio::sync::Semaphore;

use super::prober::cause;
use crate::telemetry::Miss;

/// Scrapes under way at once: with the longest answers they hold this many times `signals.max_bytes`.
const CONCURRENT: usize = 64;

/// Forms that are understood; no encoding is, so none is asked for.
const UNDERSTOOD: &str = "text/plain;version=0.0.4,application/json;q=0.9,*/*;q=0.1";

/// What all scrapers share: the HTTP client, and permits for scrapes under way.
pub(super) struct Fetcher {
    client: reqwest::Client,
    permits: Semaphore,
}

impl Fetcher {
    /// A client that waits `timeout` for a whole answer and follows no redirect.
    ///
    /// # Errors
    /// Where the client cannot be made.
    pub(super) fn new(timeout: Duration) -> reqwest::Result<Rc<Self>> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .pool_max_idle_per_host(1)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Rc::new(Fetcher { client, permits: Semaphore::new(CONCURRENT) }))
    }

    /// Waits for a permit: the time it takes is nobody's fault.
    pub(super) async fn permit(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }

    /// The body of `url`, of at most `most` bytes.
    pub(super) async fn fetch(&self, url: &str, most: usize) -> Result<Vec<u8>, Miss> {
        let mut response =
            self.client.get(url).header(ACCEPT, UNDERSTOOD).send().await.map_err(|e| {
                match e.is_timeout() {
                    true => Miss::Timeout,
                    false => Miss::Refused(cause(&e)),
                }
            })?;
        if response.status().as_u16() != 200 {
            return Err(Miss::Status(response.status().as_u16()));
        }
        if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(Miss::Unreadable("it is compressed, although that was not asked for".to_owned()));
        }
        if response.content_length().is_some_and(|length| length > most as u64) {
            return Err(Miss::TooLarge(most));
        }
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > most => return Err(Miss::TooLarge(most)),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(error) if error.is_timeout() => return Err(Miss::Timeout),
                Err(error) => return Err(Miss::Unreadable(format!("it broke off: {}", cause(&error)))),
            }
        }
    }
}
