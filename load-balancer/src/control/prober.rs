//! Active health checks of one backend: ask, wait, look at the answer, report. Which state follows is not decided here.
//!
//! Where `health.when` is `"idle"`, a backend that traffic has just shown to work is not asked.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lb_core::health::Pace;
use lb_core::{Rng, Tallies};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Control;
use super::line::{Line, Target};
use super::serving;
use crate::clock::{self, Clock};
use crate::config::{Asked, HealthChecks};
use crate::event::{Event, Verdict};
use crate::forward::Unreached;
use crate::registry::Backend;

/// Checks of many backends must not beat in time: each interval is stretched or shortened by up to this share.
const JITTER: f64 = 0.15;

/// Checks under way at once: a large pool must not open a connection to every backend in the same instant.
const CONCURRENT: usize = 256;

/// What a check asks for: anything.
const ANYTHING: &str = "*/*";

/// What all probers share: their patience, and permits for checks under way.
pub struct Asker {
    timeout: Duration,
    permits: Semaphore,
}

impl Asker {
    /// Waits `timeout` for a status. Every check opens its own connection: a kept one would not notice that the backend
    /// stopped accepting.
    #[must_use]
    pub fn new(timeout: Duration) -> Rc<Self> {
        Rc::new(Asker { timeout, permits: Semaphore::new(CONCURRENT) })
    }

    /// What is wrong, if anything; nothing in words where it could not be asked for want of file descriptors.
    async fn ask(&self, to: &Target, asked: &Asked) -> Result<(), Option<String>> {
        let asking = async {
            let unreached = |error: Unreached| (!error.starved()).then(|| error.to_string());
            let mut line = Line::open(to).await.map_err(unreached)?;
            let passed = match asked {
                Asked::Get(path) => get(&mut line, to, path).await,
                Asked::Grpc(service) => serving::ask(&mut line, to, service, self.timeout).await,
            };
            passed.map_err(Some)
        };
        let elapsed = |_| Err(Some("timeout".to_owned()));
        tokio::time::timeout(self.timeout, asking).await.unwrap_or_else(elapsed)
    }
}

/// Whether a GET of `path` is answered by 2xx.
async fn get(line: &mut Line, to: &Target, path: &str) -> Result<(), String> {
    let status = line.get(to, path, ANYTHING).await?.status();
    if status.is_success() { Ok(()) } else { Err(format!("status {}", status.as_u16())) }
}

/// The checks of one backend.
pub struct Prober {
    asker: Rc<Asker>,
    backend: Arc<Backend>,
    target: Target,
    checks: HealthChecks,
    events: mpsc::UnboundedSender<Event>,
    clock: Clock,
    rng: Rng,
}

impl Prober {
    /// Checks `backend` as `checks` says, by `tls` where TLS is spoken with it, and reports to `events`.
    #[must_use]
    pub(super) fn new(
        asker: &Rc<Asker>,
        (backend, target): (&Arc<Backend>, Target),
        checks: &HealthChecks,
        events: mpsc::UnboundedSender<Event>,
        clock: Clock,
    ) -> Self {
        Prober {
            asker: Rc::clone(asker),
            backend: Arc::clone(backend),
            target,
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
            let asked = self.asker.ask(&self.target, &self.checks.asked).await;
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
        let (nudge, nudged) = mpsc::channel(1);
        let tls = self.certificates.in_force.backends.as_ref();
        let target = Target::of(&entry.backend, tls, &self.config.pool);
        let prober = Prober::new(asker, (&entry.backend, target), health, events, self.clock);
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
