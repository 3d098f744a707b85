//! Where backends are found by looking: see [`crate::discovery`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Kubernetes;

/// Who says which backends there are, beside the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Discovery {
    /// Who is asked; `None` asks nobody.
    pub finder: Option<Finder>,
    /// What is said within this time is taken in at once.
    pub settle: Duration,
    /// What a source calls a region or zone, and the region that it is here.
    pub regions: BTreeMap<String, String>,
}

/// A source of backends.
#[derive(Debug, Clone, PartialEq)]
pub enum Finder {
    /// A file that is watched.
    File(PathBuf),
    /// EndpointSlices of a Kubernetes cluster.
    Kubernetes(Box<Kubernetes>),
}

impl Finder {
    /// Its name in logs, and the metric label `source`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Finder::File(_) => "file",
            Finder::Kubernetes(_) => "kubernetes",
        }
    }
}
