//! A watched file as a source: TOML with `[[backend]]` entries, the keys of `[[pool.backend]]` and `draining`.
//!
//! Looked at once a second by reading it: that also sees a file put in another's place, and a swapped symbolic link (a
//! ConfigMap). What is read must be the same twice, so that nobody is in the middle of writing it. A file with faults, or
//! one that is gone, takes nobody out: the last list holds, and the reason is told.

use std::path::Path;
use std::time::Duration;

use super::{Found, Outlet, Said};
use crate::config;

/// Between looks at the file, as at the configuration.
const LOOK: Duration = Duration::from_secs(1);

/// What the file says.
///
/// # Errors
/// All faults at once, in one line, or why it cannot be read.
pub fn read(path: &Path) -> Result<Vec<Found>, String> {
    understand(std::fs::read_to_string(path).map_err(|error| error.to_string()))
}

fn understand(text: Result<String, String>) -> Said {
    let text = text.map_err(|error| format!("cannot be read: {error}"))?;
    config::found(&text).map_err(|faults| faults.without_values())
}

/// Says what the file says, and says it again whenever it has changed.
pub(super) async fn watch(path: &Path, outlet: &Outlet) {
    let look = || std::fs::read_to_string(path).map_err(|error| error.to_string());
    let mut last = look();
    let mut said = last.clone();
    outlet.say(understand(said.clone()));
    loop {
        tokio::time::sleep(LOOK).await;
        let seen = look();
        let settled = seen == last;
        last = seen;
        if settled && last != said {
            said.clone_from(&last);
            outlet.say(understand(said.clone()));
        }
    }
}
