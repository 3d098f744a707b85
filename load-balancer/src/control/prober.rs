//! Active health checks of one backend: GET, wait, look at the status, report. Which state follows is not decided here.

use std::sync::Arc;
use std::time::Duration;

use lb_core::Rng;
use lb_core::health::Pace;
use tokio::sync::{mpsc, oneshot};

use crate::clock::{self, Clock};
use crate::config::HealthChecks;
use crate::event::{Event, Verdict};
use crate::registry::Backend;

/// Checks of many backends must not beat in time: each interval is stretched or shortened by up to this share.
const JITTER: f64 = 0.15;

/// The checks of one backend.
pub struct Prober {
    backend: u64,
    url: String,
    checks: HealthChecks,
    events: mpsc::UnboundedSender<Event>,
    clock: Clock,
    rng: Rng,
}

impl Prober {
    /// Checks `backend` as `checks` says and reports to `events`.
    #[must_use]
    pub fn new(
        backend: &Arc<Backend>,
        checks: &HealthChecks,
        events: mpsc::UnboundedSender<Event>,
        clock: Clock,
    ) -> Self {
        let url = format!("http://{}{}", backend.address, checks.path);
        Prober { backend: backend.id, url, checks: checks.clone(), events, clock, rng: clock::entropy() }
    }

    /// Checks until the control task is gone. A nudge brings the next check forward.
    pub async fn run(mut self, mut nudged: mpsc::Receiver<()>) {
        // Every check opens its own connection: a pooled one would not notice that the backend stopped accepting.
        let client = reqwest::Client::builder()
            .timeout(self.checks.timeout)
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build();
        let client = match client {
            Ok(client) => client,
            Err(error) => return tracing::error!(%error, url = self.url, "health checks cannot start"),
        };
        loop {
            let started = self.clock.now();
            let fault = self.check(&client).await.err();
            let (pace, answer) = oneshot::channel();
            let took = self.clock.now().since(started);
            let verdict = Verdict { backend: self.backend, took, fault, pace };
            if self.events.send(Event::Checked(verdict)).is_err() {
                return;
            }
            let base = match answer.await {
                Ok(Pace::Steady) => self.checks.interval,
                Ok(Pace::Edge) => self.checks.edge_interval,
                Err(_) => return,
            };
            let wait = jittered(base, &mut self.rng);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                nudge = nudged.recv() => if nudge.is_none() { return },
            }
        }
    }

    async fn check(&self, client: &reqwest::Client) -> Result<(), String> {
        let response = client.get(&self.url).send().await.map_err(|e| cause(&e))?;
        if response.status().is_success() {
            Ok(())
        } else {
            Err(format!("status {}", response.status().as_u16()))
        }
    }
}

fn jittered(base: Duration, rng: &mut Rng) -> Duration {
    base.mul_f64(1.0 - JITTER + 2.0 * JITTER * rng.unit())
}

/// The innermost cause: "Connection refused" says more than "error sending request".
fn cause(error: &reqwest::Error) -> String {
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
