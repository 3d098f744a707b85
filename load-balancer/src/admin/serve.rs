//! The admin listener: connections with bounds of number and time, and requests that are meant for it.
//!
//! A browser sends a page's request to whatever address the page's name has now (DNS rebinding), and says that name in
//! `Host`: so on loopback only names of this machine and those in `control.hosts` are answered. An address is no name that
//! could be moved. Whoever may not read here reaches no endpoint at all. How it fails: a client that is slow or silent is
//! closed; too many wait in the kernel.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tower::ServiceExt as _;

use super::access::{self, Peer};
use super::denied::Denials;
use crate::clock::Clock;
use crate::config::Config;
use crate::listener::{ACCEPT_PAUSE, Doors};
use crate::observe::Metrics;
use crate::registry::Registry;
use crate::sparse::Sparse;
use crate::stage::Stage;
use crate::tls::{self, Place, Stream};

/// How long a peer may take nothing of what it is sent before the system drops the connection.
const STALLED: Duration = Duration::from_secs(30);
/// Bytes of a request head, and of what is read at once.
const BUFFER: usize = 32 << 10;

/// Connections that are open, and what tells of each end.
#[derive(Default)]
struct Open {
    count: Cell<usize>,
    ended: Notify,
}

/// Counted in `Open` until dropped.
struct Counted(Rc<Open>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.ended.notify_one();
    }
}

/// What a connection needs.
#[derive(Clone)]
pub struct Served {
    /// The current snapshot.
    pub registry: Arc<Registry>,
    /// The metric families.
    pub metrics: Arc<Metrics>,
    /// Who was allowed to see nothing.
    pub denials: Arc<Denials>,
    /// The one clock.
    pub clock: Clock,
}

/// Serves `router` until another process does. Where `first` is given, it is waited for: a predecessor answers until then.
pub async fn serve(
    doors: Vec<std::net::TcpListener>,
    router: Router,
    stage: watch::Receiver<Stage>,
    first: Option<watch::Receiver<bool>>,
    served: Served,
) {
    if let Some(mut settled) = first {
        // Without a sender the process is ending.
        let _ = settled.wait_for(|&done| done).await;
    }
    let doors = match Doors::new(doors) {
        Ok(doors) => doors,
        Err(error) => return tracing::error!(%error, "the admin listener cannot be used"),
    };
    let (open, mut handed) = (Rc::new(Open::default()), stage.clone());
    let failing = Sparse::default();
    loop {
        let full = open.count.get() >= served.registry.load().config.control.connections;
        tokio::select! {
            // Without a sender the process is ending.
            _ = handed.wait_for(|&stage| stage == Stage::HandedOver) => return,
            () = open.ended.notified(), if full => {}
            accepted = doors.accept(), if !full => match accepted {
                Ok((stream, peer)) => {
                    open.count.set(open.count.get() + 1);
                    let counted = Counted(Rc::clone(&open));
                    let (router, served, stage) = (router.clone(), served.clone(), stage.clone());
                    tokio::task::spawn_local(async move {
                        // A socket that refuses either is about to fail anyway.
                        let _ = stream.set_nodelay(true);
                        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED));
                        if let Some(stream) = served.secured(stream, peer).await {
                            drive(stream, peer, router, served, stage).await;
                        }
                        drop(counted);
                    });
                }
                Err(error) => {
                    if let Some(untold) = failing.due(served.clock.now()) {
                        tracing::warn!(%error, untold, "accepting operators' connections pauses");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

impl Served {
    /// The stream to speak HTTP on, by TLS where `[tls.admin]` has certificates; `None` where there is no handshake.
    async fn secured(&self, stream: TcpStream, peer: SocketAddr) -> Option<Stream> {
        let snapshot = self.registry.load();
        let Some(server) = snapshot.certified.admin.clone() else { return Some(Stream::Plain(stream)) };
        let limit = snapshot.config.timeouts.tls_handshake;
        tls::accept((Place::Admin, &*self.metrics), &server, (stream, peer), limit).await.ok()
    }
}

/// Drives one connection; who keeps it open is sent to the successor once there is one.
async fn drive(
    stream: Stream,
    peer: SocketAddr,
    router: Router,
    served: Served,
    mut stage: watch::Receiver<Stage>,
) {
    let within = served.registry.load().config.timeouts.request_head;
    let peer = Peer { ip: Some(peer.ip().to_canonical()), on_traffic_port: false, misdirected: false };
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (router, served) = (router.clone(), served.clone());
        async move { Ok::<_, Infallible>(answer(router, &served, peer, request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(within).max_buf_size(BUFFER);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        // Without a sender: the end, which may as well be waited for like this.
        _ = stage.wait_for(|&stage| stage == Stage::HandedOver) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = ?peer.ip, %error, "an operator's connection ended early");
    }
}

/// The router's answer, for whoever may have one.
async fn answer(
    router: Router,
    served: &Served,
    mut peer: Peer,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let config = Arc::clone(&served.registry.load().config);
    peer.misdirected = !is_ours(&config, request.headers());
    // Changes are for `may_change` to judge, and have a line each in the audit log.
    if !super::changes(request.uri().path())
        && let Err(denied) = access::may_look(&config.control, peer, request.headers())
    {
        return served.denials.answer(&config.control, (peer, request.uri(), request.headers()), denied);
    }
    request.extensions_mut().insert(peer);
    match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Whether the request names this listener. Elsewhere than on loopback any name will do until `control.hosts` says which.
fn is_ours(config: &Config, headers: &HeaderMap) -> bool {
    let hosts = &config.control.hosts;
    if hosts.is_empty() && !config.listen.admin.ip().is_loopback() {
        return true;
    }
    // Without any (HTTP/1.0) it is no browser's.
    headers.get_all(header::HOST).iter().all(|value| {
        let Ok(name) = value.to_str() else { return false };
        is_address(name) || {
            let host = name.rsplit_once(':').map_or(name, |(host, _)| host).trim_end_matches('.');
            host.eq_ignore_ascii_case("localhost") || hosts.iter().any(|own| host.eq_ignore_ascii_case(own))
        }
    })
}

/// Whether a `Host` is an IP address, with or without a port.
fn is_address(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn ours(admin: &str, hosts: &str, host: &'static str) -> bool {
        let text = format!(
            "[listen]\nadmin = \"{admin}\"\n[control]\nhosts = {hosts}\n[[pool.backend]]\naddress = \"127.0.0.1:1\"\n"
        );
        let config = Config::parse(&text, std::iter::empty()).unwrap();
        is_ours(&config, &HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]))
    }

    #[test]
    fn only_names_of_this_machine_are_answered_on_loopback() {
        for host in
            ["localhost", "LOCALHOST:9901", "127.0.0.1:9901", "127.0.0.1", "[::1]:9901", "[::1]", "10.0.0.1"]
        {
            assert!(ours("127.0.0.1:9901", "[]", host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9901",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "[::1",
        ] {
            assert!(!ours("127.0.0.1:9901", "[]", host), "{host}");
            assert!(ours("0.0.0.0:9901", "[]", host), "{host}");
            assert!(!ours("0.0.0.0:9901", "[\"lb.example\"]", host), "{host}");
        }
        assert!(ours("127.0.0.1:9901", "[\"lb.example\"]", "LB.example.:9901"));
    }
}
