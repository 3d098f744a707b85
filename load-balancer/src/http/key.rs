//! The bytes that `consistent_hash` hashes: the first configured source that the request has, else the client's address;
//! and the request's id, where one of these sources names it.

use std::net::IpAddr;

use hyper::header;
use hyper::http::request::Parts;

use crate::config::KeySource;

/// The key of a request.
pub(super) fn of(sources: &[KeySource], head: &Parts, client: IpAddr) -> Vec<u8> {
    let found = sources.iter().find_map(|source| match source {
        KeySource::Path => Some(head.uri.path().as_bytes().to_vec()),
        KeySource::ClientAddr => Some(client.to_string().into_bytes()),
        named => value(named, head),
    });
    found.unwrap_or_else(|| client.to_string().into_bytes())
}

/// The request's id, whatever picks: the first source present but the path and the address, which many requests share.
/// Bytes that are not UTF-8 are replaced.
pub(super) fn id(sources: &[KeySource], head: &Parts) -> Option<Box<str>> {
    let found = sources.iter().find_map(|source| value(source, head))?;
    Some(String::from_utf8_lossy(&found).into())
}

/// What the request says under a source's name.
fn value(source: &KeySource, head: &Parts) -> Option<Vec<u8>> {
    match source {
        KeySource::Query(name) => query(head.uri.query()?, name).map(|v| v.as_bytes().to_vec()),
        KeySource::Header(name) => head.headers.get(name).map(|v| v.as_bytes().to_vec()),
        KeySource::Cookie(name) => cookie(head, name),
        KeySource::Path | KeySource::ClientAddr => None,
    }
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

    #[test]
    fn an_id_is_what_the_client_named_and_nothing_else() {
        let user = "an\u{e9}".as_bytes();
        let request = hyper::Request::builder().uri("/p?request_id=7").header("x-user", &user[..3]);
        let (head, ()) = request.body(()).unwrap().into_parts();
        let named = KeySource::Query("request_id".into());
        assert_eq!(id(&[KeySource::Path, KeySource::ClientAddr, named], &head).as_deref(), Some("7"));
        assert_eq!(id(&[KeySource::Path, KeySource::ClientAddr], &head), None);
        let header = KeySource::Header("x-user".parse().unwrap());
        assert_eq!(id(&[header], &head).as_deref(), Some("an\u{fffd}"), "half a character is replaced");
    }
}
