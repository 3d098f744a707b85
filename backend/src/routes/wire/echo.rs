//! `/echo` says what arrived, `/status/<code>` answers as told.
//!
//! The body of `/echo` is counted as it streams by and never kept, so a gigabyte costs no memory; its trailers are
//! reported, too. How it fails: a body that breaks off is 400, if the client is still there to read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::json;

use crate::app::App;
use crate::reply;

/// Codes that `/status` gives: 1xx are not final answers, and beyond 599 there is no class.
const FINAL: std::ops::RangeInclusive<u16> = 200..=599;

pub(super) type Names = BTreeMap<String, Vec<String>>;

pub(in crate::routes) async fn echo(State(app): State<Arc<App>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let (length, trailers) = match measure(body).await {
        Ok(measured) => measured,
        Err(error) => return reply::bad_request(format!("the body broke off: {error}")),
    };
    reply::ok(json!({
        "server": app.config.name,
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "version": format!("{:?}", head.version),
        "headers": names(&head.headers),
        "body_bytes": length,
        "trailers": names(&trailers),
    }))
}

/// Bytes and trailers of a body, frame by frame.
async fn measure(mut body: Body) -> Result<(u64, HeaderMap), axum::Error> {
    let (mut length, mut trailers) = (0, HeaderMap::new());
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) => length += data.len() as u64,
            Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
        }
    }
    Ok((length, trailers))
}

/// A name may occur several times, so each has a list; bytes that are not UTF-8 are replaced.
fn names(headers: &HeaderMap) -> Names {
    let mut names = Names::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        names.entry(name.to_string()).or_default().push(value);
    }
    names
}

pub(in crate::routes) async fn status(Path(text): Path<String>) -> Response {
    let code = text.parse().ok().filter(|code| FINAL.contains(code));
    match code.and_then(|code| StatusCode::from_u16(code).ok()) {
        // These two have no body by definition; an announced length would confuse clients.
        Some(code @ (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)) => code.into_response(),
        Some(code) => (code, format!("{code}\n")).into_response(),
        None => reply::bad_request(format!("{text:?} is no status code; send one from 200 to 599")),
    }
}
