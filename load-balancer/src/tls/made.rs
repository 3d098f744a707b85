//! What is made of settings and of the files that they name: a [`Server`](super::Server) or a [`Client`](super::Client), which
//! are replaced whole when files change.

use std::fmt;
use std::path::PathBuf;

use super::files::Read;
use crate::seen::Stamp;

/// `settings` as they were given, and what rustls was configured with by them.
pub struct Made<Settings, Config> {
    pub(super) settings: Settings,
    pub(super) read: Read,
    pub(super) config: Config,
}

/// Without what the files hold.
impl<Settings: fmt::Debug, Config> fmt::Debug for Made<Settings, Config> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Made").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The same settings and the same contents of the files.
impl<Settings: PartialEq, Config> PartialEq for Made<Settings, Config> {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && self.read == other.read
    }
}

impl<Settings, Config> Made<Settings, Config> {
    /// The files, as they were before they were read.
    #[must_use]
    pub fn files(&self) -> &[(PathBuf, Option<Stamp>)] {
        &self.read.seen
    }

    /// When the certificates end, in seconds since the Unix epoch: of each chain what ends first.
    #[must_use]
    pub fn ends(&self) -> &[(PathBuf, u64)] {
        &self.read.ends
    }
}
