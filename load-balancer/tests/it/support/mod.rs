//! What the tests stand on: a balancer, backends of both kinds, and the wire between.

use std::future::Future;
use std::time::Duration;

mod certs;
mod clients;
mod cluster;
mod fleet;
mod http2;
mod http2_backend;
mod lab;
mod mmdb;
mod names;
mod operator;
mod receiver;
mod redis;
mod scrape;
mod script;
mod wire;

pub(crate) use certs::{Authority, Issued, SecureWire, Trust};
pub(crate) use clients::Clients;
pub(crate) use cluster::Cluster;
pub(crate) use fleet::{Fleet, alive, gone, kill, own_program};
pub(crate) use http2::{Answer, Frame, H2, Raw, frame, get, head, whole};
pub(crate) use http2_backend::{Bounds, Call, Http2Backend};
pub(crate) use lab::{Lb, at_admin, config, configured, keep, post, request, variables};
pub(crate) use mmdb::{flat, geolite, mmdb, registered};
pub(crate) use names::{NameServer, Reply, ip, ipv4, srv};
pub(crate) use operator::{asking, assert_refused, finish, hold};
pub(crate) use receiver::{Receiver, Span};
pub(crate) use redis::RedisServer;
pub(crate) use scrape::{Labels, Scrape};
pub(crate) use script::{Conn, Deaf, Script, ok, refusing};
pub(crate) use wire::{Message, Wire};

/// Longest that anything is waited for before the test fails. Nothing is measured by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// `future`, or a failure that says what did not happen.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let Ok(out) = tokio::time::timeout(PATIENCE, future).await else { panic!("never happened: {what}") };
    out
}

/// Replicas of the real service, named like the balancer's backends: `b1`, `b2` …
pub(crate) async fn replicas(n: usize) -> Vec<backend::Running> {
    let mut all = Vec::new();
    for i in 1..=n {
        let config = backend::Config { name: format!("b{i}"), fault: true, ..backend::Config::default() };
        all.push(backend::start(config).await.unwrap());
    }
    all
}

/// A replica that listens on every address of this machine, so on any 127.x.y.z: as many backends as a test wants.
pub(crate) async fn backend_everywhere() -> backend::Running {
    let bind = std::net::Ipv4Addr::UNSPECIFIED.into();
    backend::start(backend::Config { bind, ..backend::Config::default() }).await.unwrap()
}

/// Where they listen.
pub(crate) fn addresses(replicas: &[backend::Running]) -> Vec<std::net::SocketAddr> {
    replicas.iter().map(backend::Running::address).collect()
}

/// Bytes whose order shows.
pub(crate) fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}
