//! A balancer in this process over given backends, and what clients and operators see of it.

use std::fmt::Write as _;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use load_balancer::config::Config;
use load_balancer::control::Source;
use load_balancer::store::Room;
use load_balancer::{Running, start, start_from, start_in};

use super::scrape::Scrape;
use super::wire::{Message, Wire};
use super::within;

/// A running balancer; stopped, without waiting, when dropped.
pub(crate) struct Lb {
    pub(crate) traffic: SocketAddr,
    pub(crate) admin: SocketAddr,
    running: Option<Running>,
}

/// Settings under all those of a test: one worker makes order exact; health checks would be requests of their own.
const BASE: &[(&str, &str)] = &[
    ("workers", "1"),
    ("listen.traffic", "127.0.0.1:0"),
    ("listen.admin", "127.0.0.1:0"),
    ("health.enabled", "false"),
    ("pool.slow_start", "0"),
    ("timeouts.drain", "5s"),
    ("timeouts.drain_tunnel", "5s"),
    ("algo.choosers", "anyone"),
];

/// The configuration of a pool over `backends` (named `b1`, `b2` …) with `settings` such as `("timeouts.total", "1s")`.
pub(crate) fn config(backends: &[(SocketAddr, u32)], settings: &[(&str, &str)]) -> Config {
    let mut text = String::new();
    for (i, (address, weight)) in (1..).zip(backends) {
        writeln!(text, "[[pool.backend]]\nname = \"b{i}\"\naddress = \"{address}\"\nweight = {weight}")
            .unwrap();
    }
    configured(&text, settings)
}

/// The configuration that `text` makes with the settings of all tests and `settings` laid over it.
pub(crate) fn configured(text: &str, settings: &[(&str, &str)]) -> Config {
    Config::parse(text, variables(settings).into_iter()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The environment that says `settings`, over those of all tests.
pub(crate) fn variables(settings: &[(&str, &str)]) -> Vec<(String, String)> {
    let variable = |(key, value): &(&str, &str)| {
        (format!("BALLAST_{}", key.replace('.', "__").to_uppercase()), (*value).to_owned())
    };
    BASE.iter().chain(settings).map(variable).collect()
}

impl Lb {
    pub(crate) async fn over(backends: &[SocketAddr], settings: &[(&str, &str)]) -> Lb {
        let backends: Vec<_> = backends.iter().map(|&address| (address, 1)).collect();
        Lb::start(config(&backends, settings)).await
    }

    pub(crate) async fn start(config: Config) -> Lb {
        Lb::started(move || start(config).unwrap()).await
    }

    /// One that meets others in `room`.
    pub(crate) async fn start_in(config: Config, room: Arc<Room>) -> Lb {
        Lb::started(move || start_in(config, &room).unwrap()).await
    }

    /// From a file, which it goes on watching.
    pub(crate) async fn from(source: Source) -> Lb {
        let config = source.load().unwrap_or_else(|faults| panic!("{faults}"));
        Lb::started(move || start_from(config, source).unwrap()).await
    }

    async fn started(start: impl FnOnce() -> Running + Send + 'static) -> Lb {
        let running = within("the balancer's start", tokio::task::spawn_blocking(start)).await.unwrap();
        Lb { traffic: running.traffic, admin: running.admin, running: Some(running) }
    }

    /// One that runs elsewhere.
    pub(crate) fn at(traffic: SocketAddr, admin: SocketAddr) -> Lb {
        Lb { traffic, admin, running: None }
    }

    /// The order to read its file again.
    pub(crate) fn reload(&self) {
        self.running.as_ref().unwrap().reload();
    }

    /// Its decision records.
    pub(crate) fn journal(&self) -> &load_balancer::journal::Journal {
        self.running.as_ref().unwrap().journal()
    }

    /// Where it speaks TLS with clients.
    pub(crate) fn tls(&self) -> SocketAddr {
        self.running.as_ref().unwrap().tls.unwrap()
    }

    pub(crate) async fn connect(&self) -> Wire {
        Wire::connect(self.traffic).await
    }

    /// Sends these bytes on a connection of their own and waits for one response.
    pub(crate) async fn send(&self, request: impl AsRef<[u8]>) -> Message {
        let mut wire = self.connect().await;
        wire.send(request).await;
        wire.reply().await
    }

    pub(crate) async fn get(&self, target: &str) -> Message {
        self.get_with(target, &[]).await
    }

    pub(crate) async fn get_with(&self, target: &str, headers: &[&str]) -> Message {
        self.send(request("GET", target, headers)).await
    }

    /// Asks the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Message {
        let mut wire = Wire::connect(self.admin).await;
        wire.send(at_admin(&request("GET", path, &[]))).await;
        wire.reply().await
    }

    pub(crate) async fn scrape(&self) -> Scrape {
        Scrape::parse(&self.admin("/metrics").await.text())
    }

    /// Scrapes until `condition` holds.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Scrape) -> bool) -> Scrape {
        let polling = async {
            loop {
                let scrape = self.scrape().await;
                if condition(&scrape) {
                    return scrape;
                }
                tokio::task::yield_now().await;
            }
        };
        match tokio::time::timeout(super::PATIENCE, polling).await {
            Ok(scrape) => scrape,
            Err(_) => panic!("never came true: {what}\n{}", self.scrape().await.gist()),
        }
    }

    /// Waits until nothing is in flight any more, anywhere.
    pub(crate) async fn settled(&self) -> Scrape {
        self.until("nothing in flight", |s| {
            s.sum("lb_requests_in_flight", &[]) == 0.0
                && s.sum("lb_upstream_requests_in_flight", &[]) == 0.0
                && s.sum("lb_upstream_connections", &[("state", "active")]) == 0.0
        })
        .await
    }

    /// The order to leave; returns how long until it is to stop.
    pub(crate) fn leave(&self) -> std::time::Duration {
        self.running.as_ref().unwrap().leave()
    }

    /// The order to stop, running; finished when it returns.
    pub(crate) fn stopping(&mut self) -> impl Future<Output = ()> + use<> {
        let running = self.running.take().unwrap();
        let stopping = tokio::task::spawn_blocking(move || running.stop());
        async move { within("the stop", stopping).await.unwrap() }
    }
}

impl Drop for Lb {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            std::thread::spawn(move || running.stop());
        }
    }
}

/// A request without a body on a connection that it ends.
pub(crate) fn request(method: &str, target: &str, headers: &[&str]) -> String {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n");
    headers.iter().for_each(|header| write!(text, "{header}\r\n").unwrap());
    text + "\r\n"
}

/// The same for the admin listener, which goes by no other name.
pub(crate) fn at_admin(request: &str) -> String {
    request.replacen("Host: lab", "Host: localhost", 1)
}

/// The same on a connection that stays.
pub(crate) fn keep(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: lab\r\n\r\n")
}

/// A POST with a body.
pub(crate) fn post(target: &str, body: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: lab\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
