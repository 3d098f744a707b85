//! Pingora as the benchmark runs it: round robin in one thread, connections reused, backends checked by TCP, no log.
//!
//! `pingora-peer PORT BACKEND…` serves on 127.0.0.1. Pingora has no policy that sees load; its cheapest is measured.
//! How it fails: bad arguments end it at once; without a backend that is up, requests get Pingora's own error.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::lb::LoadBalancer;
use pingora::lb::health_check::TcpHealthCheck;
use pingora::lb::selection::RoundRobin;
use pingora::prelude::{HttpPeer, ProxyHttp, Session, background_service, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;

/// As often as the other peers check.
const CHECK_EVERY: Duration = Duration::from_secs(5);

struct Pool(Arc<LoadBalancer<RoundRobin>>);

#[async_trait]
impl ProxyHttp for Pool {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let nobody = || pingora::Error::explain(pingora::ErrorType::ConnectNoRoute, "no backend is up");
        // The key is for hashes; of so many backends one is up, or none.
        let backend = self.0.select(b"", 256).ok_or_else(nobody)?;
        Ok(Box::new(HttpPeer::new(backend, false, String::new())))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let port = args.next().ok_or("usage: pingora-peer PORT BACKEND…")?;
    if port == "--version" {
        println!("pingora {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let port: u16 = port.parse()?;
    let backends: Vec<String> = args.collect();
    let mut configuration = ServerConf::default();
    configuration.threads = 1;
    configuration.work_stealing = false;
    configuration.upstream_keepalive_pool_size = 1024;
    configuration.grace_period_seconds = Some(0);
    configuration.graceful_shutdown_timeout_seconds = Some(1);
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let mut pool = LoadBalancer::try_from_iter(backends.iter().map(String::as_str))?;
    pool.set_health_check(TcpHealthCheck::new());
    pool.health_check_frequency = Some(CHECK_EVERY);
    let checks = background_service("checks", pool);
    let mut traffic = http_proxy_service(&server.configuration, Pool(checks.task()));
    traffic.add_tcp(&format!("127.0.0.1:{port}"));
    server.add_service(traffic);
    server.add_service(checks);
    server.run_forever()
}
