//! Active health checks of one backend: GET, wait, look at the status, report. Which state follows is not decided here.
//!
//! Where `health.when` is `"idle"`, a backend that traffic has just shown to work is not asked.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use lb_core::health::Pace;
use lb_core::{Rng, Tallies};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Control;
use crate::clock::{self, Clock};
use crate::config::{Address, HealthChecks};
use crate::descriptors;
use crate::event::{Event, Verdict};
use crate::proxy_protocol::{self, Version};
use crate::registry::Backend;

/// Checks of many backends must not beat in time: each interval is stretched or shortened by up to this share.
const JITTER: f64 = 0.15;

/// Checks under way at once: a large pool must not open a connection to every backend in the same instant.
const CONCURRENT: usize = 256;

/// What all probers share: the HTTP client, and permits for checks under way.
pub struct Asker {
    client: reqwest::Client,
    permits: Semaphore,
}

impl Asker {
    /// A client that waits `timeout` for a status. Every check opens its own connection: a pooled one would not notice
    /// that the backend stopped accepting.
    ///
    /// # Errors
    /// Where the client cannot be made.
    pub fn new(timeout: Duration) -> reqwest::Result<Rc<Self>> {
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Rc::new(Asker { client, permits: Semaphore::new(CONCURRENT) }))
    }

    /// What is wrong, if anything; nothing in words where it could not be asked for want of file descriptors. A backend that
    /// is told whose a connection is, is told that a check is nobody's.
    async fn ask(&self, prober: &Prober) -> Result<(), Option<String>> {
        let status = match prober.proxy_protocol {
            None => {
                let failed = |error: reqwest::Error| (!starved(&error)).then(|| cause(&error));
                self.client.get(&prober.url).send().await.map_err(failed)?.status()
            }
            Some(version) => {
                let asking = ask_as_proxy(version, &prober.backend.address, &prober.checks.path);
                let failed =
                    |error: std::io::Error| (!descriptors::exhausted(&error)).then(|| error.to_string());
                let asked = tokio::time::timeout(prober.checks.timeout, asking).await;
                asked.map_err(|_elapsed| Some("timeout".to_owned()))?.map_err(failed)?
            }
        };
        if status.is_success() { Ok(()) } else { Err(Some(format!("status {}", status.as_u16()))) }
    }
}

/// GET over a connection that begins with a header of the PROXY protocol.
async fn ask_as_proxy(version: Version, address: &Address, path: &str) -> std::io::Result<StatusCode> {
    let mut stream = match address {
        Address::Ip(address) => TcpStream::connect(address).await?,
        Address::Name(host, port) => TcpStream::connect((host.as_str(), *port)).await?,
    };
    stream.write_all(&proxy_protocol::header(version, None)).await?;
    let request =
        Request::get(path).header(header::HOST, address.to_string()).header(header::CONNECTION, "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(std::io::Error::other)?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    // With its sender the connection ends, whatever of the answer is still to come.
    let asking = async move { sender.send_request(request).await.map(|answer| answer.status()) };
    let (answer, _ended) = tokio::join!(asking, connection);
    answer.map_err(std::io::Error::other)
}

/// The checks of one backend.
pub struct Prober {
    asker: Rc<Asker>,
    backend: Arc<Backend>,
    url: String,
    proxy_protocol: Option<Version>,
    checks: HealthChecks,
    events: mpsc::UnboundedSender<Event>,
    clock: Clock,
    rng: Rng,
}

impl Prober {
    /// Checks `backend` as `checks` says and reports to `events`.
    #[must_use]
    pub fn new(
        asker: &Rc<Asker>,
        backend: &Arc<Backend>,
        (checks, proxy_protocol): (&HealthChecks, Option<Version>),
        events: mpsc::UnboundedSender<Event>,
        clock: Clock,
    ) -> Self {
        let url = format!("http://{}{}", backend.address, checks.path);
        Prober {
            asker: Rc::clone(asker),
            backend: Arc::clone(backend),
            url,
            proxy_protocol,
            checks: checks.clone(),
            events,
            clock,
            rng: clock::entropy(),
        }
    }

    /// Checks until the control task is gone. A nudge brings the next check forward.
    pub async fn run(mut self, mut nudged: mpsc::Receiver<()>) {
        let mut spoken_for = None;
        loop {
            if self.checks.idle_only && self.shown_well(&mut spoken_for) {
                if !self.wait(self.checks.interval, &mut nudged).await {
                    return;
                }
                continue;
            }
            let Ok(permit) = self.asker.permits.acquire().await else { return };
            let started = self.clock.now();
            let asked = self.asker.ask(&self).await;
            let took = self.clock.now().since(started);
            drop(permit);
            if asked == Err(None) {
                // That says nothing about the backend.
                if !self.wait(self.checks.edge_interval, &mut nudged).await {
                    return;
                }
                continue;
            }
            let fault = asked.err().flatten();
            let (pace, answer) = oneshot::channel();
            let verdict = Verdict { backend: self.backend.id, took, fault, pace };
            if self.events.send(Event::Checked(verdict)).is_err() {
                return;
            }
            let base = match answer.await {
                Ok(Pace::Steady) => self.checks.interval,
                Ok(Pace::Edge) => self.checks.edge_interval,
                Err(_) => return,
            };
            if !self.wait(base, &mut nudged).await {
                return;
            }
        }
    }

    /// Whether traffic has shown since the last look that the backend answers. Only after a first check.
    fn shown_well(&self, before: &mut Option<Tallies>) -> bool {
        let seen = self.backend.load.tallies();
        let answered = before.replace(seen).is_some_and(|before| before.good != seen.good);
        answered && seen.run == 0
    }

    /// Until the next check is due, or asked for; false where nobody needs checks any more.
    async fn wait(&mut self, base: Duration, nudged: &mut mpsc::Receiver<()>) -> bool {
        let wait = jittered(base, &mut self.rng);
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            nudge = nudged.recv() => nudge.is_some(),
        }
    }
}

impl Control {
    /// Begins to check an entry, where checks are on and under way.
    pub(super) fn probe(&mut self, at: usize) {
        let (Some(health), Some(asker), Some(events)) =
            (&self.config.health, &self.asker, self.events.clone())
        else {
            return;
        };
        let entry = &mut self.entries[at];
        let checks = (health, self.config.pool.proxy_protocol);
        let (nudge, nudged) = mpsc::channel(1);
        let prober = Prober::new(asker, &entry.backend, checks, events, self.clock);
        entry.prober = Some((tokio::task::spawn_local(prober.run(nudged)).abort_handle(), nudge));
    }

    /// Has an entry checked at once.
    pub(super) fn nudge(&self, at: usize) {
        if let Some((_, nudge)) = &self.entries[at].prober {
            // A full channel means that a check is due anyway.
            let _ = nudge.try_send(());
        }
    }
}

/// `base`, up to 15 % longer or shorter.
pub(super) fn jittered(base: Duration, rng: &mut Rng) -> Duration {
    base.mul_f64(1.0 - JITTER + 2.0 * JITTER * rng.unit())
}

/// Whether it failed because this process has no file descriptor left.
fn starved(error: &reqwest::Error) -> bool {
    let outermost: &dyn std::error::Error = error;
    let mut chain = std::iter::successors(Some(outermost), |error| error.source());
    chain.any(|error| error.downcast_ref().is_some_and(descriptors::exhausted))
}

/// The innermost cause: "Connection refused" says more than "error sending request".
pub(crate) fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timeout".to_owned();
    }
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_in_its_band_and_moves() {
        let mut rng = Rng::seeded(4);
        let waits: Vec<f64> =
            (0..1000).map(|_| jittered(Duration::from_secs(5), &mut rng).as_secs_f64()).collect();
        assert!(waits.iter().all(|w| (4.25..=5.75).contains(w)));
        assert!(waits.iter().any(|&w| w < 4.4) && waits.iter().any(|&w| w > 5.6));
    }
}
