//! Where clients are, as the control task keeps it: the database in force, its successor when the file changes, and the
//! regions of the members.
//!
//! A database that cannot be used never displaces one that can. At the start the configuration has vouched for the file; if
//! it has gone bad since, the bundled one stands in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lb_core::fact::Fact;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Control;
use crate::event::Event;
use crate::geo::{Database, Geo, Origin, Places, Resident};
use crate::seen::{Stamp, Watch};

/// Between looks at the file: databases come out daily at most, and a look is one system call.
const LOOK: Duration = Duration::from_secs(1);

/// What places clients, and the task that watches its file.
#[derive(Default)]
pub(super) struct Located {
    pub(super) geo: Option<Arc<Geo>>,
    origin: Option<Origin>,
    /// The file as it was when it was read.
    stamp: Option<Stamp>,
    /// The last [`Geo::number`].
    number: u64,
    watching: Option<(PathBuf, AbortHandle)>,
}

impl Control {
    /// Does as the configuration says now.
    pub(super) fn locate(&mut self) {
        let Some(config) = &self.config.geo else {
            (self.located.geo, self.located.origin) = (None, None);
            return self.metrics.geo_built.reset();
        };
        let origin = config.database.clone();
        let known = self.located.geo.as_ref().filter(|_| self.located.origin.as_ref() == Some(&origin));
        if let Some(geo) = known {
            let database = Arc::clone(&geo.database);
            return self.place(database);
        }
        // Looked at before it is read: what is written meanwhile shows as a change.
        self.located.stamp = stamp(&origin);
        let opened = Database::open(&origin).map(Arc::new).or_else(|reason| {
            self.tell(Fact::GeoRefused { database: origin.to_string(), reason });
            match &self.located.geo {
                Some(before) => Ok(Arc::clone(&before.database)),
                None => Database::open(&Origin::Bundled).map(Arc::new),
            }
        });
        self.located.origin = Some(origin);
        match opened {
            Ok(database) => self.place(database),
            // A test keeps the bundled one good.
            Err(error) => tracing::error!(%error, "the bundled country database"),
        }
    }

    /// Puts a database in force, over the regions that the configuration has now.
    fn place(&mut self, database: Arc<Database>) {
        let Some(config) = &self.config.geo else { return };
        self.located.number += 1;
        self.metrics.geo_built.with_label_values::<&str>(&[]).set(database.built() as i64);
        self.located.geo = Some(Arc::new(Geo {
            number: self.located.number,
            database,
            regions: Arc::clone(&config.regions),
            default: config.default_region,
        }));
    }

    /// Has the file watched from now on, if the database is one.
    pub(super) fn watch_database(&mut self) {
        let path = match &self.located.origin {
            Some(Origin::File(path)) => Some(path.clone()),
            _ => None,
        };
        if self.located.watching.as_ref().map(|(path, _)| path) == path.as_ref() {
            return;
        }
        if let Some((_, before)) = self.located.watching.take() {
            before.abort();
        }
        if let (Some(path), Some(events)) = (path, &self.events) {
            let watch = Watch::new(self.located.stamp);
            let watching = tokio::task::spawn_local(watched(path.clone(), watch, events.clone()));
            self.located.watching = Some((path, watching.abort_handle()));
        }
    }

    /// The file has changed.
    pub(super) fn relocated(&mut self, origin: &Origin, read: Result<Database, String>) -> bool {
        if self.located.origin.as_ref() != Some(origin) {
            // Read before the configuration named another.
            return false;
        }
        let database = origin.to_string();
        match read {
            Ok(read) => {
                let built = read.built();
                self.place(Arc::new(read));
                self.tell(Fact::GeoSwapped { database, built });
                true
            }
            Err(reason) => {
                self.tell(Fact::GeoRefused { database, reason });
                false
            }
        }
    }

    /// The regions of the entries.
    pub(super) fn places(&self, eligible: &[bool]) -> Places {
        let Some(geo) = &self.located.geo else { return Places::default() };
        let resident = |(entry, &eligible): (&super::Entry, &bool)| Resident {
            region: geo.regions.number(&entry.backend.region),
            stays: entry.leaving.is_none(),
            eligible,
        };
        Places::new(self.entries.iter().zip(eligible).map(resident))
    }
}

fn stamp(origin: &Origin) -> Option<Stamp> {
    match origin {
        Origin::Bundled => None,
        Origin::File(path) => Stamp::of(path),
    }
}

/// Reads the file again whenever it has changed, beside the control task: a large one takes its time.
async fn watched(path: PathBuf, mut watch: Watch, events: mpsc::UnboundedSender<Event>) {
    loop {
        tokio::time::sleep(LOOK).await;
        if !watch.look(Stamp::of(&path)) {
            continue;
        }
        let origin = Origin::File(path.clone());
        let source = origin.clone();
        let reading = tokio::task::spawn_blocking(move || Database::open(&source));
        let read = reading.await.unwrap_or_else(|error| Err(format!("could not be read: {error}")));
        if events.send(Event::Located(origin, read)).is_err() {
            return;
        }
    }
}
