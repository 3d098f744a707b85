//! What every request may look at: who this server is, how it feels, and where its work goes.
//!
//! One `Arc<App>` is shared by all connections; its moving parts are atomics, so that `/home` under load waits for
//! nobody. Answers that never change are rendered once, here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;

use crate::clock;
use crate::config::Config;
use crate::cpu::CpuPool;
use crate::fault::Faults;
use crate::meters::Meters;
use crate::usage::Limits;

/// The state behind the routes.
#[derive(Debug)]
pub struct App {
    /// Settings.
    pub config: Config,
    /// Counters and gauges.
    pub meters: Arc<Meters>,
    /// CPU work goes here.
    pub cpu: CpuPool,
    /// Faults on demand; `None` unless switched on at start.
    pub faults: Option<Faults>,
    /// When the service began.
    pub begun: Instant,
    /// The answer of `/home`.
    pub home: Bytes,
    healthy: AtomicBool,
    stop: watch::Sender<bool>,
}

impl App {
    /// `limits` says how many CPU jobs run at once.
    pub fn new(config: Config, limits: Option<Limits>) -> prometheus::Result<Self> {
        let cpu = CpuPool::new(jobs(limits));
        let home = json!({
            "message": format!("Hello from Server: {}", config.name),
            "status": "successful",
        });
        Ok(Self {
            meters: Arc::new(Meters::new(&config)?),
            faults: config.fault.then(|| Faults::new(cpu.clone())),
            begun: clock::tick(),
            home: Bytes::from(home.to_string()),
            healthy: AtomicBool::new(true),
            stop: watch::Sender::new(false),
            cpu,
            config,
        })
    }

    /// What `/health` says.
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Switches what `/health` and `/` say.
    pub fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
        self.meters.healthy.set(i64::from(healthy));
    }

    /// Tells all that would go on for long to end.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Comes back when the server is to stop.
    pub(crate) fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stop = self.stop.subscribe();
        // An error means that the app is gone, and so is the server.
        async move { drop(stop.wait_for(|stop| *stop).await) }
    }
}

/// One job for each core allowed, rounded up: half a core still runs one job.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of cores, at least one")]
fn jobs(limits: Option<Limits>) -> usize {
    limits.map_or(1, |limits| limits.cores.ceil().max(1.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_job_for_each_core_allowed() {
        let jobs_of = |cores| jobs(Some(Limits { cores, memory_bytes: 1 }));
        assert_eq!([jobs(None), jobs_of(0.2), jobs_of(1.5), jobs_of(8.0)], [1, 1, 2, 8]);
    }
}
