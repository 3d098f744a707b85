//! Everything that can happen to the pool, as data: sent by whoever sees it, handled by the control task alone.

use std::time::Duration;

use lb_core::health::Pace;
use tokio::sync::oneshot;

/// Something the control task must know.
#[derive(Debug)]
pub enum Event {
    /// A health check ended.
    Checked(Verdict),
    /// Traffic failed to connect to this backend several times in a row.
    Suspect(u64),
}

/// The result of one health check.
#[derive(Debug)]
pub struct Verdict {
    /// The backend's id.
    pub backend: u64,
    /// How long it took.
    pub took: Duration,
    /// What is wrong; `None` where it passed.
    pub fault: Option<String>,
    /// Tells the prober how soon to look again.
    pub pace: oneshot::Sender<Pace>,
}
