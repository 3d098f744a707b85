//! Certificates in force, and their successors when files change: what cannot be used never displaces what can.
//!
//! The configuration has read the files and vouches for them. From then on they are looked at once a second, as the database of
//! countries is; all files of a place are read again together, so a certificate whose key is not there yet is refused and comes
//! into force with it. Connections keep what they shook hands by: nothing is dropped.

use std::path::PathBuf;
use std::time::Duration;

use lb_core::fact::Fact;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Control;
use crate::event::Event;
use crate::observe::{Metrics, zero};
use crate::seen::{Stamp, Watch};
use crate::tls::{Certified, Fault, Place, RESULTS, Renewed};

/// Between looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// What is in force, and the task that watches its files.
#[derive(Default)]
pub(super) struct Certificates {
    pub(super) in_force: Certified,
    watching: Option<AbortHandle>,
    /// How often watching was begun.
    number: u64,
}

impl Control {
    /// Does as the configuration says now.
    pub(super) fn certify(&mut self) {
        let (config, before) = (&self.config, self.certificates.in_force.backends.take());
        let backends = config.pool.tls.client.clone();
        let changed = before != backends;
        if changed && backends.as_ref().is_some_and(|client| !client.verifies()) {
            tracing::warn!("pool.tls.insecure_skip_verify: anybody on the way to backends can pose as one");
        }
        self.certificates.in_force = Certified {
            traffic: config.tls.as_ref().map(|tls| tls.server.clone()),
            admin: config.admin_tls.clone(),
            backends,
        };
        Place::ALL.into_iter().for_each(|place| self.describe_certificates(place));
        self.watch_certificates();
        if changed {
            self.ask_anew();
        }
    }

    /// Has the files watched from now on that are in force.
    pub(super) fn watch_certificates(&mut self) {
        if let Some(before) = self.certificates.watching.take() {
            before.abort();
        }
        self.certificates.number += 1;
        let Some(events) = self.events.clone() else { return };
        let watched =
            |place| self.certificates.in_force.at(place).map(|renewed| Watched::new(place, renewed));
        let all: Vec<Watched> = Place::ALL.into_iter().filter_map(watched).collect();
        if !all.is_empty() {
            self.certificates.watching =
                Some(tokio::task::spawn_local(watch(self.certificates.number, all, events)).abort_handle());
        }
    }

    /// Files of `place` have changed.
    pub(super) fn certified(&mut self, number: u64, place: Place, read: Result<Renewed, Fault>) -> bool {
        if number != self.certificates.number {
            // Read before the configuration named others, or read them itself.
            return false;
        }
        let metrics = &self.metrics;
        let in_force = |ok: bool| {
            metrics.tls_reload_ok.with_label_values(&[place.name()]).set(i64::from(ok));
        };
        match read {
            Ok(renewed) => {
                in_force(true);
                let ends = renewed.ends().iter().map(|(_, end)| *end).min().unwrap_or(0);
                self.certificates.in_force.put(place, renewed);
                self.describe_certificates(place);
                self.tell(Fact::CertificatesRenewed { place: place.name(), ends });
                if place == Place::Backends {
                    self.ask_anew();
                }
                true
            }
            Err(fault) => {
                in_force(false);
                self.tell(Fact::CertificatesRefused { place: place.name(), reason: fault.to_string() });
                false
            }
        }
    }

    /// Checks and scrapes of backends by what is in force now.
    fn ask_anew(&mut self) {
        for at in 0..self.entries.len() {
            if self.entries[at].backend.secure.is_none() {
                continue;
            }
            if let Some((prober, _)) = self.entries[at].prober.take() {
                prober.abort();
                self.probe(at);
            }
            if self.entries[at].told.scraping() {
                self.entries[at].told.stop();
                self.scrape(at);
            }
        }
    }

    fn describe_certificates(&self, place: Place) {
        let metrics: &Metrics = &self.metrics;
        let name = place.name();
        metrics.forget_certificates(name);
        let renewed = self.certificates.in_force.at(place);
        for (file, end) in renewed.iter().flat_map(|renewed| renewed.ends()) {
            metrics.tls_ends.with_label_values(&[name, &file.to_string_lossy()]).set(*end as i64);
        }
        if renewed.is_some() {
            metrics.tls_reload_ok.with_label_values(&[name]).set(1);
        }
        if matches!(renewed, Some(Renewed::Server(_))) {
            zero::handshakes(metrics, name, &RESULTS);
        }
        if place == Place::Backends {
            let unverified = self.certificates.in_force.backends.as_ref().is_some_and(|c| !c.verifies());
            metrics.tls_unverified.with_label_values(&[&metrics.pool]).set(i64::from(unverified));
        }
    }
}

/// The files of one place.
struct Watched {
    place: Place,
    renewed: Renewed,
    files: Vec<(PathBuf, Watch)>,
}

impl Watched {
    fn new(place: Place, renewed: Renewed) -> Self {
        let files = renewed.files().iter().map(|(file, stamp)| (file.clone(), Watch::new(*stamp))).collect();
        Watched { place, renewed, files }
    }

    fn look(&mut self) -> bool {
        // Every file is looked at, also behind one that has changed.
        self.files.iter_mut().fold(false, |due, (file, watch)| watch.look(Stamp::of(file)) | due)
    }
}

/// Reads the files of a place again whenever one of them has changed, beside the control task.
async fn watch(number: u64, mut all: Vec<Watched>, events: mpsc::UnboundedSender<Event>) {
    loop {
        tokio::time::sleep(LOOK).await;
        for watched in &mut all {
            if !watched.look() {
                continue;
            }
            let before = watched.renewed.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || before.again()).await else { return };
            if events.send(Event::Certified(number, watched.place, read)).is_err() {
                return;
            }
        }
    }
}
