//! The page's files, as parts of this program: it works from anywhere, without a network and without a build step.
//!
//! A browser may keep them, and asks each time whether they are still the same: their tag changes with their contents.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

/// A file: its path, its type, its contents.
type Asset = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Every file that is served.
const ASSETS: [Asset; 11] = [
    ("/", HTML, include_bytes!("../../assets/index.html")),
    ("/icon.svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")),
    ("/style.css", CSS, include_bytes!("../../assets/style.css")),
    ("/app.js", SCRIPT, include_bytes!("../../assets/app.js")),
    ("/charts.js", SCRIPT, include_bytes!("../../assets/charts.js")),
    ("/compare.js", SCRIPT, include_bytes!("../../assets/compare.js")),
    ("/dom.js", SCRIPT, include_bytes!("../../assets/dom.js")),
    ("/live.js", SCRIPT, include_bytes!("../../assets/live.js")),
    ("/plot.js", SCRIPT, include_bytes!("../../assets/plot.js")),
    ("/run.js", SCRIPT, include_bytes!("../../assets/run.js")),
    ("/plotly-basic.min.js", SCRIPT, include_bytes!("../../assets/plotly/plotly-basic.min.js")),
];

/// A file, or that the browser has it already.
pub(super) async fn asset(uri: Uri, headers: HeaderMap) -> Response {
    let Some((_, kind, contents)) = ASSETS.iter().find(|(path, ..)| *path == uri.path()) else {
        return (StatusCode::NOT_FOUND, "There is nothing here. The page is at /\n").into_response();
    };
    let tag = tag(contents);
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { contents.into_response() };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

fn tag(contents: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_known_file_is_not_sent_again_and_a_changed_one_is() {
        let uri = || Uri::from_static("/style.css");
        let first = asset(uri(), HeaderMap::new()).await;
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].clone();
        let again = asset(uri(), HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)])).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let other = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static("\"0\""))]);
        assert_eq!(asset(uri(), other).await.status(), StatusCode::OK);
        assert_eq!(
            asset(Uri::from_static("/../Cargo.toml"), HeaderMap::new()).await.status(),
            StatusCode::NOT_FOUND
        );
    }

    #[test]
    fn the_page_names_no_file_that_is_not_served_and_no_other_host() {
        let page = include_str!("../../assets/index.html");
        for reference in page.split(['"']).filter(|part| part.ends_with(".js") || part.ends_with(".css")) {
            assert!(ASSETS.iter().any(|(path, ..)| path.trim_start_matches('/') == reference), "{reference}");
        }
        for (path, kind, contents) in ASSETS.iter().filter(|(path, ..)| !path.contains("plotly")) {
            let text = std::str::from_utf8(contents).unwrap();
            let elsewhere = text.replace("http://www.w3.org/2000/svg", "").contains("//cdn");
            assert!(!elsewhere && !text.contains("innerHTML"), "{path} ({kind})");
        }
    }
}
