//! Scrapes of one backend: GET, read, report, wait. What a report is worth is decided elsewhere.
//!
//! A scrape that fails says that the telemetry is gone, not the backend: it never touches health. After three in a row
//! the balancer says so, once, and the numbers go from the metrics, where a frozen one would pass for the truth.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use lb_core::fact::Fact;
use lb_core::signal::Report;
use lb_core::{Rng, Tick};
use prometheus::GaugeVec;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Control;
use super::fetch::Fetcher;
use super::line::Target;
use super::prober::jittered;
use crate::clock::{self, Clock};
use crate::event::{Event, Scraped};
use crate::observe::live::publish_report;
use crate::observe::metrics::forget_signals;
use crate::registry::Backend;
use crate::telemetry::{Miss, RESULTS, Reader};

/// Scrapes in a row that must fail before a backend's telemetry counts as lost.
const LOST_AFTER: u32 = 3;

/// What a backend has told about itself, and who asks it.
#[derive(Default)]
pub(super) struct Told {
    /// Scrapes that have failed since.
    pub(super) misses: u32,
    /// Why the last of them did.
    pub(super) error: String,
    /// What its last scrape brought, and how many have brought something: for the other balancers.
    pub(super) own: Option<(u64, Report)>,
    brought: u64,
    /// Whose report was taken last instead of a scrape, and which of theirs; and when.
    pub(super) relayed: Option<(String, u64)>,
    pub(super) relayed_at: Option<Tick>,
    scraper: Option<AbortHandle>,
}

impl Told {
    fn lost(&self) -> bool {
        self.misses >= LOST_AFTER
    }

    /// Whether this balancer asks it.
    pub(super) fn scraping(&self) -> bool {
        self.scraper.is_some()
    }

    /// Asks it no more: others do.
    pub(super) fn stop(&mut self) {
        if let Some(scraper) = self.scraper.take() {
            scraper.abort();
        }
        self.own = None;
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(scraper) = &self.scraper {
            scraper.abort();
        }
    }
}

/// The scrapes of one backend.
struct Scraper {
    fetcher: Rc<Fetcher>,
    backend: u64,
    target: Target,
    path: String,
    max_bytes: usize,
    interval: Duration,
    reader: Reader,
    events: mpsc::UnboundedSender<Event>,
    clock: Clock,
    rng: Rng,
}

impl Scraper {
    /// Scrapes until the control task is gone.
    async fn run(mut self) {
        let mut line = None;
        loop {
            let Some(permit) = self.fetcher.permit().await else { return };
            let started = self.clock.now();
            let body = self.fetcher.fetch(&self.target, &mut line, &self.path, self.max_bytes).await;
            let at = self.clock.now();
            let result = body.and_then(|body| self.reader.read(&body, at));
            drop(permit);
            let scraped = Scraped { backend: self.backend, at, took: at.since(started), result };
            if self.events.send(Event::Scraped(scraped)).is_err() {
                return;
            }
            tokio::time::sleep(jittered(self.interval, &mut self.rng)).await;
        }
    }
}

impl Control {
    /// Begins to scrape every member, where that is on and under way; those that were scraped in another way are begun
    /// anew. `afresh` where other numbers are read now: what was learned from the old ones is forgotten.
    pub(super) fn start_scrapes(&mut self, afresh: bool) {
        let scrape = &self.config.signals.scrape;
        self.fetcher = scrape.as_ref().map(|scrape| Fetcher::new(scrape.timeout));
        self.metrics.reported().into_iter().for_each(GaugeVec::reset);
        self.metrics.backend_reported_in_flight.reset();
        self.metrics.scrape_age.reset();
        for at in 0..self.entries.len() {
            let entry = &mut self.entries[at];
            entry.told = Told::default();
            if afresh {
                entry.weight.meter.forget();
            }
            entry.backend.scraped.store(0, Relaxed);
            self.scrape(at);
        }
    }

    /// Begins to scrape an entry, where scrapes are on and under way.
    pub(super) fn scrape(&mut self, at: usize) {
        let (Some(settings), Some(fetcher), Some(events)) =
            (&self.config.signals.scrape, &self.fetcher, self.events.clone())
        else {
            return;
        };
        let to_scrape = self.is_to_scrape(at, settings.interval, self.clock.now());
        let entry = &mut self.entries[at];
        let backend = &entry.backend;
        for result in RESULTS {
            self.metrics.scrapes.with_label_values(&[&self.metrics.pool, entry.series.label(), result]);
        }
        mark(backend, self.clock.now());
        if !to_scrape {
            return;
        }
        let scraper = Scraper {
            fetcher: Rc::clone(fetcher),
            backend: backend.id,
            target: match settings.port {
                Some(port) => Target::beside(backend, port),
                None => Target::of(backend, self.certificates.in_force.backends.as_ref(), &self.config.pool),
            },
            path: settings.path.clone(),
            max_bytes: settings.max_bytes,
            interval: settings.interval,
            reader: Reader::new(settings, &backend.name),
            events,
            clock: self.clock,
            rng: clock::entropy(),
        };
        entry.told.scraper = Some(tokio::task::spawn_local(scraper.run()).abort_handle());
    }

    /// A scrape has ended; true where others must see a change.
    pub(super) fn scraped(&mut self, scraped: Scraped) -> bool {
        let asked = |e: &super::Entry| e.backend.id == scraped.backend && e.told.scraper.is_some();
        let Some(at) = self.entries.iter().position(asked) else {
            // It has left, or scrapes were turned off meanwhile.
            return false;
        };
        let (pool, series) = (self.metrics.pool.as_str(), &self.entries[at].series);
        let result = scraped.result.as_ref().err().map_or(RESULTS[0], Miss::result);
        self.metrics.scrapes.with_label_values(&[pool, series.label(), result]).inc();
        self.metrics.scrape_duration.with_label_values(&[pool]).observe(scraped.took.as_secs_f64());
        match scraped.result {
            Ok(report) => {
                let told = &mut self.entries[at].told;
                told.brought += 1;
                told.own = Some((told.brought, report));
                self.reported(at, scraped.at, report, false);
            }
            Err(miss) => self.missed(at, &miss),
        }
        false
    }

    /// A backend has told how it is, to us or, `relayed`, to another balancer.
    pub(super) fn reported(&mut self, at: usize, now: Tick, report: Report, relayed: bool) {
        let entry = &mut self.entries[at];
        let back = entry.told.lost();
        (entry.told.misses, entry.told.error) = (0, String::new());
        mark(&entry.backend, now);
        // Asked at its own port, the backend was answering us as well.
        let own = self.config.signals.scrape.as_ref().is_some_and(|scrape| scrape.port.is_none());
        let others = report.in_flight.map(|all| if own { (all - 1.0).max(0.0) } else { all });
        if entry.weight.meter.scraped(now, &report, entry.backend.load.tallies().good) {
            let (load, report) = (&entry.backend.load, Report { in_flight: others, ..report });
            if relayed {
                load.relayed(now, &report);
            } else {
                load.scraped(now, &report);
            }
        }
        if let Some(name) = entry.series.own() {
            publish_report(&self.metrics, name, &report);
        }
        if back {
            let backend = entry.backend.name.clone();
            self.tell(Fact::SignalsBack { backend });
        }
    }

    fn missed(&mut self, at: usize, miss: &Miss) {
        let entry = &mut self.entries[at];
        let before = entry.told.lost();
        entry.told.misses = entry.told.misses.saturating_add(1);
        entry.told.own = None;
        entry.told.error = miss.to_string();
        entry.weight.meter.missed();
        if entry.told.lost() && !before {
            let (backend, reason) = (entry.backend.name.clone(), entry.told.error.clone());
            forget_signals(&self.metrics, &backend);
            self.tell(Fact::SignalsLost { backend, reason });
        }
    }
}

/// Notes when a backend last told something, or began to be asked: its age is read from there.
fn mark(backend: &Backend, now: Tick) {
    // 0 is for a backend that nobody asks.
    backend.scraped.store(now.nanos().max(1), Relaxed);
}
