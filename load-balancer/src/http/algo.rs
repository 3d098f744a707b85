//! Which algorithm a request gets: `?algo=`, `x-lb-algo`, or the pool's. The choice is the balancer's business, so it is
//! taken out of what the backend sees.

use hyper::Uri;
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use lb_core::Algorithm;

use super::headers;
use crate::config::Config;
use crate::error::{Kind, ProxyError};
use crate::listener::Client;

/// The query parameter.
const PARAMETER: &str = "algo";

/// The algorithm and the target to send on, in origin form.
pub(super) fn choose(
    config: &Config,
    client: &Client,
    head: &Parts,
    seen: headers::Seen,
) -> Result<(Algorithm, Uri), ProxyError> {
    let query = head.uri.query().unwrap_or_default();
    let asked_in_query = query.split('&').find_map(value_of);
    let asked_in_header = || {
        let value = if seen.ours { head.headers.get(headers::ALGO) } else { None };
        value.map(|v| v.to_str().unwrap_or("?"))
    };
    let Some(name) = asked_in_query.or_else(asked_in_header) else {
        return Ok((config.pool.algorithm, origin_form(&head.uri)?));
    };
    if !client.chooser {
        let detail = "the algorithm may not be chosen from this address (algo.choosers)";
        return Err(ProxyError::new(Kind::AlgorithmNotAllowed, detail));
    }
    let algorithm = name
        .parse()
        .map_err(|e| ProxyError::new(Kind::BadRequest, format!("algo = {name:?} is no algorithm; {e}")))?;
    let target = if asked_in_query.is_some() { without_choice(&head.uri)? } else { origin_form(&head.uri)? };
    Ok((algorithm, target))
}

fn value_of(pair: &str) -> Option<&str> {
    match pair.split_once('=') {
        Some((PARAMETER, value)) => Some(value),
        None if pair == PARAMETER => Some(""),
        _ => None,
    }
}

/// The path and query, whatever form the client used.
fn origin_form(uri: &Uri) -> Result<Uri, ProxyError> {
    if uri.scheme().is_none() && uri.authority().is_none() {
        return Ok(uri.clone());
    }
    let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Ok(Uri::from(target))
}

/// The target with every `algo` parameter taken out and every other byte as it was.
fn without_choice(uri: &Uri) -> Result<Uri, ProxyError> {
    let kept: Vec<&str> =
        uri.query().unwrap_or_default().split('&').filter(|p| value_of(p).is_none()).collect();
    let target =
        if kept.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), kept.join("&")) };
    target.parse().map_err(|_| ProxyError::new(Kind::BadRequest, "the request target is not valid"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_choice_is_taken_out() {
        let without = |uri: &str| without_choice(&uri.parse().unwrap()).unwrap().to_string();
        assert_eq!(without("/a?algo=random"), "/a");
        assert_eq!(without("/a?x=1&algo=random&y=%20&&z"), "/a?x=1&y=%20&&z");
        assert_eq!(without("/a?algorithm=1&algo=random"), "/a?algorithm=1");
        assert_eq!(without("http://host/a?algo=random&b=algo=1"), "/a?b=algo=1");
    }

    #[test]
    fn absolute_targets_become_origin_form() {
        let origin = |uri: &str| origin_form(&uri.parse().unwrap()).unwrap().to_string();
        assert_eq!(origin("http://host:80/a?b"), "/a?b");
        assert_eq!(origin("http://host"), "/");
        assert_eq!(origin("/a?b"), "/a?b");
        assert_eq!(origin("*"), "*");
    }
}
