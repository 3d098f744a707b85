//! The bytes that `consistent_hash` hashes: the first configured source that the request has, else the client's address.

use std::net::IpAddr;

use hyper::header;
use hyper::http::request::Parts;

use crate::config::KeySource;

/// The key of a request.
pub(super) fn of(sources: &[KeySource], head: &Parts, client: IpAddr) -> Vec<u8> {
    let found = sources.iter().find_map(|source| match source {
        KeySource::Query(name) => query(head.uri.query()?, name).map(|v| v.as_bytes().to_vec()),
        KeySource::Header(name) => head.headers.get(name).map(|v| v.as_bytes().to_vec()),
        KeySource::Cookie(name) => cookie(head, name),
        KeySource::Path => Some(head.uri.path().as_bytes().to_vec()),
        KeySource::ClientAddr => Some(client.to_string().into_bytes()),
    });
    found.unwrap_or_else(|| client.to_string().into_bytes())
}

fn query<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.split_once('=').filter(|(k, _)| *k == name).map(|(_, v)| v))
}

fn cookie(head: &Parts, name: &str) -> Option<Vec<u8>> {
    let lines = head.headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    lines
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().split_once('=').filter(|(k, _)| *k == name))
        .map(|(_, value)| value.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_source_present_wins() {
        let request = hyper::Request::builder()
            .uri("/p?request_id=7&x")
            .header("cookie", "a=1; session=s3")
            .header("x-user", "ann")
            .body(())
            .unwrap();
        let (head, ()) = request.into_parts();
        let key = |sources: &[KeySource]| {
            String::from_utf8(of(sources, &head, IpAddr::from([203, 0, 113, 7]))).unwrap()
        };
        let query = KeySource::Query("request_id".into());
        assert_eq!(key(&[KeySource::Query("id".into()), query]), "7");
        assert_eq!(key(&[KeySource::Cookie("session".into())]), "s3");
        assert_eq!(key(&[KeySource::Header("x-user".parse().unwrap())]), "ann");
        assert_eq!(key(&[KeySource::Path]), "/p");
        assert_eq!(key(&[KeySource::Cookie("none".into())]), "203.0.113.7");
    }
}
