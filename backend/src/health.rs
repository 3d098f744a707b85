//! `backend health`: asks a running server whether it is healthy, for containers whose image has no other HTTP client.
//!
//! Every failure is one line: no answer in time, or another than 200.

use std::time::Duration;

use reqwest::{Client, StatusCode, redirect};

use crate::register::chain;

/// Until the answer's head has come; below the three seconds that our image gives a check.
const WITHIN: Duration = Duration::from_secs(2);

/// Fails, with one line for people, where `url` is not answered by 200.
///
/// # Errors
/// What was answered instead, or why nothing was.
pub async fn health(url: &str) -> Result<(), String> {
    let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(WITHIN).build();
    let client = client.map_err(|error| format!("no HTTP client: {error}"))?;
    let response = client.get(url).send().await;
    match response.map_err(|error| format!("{url} does not answer: {}", chain(&error)))?.status() {
        StatusCode::OK => Ok(()),
        other => Err(format!("{url} answers {}", other.as_u16())),
    }
}
