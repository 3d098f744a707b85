//! A worker's buffers about regions, there only where regions matter. They are made for one list of regions; a reload that
//! changes the list makes new ones, and what still refers to the old ones counts under the old names.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus::local::{LocalHistogram, LocalIntCounter};

use super::metrics::Metrics;

/// The label of a region that is not known.
pub const UNKNOWN: &str = "unknown";

/// How a look-up came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The address is in a country of a region.
    Hit,
    /// The database has no country for it, or no region has that country.
    Miss,
    /// It is in no country: the database was not asked.
    Private,
    /// The database is damaged.
    Error,
}

impl Outcome {
    /// The labels, in order.
    pub const NAMES: [&str; 4] = ["hit", "miss", "private", "error"];
}

/// Why a request went to another region than its client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spill {
    /// The client's has no backend in the pool.
    NoBackends,
    /// It has some, but none is eligible.
    Unavailable,
    /// It has eligible ones: the algorithm chose otherwise.
    Load,
}

impl Spill {
    /// The labels, in order.
    pub const NAMES: [&str; 3] = ["no_backends", "unavailable", "load"];
}

/// What one worker counts about regions.
#[derive(Debug)]
pub struct RegionMeters {
    shared: Arc<Metrics>,
    /// In the order of the regions' numbers, and "unknown".
    names: Vec<String>,
    lookups: [LocalIntCounter; Outcome::NAMES.len()],
    durations: Vec<LocalHistogram>,
    spills: Vec<[LocalIntCounter; Spill::NAMES.len()]>,
    /// By client's and backend's region; of the many pairs most never occur, so each is made when it first does.
    requests: Vec<OnceCell<LocalIntCounter>>,
}

impl RegionMeters {
    /// Buffers for these regions.
    #[must_use]
    pub fn new(shared: &Arc<Metrics>, regions: &[String]) -> Rc<Self> {
        let names: Vec<String> =
            regions.iter().map(String::as_str).chain([UNKNOWN]).map(str::to_owned).collect();
        let spill = |region: &String| {
            Spill::NAMES
                .map(|reason| shared.geo_spillover.with_label_values(&[region.as_str(), reason]).local())
        };
        let duration = |name: &String| shared.geo_duration.with_label_values(&[name.as_str()]).local();
        Rc::new(RegionMeters {
            lookups: Outcome::NAMES.map(|outcome| shared.geo_lookups.with_label_values(&[outcome]).local()),
            durations: names.iter().map(duration).collect(),
            spills: regions.iter().map(spill).collect(),
            requests: vec![OnceCell::new(); names.len() * names.len()],
            shared: Arc::clone(shared),
            names,
        })
    }

    /// The name of a client's region.
    #[must_use]
    pub fn name(&self, region: Option<u8>) -> &str {
        &self.names[self.at(region)]
    }

    /// A client was looked up.
    pub fn looked_up(&self, outcome: Outcome) {
        self.lookups[outcome as usize].inc();
    }

    /// The first attempt of a request went from a client's region to a backend's; `spill` says why, if that is another.
    pub fn sent(&self, client: Option<u8>, backend: Option<u8>, spill: Option<Spill>) {
        let (from, to) = (self.at(client), self.at(backend));
        let counter = self.requests[from * self.names.len() + to].get_or_init(|| {
            let labels = [self.names[from].as_str(), self.names[to].as_str(), kind(client, backend)];
            self.shared.geo_requests.with_label_values(&labels).local()
        });
        counter.inc();
        if let (Some(spill), Some(spills)) = (spill, self.spills.get(from)) {
            spills[spill as usize].inc();
        }
    }

    /// A request of a client in `client` has ended.
    pub fn took(&self, client: Option<u8>, time: Duration) {
        self.durations[self.at(client)].observe(time.as_secs_f64());
    }

    /// Position of a region; of one that is not known, the last.
    fn at(&self, region: Option<u8>) -> usize {
        let last = self.names.len() - 1;
        region.map_or(last, |region| usize::from(region).min(last))
    }

    /// Adds everything buffered to the shared families.
    pub fn flush(&self) {
        self.lookups.iter().chain(self.spills.iter().flatten()).for_each(LocalIntCounter::flush);
        self.requests.iter().filter_map(OnceCell::get).for_each(LocalIntCounter::flush);
        self.durations.iter().for_each(LocalHistogram::flush);
    }
}

/// The label `match`.
fn kind(client: Option<u8>, backend: Option<u8>) -> &'static str {
    match (client, backend) {
        (Some(client), Some(backend)) if client == backend => "local",
        (Some(_), Some(_)) => "spillover",
        _ => UNKNOWN,
    }
}

/// Nothing counted is lost with a list of regions.
impl Drop for RegionMeters {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_once_under_its_regions() {
        let metrics = Arc::new(Metrics::new("p").unwrap());
        let meters = RegionMeters::new(&metrics, &["APAC".to_owned(), "EU".to_owned()]);
        meters.looked_up(Outcome::Private);
        meters.sent(Some(1), Some(1), None);
        meters.sent(Some(1), Some(0), Some(Spill::Load));
        meters.sent(None, Some(0), None);
        meters.sent(Some(0), None, None);
        meters.took(None, Duration::from_millis(7));
        drop(meters);
        let count = |labels: [&str; 3]| metrics.geo_requests.with_label_values(&labels).get();
        assert_eq!((count(["EU", "EU", "local"]), count(["EU", "APAC", "spillover"])), (1, 1));
        assert_eq!((count(["unknown", "APAC", "unknown"]), count(["APAC", "unknown", "unknown"])), (1, 1));
        assert_eq!(metrics.geo_spillover.with_label_values(&["EU", "load"]).get(), 1);
        assert_eq!(metrics.geo_lookups.with_label_values(&["private"]).get(), 1);
        assert_eq!(metrics.geo_duration.with_label_values(&["unknown"]).get_sample_count(), 1);
    }
}
