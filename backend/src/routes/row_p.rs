//! Row P, the prime balancer's server: `/is_prime/<n>`.
//!
//! The default mode is exact for all of u64 and takes microseconds, less than the way to another thread and back, so
//! it runs where it is. `?mode=naive` divides by every number below n as row P did, to make its load; that goes to
//! the bounded CPU pool, and is called off when the client leaves.
//! How it fails: 400 for what is not a number of u64, for an unknown mode, and for n too large for the naive one.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::app::App;
use crate::{prime, reply};

#[derive(Debug, Deserialize)]
pub(super) struct How {
    mode: Option<String>,
}

pub(super) async fn is_prime(
    State(app): State<Arc<App>>,
    Path(text): Path<String>,
    Query(how): Query<How>,
) -> Response {
    // Digits only: `parse` would also take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let Some(n) = text.parse::<u64>().ok().filter(|_| digits) else {
        return reply::bad_request(format!("{text:?} is not a whole number from 0 to {}", u64::MAX));
    };
    let answer = match how.mode.as_deref() {
        None | Some("fast") => Some(prime::is_prime(n)),
        Some("naive") if n > prime::NAIVE_MAX => {
            let max = prime::NAIVE_MAX;
            return reply::bad_request(format!(
                "mode=naive takes n up to {max}; leave it out for larger ones"
            ));
        }
        Some("naive") => app.cpu.run(move |stop| prime::is_prime_naive(n, || stop.raised())).await,
        Some(other) => {
            return reply::bad_request(format!(
                "mode is {other:?}; send mode=fast (the default) or mode=naive"
            ));
        }
    };
    match answer {
        Some(true) => "yes".into_response(),
        Some(false) => "no".into_response(),
        None => reply::error(StatusCode::INTERNAL_SERVER_ERROR, "the computation was called off"),
    }
}
