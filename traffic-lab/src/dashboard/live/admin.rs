//! A balancer's admin listener, asked with its token.
//!
//! How it fails: with a sentence for the page. No proxy of the environment is used: the balancer is where it was said to be.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Client, Response, Url};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::news::News;

/// Pages that may watch at once: each is a stream to the balancer.
const SEATS: usize = 16;
/// Longest until an answer begins, or a page of metrics is there.
const PATIENCE: Duration = Duration::from_secs(3);
/// The past that a page begins with.
const NEWS: &str = "decisions?what=all&last=40";

/// Where the balancer is, and how to talk to it.
#[derive(Debug)]
pub(in crate::dashboard) struct Admin {
    base: Url,
    client: Client,
    seats: Arc<Semaphore>,
}

impl Admin {
    /// At `url`, with a bearer token where one is needed.
    ///
    /// # Errors
    /// Where the URL or the token cannot be used.
    pub(in crate::dashboard) fn new(url: &str, token: Option<&str>) -> Result<Self> {
        let base = Url::parse(&format!("{}/", url.trim_end_matches('/')));
        let base = base.with_context(|| format!("--admin {url:?}: write http://127.0.0.1:9901"))?;
        ensure!(base.scheme() == "http" && base.has_host(), "--admin {url:?}: write http://127.0.0.1:9901");
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {token}")).context("the token is no text")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let redirect = reqwest::redirect::Policy::none();
        let client = Client::builder().no_proxy().redirect(redirect).default_headers(headers).build()?;
        Ok(Admin { base, client, seats: Arc::new(Semaphore::new(SEATS)) })
    }

    /// As it was given.
    pub(super) fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A place to watch from, where one is left.
    pub(super) fn seat(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.seats).try_acquire_owned().ok()
    }

    /// The stream of what happens.
    pub(super) async fn news(&self) -> Result<News, String> {
        Ok(News::new(self.get(NEWS, "text/event-stream").await?))
    }

    /// The page of metrics.
    pub(super) async fn metrics(&self) -> Result<String, String> {
        let response = self.get("metrics", "text/plain").await?;
        let text = timeout(PATIENCE, response.text()).await;
        text.map_err(|_| "its metrics take too long".to_owned())?.map_err(|why| why.to_string())
    }

    async fn get(&self, path: &str, accept: &'static str) -> Result<Response, String> {
        let url = self.base.join(path).map_err(|why| why.to_string())?;
        let sending = self.client.get(url).header(ACCEPT, accept).send();
        let response = match timeout(PATIENCE, sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(why)) if why.is_connect() => return Err("nothing listens there".to_owned()),
            Ok(Err(why)) => return Err(why.without_url().to_string()),
            Err(_) => return Err("it does not answer".to_owned()),
        };
        match response.status().as_u16() {
            200 => Ok(response),
            401 | 403 => Err("it wants another token: start with --admin-token-file".to_owned()),
            code => Err(format!("it answered {code}: is this a balancer's admin listener?")),
        }
    }
}
