//! Where replicas come from: a [`Provider`] starts and stops the backends of a pool that the balancer runs itself.
//!
//! The control task alone calls it, so futures stay on one thread and need no locks. A provider knows nothing of health
//! or traffic: that a replica serves is for the health checks to find out, and whoever removes one has drained it
//! before. What a provider alone can see, a replica's unasked end, it tells as a [`Death`]. How it fails: every error is
//! one line for people, and leaves nothing running that the caller does not know of.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

mod configured;
mod docker;
pub mod kubernetes;
mod process;

pub use configured::configured;
pub use docker::{Docker, DockerSettings};
pub use process::{Process, ProcessSettings};

/// Between asking a replica to end (TERM) and making it (KILL): what a backend needs for requests that a drain left over.
pub const STOP_GRACE: Duration = Duration::from_secs(5);

/// A future on the control thread.
pub type Task<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What a new replica is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Unique in its pool.
    pub name: String,
    /// Share of the traffic, told to the replica for its own metrics only.
    pub weight: u32,
    /// Region, told to the replica for its own metrics only.
    pub region: String,
}

/// A running replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// As ordered.
    pub name: String,
    /// Where it serves HTTP.
    pub address: SocketAddr,
}

/// A replica ended although nobody asked it to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// As ordered.
    pub name: String,
    /// How it ended, for logs: `exit status 1`, `killed by signal 9`.
    pub reason: String,
}

/// Starts and stops replicas. For every replica that ends unasked exactly one [`Death`] is sent, for a removed one none.
pub trait Provider {
    /// The label in logs and metrics: `process` or `docker`.
    fn kind(&self) -> &'static str;

    /// What runs already under this pool's name: cleans up what cannot be taken over, returns what can. Called once,
    /// before anything else.
    ///
    /// # Errors
    /// Where it cannot find out, or something of the pool's cannot be cleaned up.
    fn adopt(&self) -> Task<'_, Result<Vec<Replica>, String>>;

    /// Starts one, and returns once it has an address; a process listens by then, a container may still be starting.
    ///
    /// # Errors
    /// Where it does not start, or the name is taken. Nothing is left behind, also when the future is dropped.
    fn create(&self, order: Order) -> Task<'_, Result<Replica, String>>;

    /// Stops one: TERM, and KILL after [`STOP_GRACE`]. Names that are unknown or have ended are fine.
    ///
    /// # Errors
    /// Where it may still be running.
    fn remove<'a>(&'a self, name: &'a str) -> Task<'a, Result<(), String>>;

    /// Another balancer has taken over what outlives this process: a shutdown leaves that alone from now on.
    fn release(&self);

    /// Stops everything it started, all at once, as [`Provider::remove`] does; creates nothing from then on.
    fn shutdown(&self) -> Task<'_, ()>;
}
