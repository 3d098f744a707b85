//! Faults on demand, for the lab: slow, failing, burning, stuck, or narrow.
//!
//! The faults of a request come in the order in which a real server meets them: stuck (nobody answers), narrow (wait
//! for a place), slow, busy, then broken; so an error is as late as `latency_ms` says, and at once without it.
//! `stall` holds requests until it is switched off, as a paused process does that is then continued.
//! How it fails: bad input changes nothing, and the answer names the field and the way out. Requests under way keep
//! the settings they began with, so after a smaller `capacity` more than that may finish for a while.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::cpu::CpuPool;

mod parse;

/// What goes wrong; the default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Fault {
    /// Added to every answer, milliseconds.
    pub latency_ms: f64,
    /// Share of the requests answered with 500.
    pub error_rate: f64,
    /// One core kept busy for so long by each request, milliseconds.
    pub cpu_burn_ms: f64,
    /// Accept, but do not answer.
    pub stall: bool,
    /// Requests served at once; the excess waits. `None`: no bound.
    pub capacity: Option<u32>,
}

/// The current fault with the gate that its capacity needs.
#[derive(Clone, Debug, Default)]
struct Setting {
    fault: Fault,
    gate: Option<Arc<Semaphore>>,
}

/// The switchboard: one per server.
#[derive(Debug)]
pub struct Faults {
    setting: watch::Sender<Setting>,
    cpu: CpuPool,
}

/// What became of a request that went through the faults.
#[derive(Debug)]
pub enum Outcome {
    /// Serve it; the place, if one was needed, is to be kept until the answer is out.
    Serve(Option<OwnedSemaphorePermit>),
    /// Answer with 500; the place as above.
    Fail(Option<OwnedSemaphorePermit>),
}

impl Faults {
    /// No fault yet; `cpu` is where burning happens.
    #[must_use]
    pub fn new(cpu: CpuPool) -> Self {
        Self { setting: watch::Sender::new(Setting::default()), cpu }
    }

    /// What is set.
    #[must_use]
    pub fn current(&self) -> Fault {
        self.setting.borrow().fault.clone()
    }

    /// Changes the fields that the JSON names and leaves the others; on bad input changes nothing and says why.
    pub fn change(&self, json: &[u8]) -> Result<Fault, String> {
        let mut result = Err(String::new());
        self.setting.send_if_modified(|setting| {
            result = parse::apply(&setting.fault, json);
            let Ok(fault) = &result else { return false };
            setting.set(fault.clone());
            true
        });
        result
    }

    /// Back to none.
    pub fn clear(&self) {
        self.setting.send_modify(|setting| setting.set(Fault::default()));
    }

    /// Waits while stalled; all that telemetry has to suffer.
    pub async fn stalled(&self) {
        if self.setting.borrow().fault.stall {
            // Fails only when the sender is gone, and that is `self`.
            let _ = self.setting.subscribe().wait_for(|setting| !setting.fault.stall).await;
        }
    }

    /// Lets one request suffer what is set.
    pub async fn suffer(&self) -> Outcome {
        self.stalled().await;
        let place = self.place().await;
        let fault = self.current();
        if fault.latency_ms > 0.0 {
            tokio::time::sleep(millis(fault.latency_ms)).await;
        }
        if fault.cpu_burn_ms > 0.0 {
            self.cpu.burn(millis(fault.cpu_burn_ms)).await;
        }
        if fault.error_rate > 0.0 && rand::rng().random::<f64>() < fault.error_rate {
            return Outcome::Fail(place);
        }
        Outcome::Serve(place)
    }

    /// Waits for a place; a gate that was closed has been replaced, so look for the new one.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let gate = self.setting.borrow().gate.clone()?;
            if let Ok(permit) = gate.acquire_owned().await {
                return Some(permit);
            }
        }
    }
}

impl Setting {
    fn set(&mut self, fault: Fault) {
        if fault.capacity != self.fault.capacity {
            if let Some(old) = self.gate.take() {
                old.close();
            }
            let places = fault.capacity.and_then(|places| usize::try_from(places).ok());
            self.gate = places.map(|places| Arc::new(Semaphore::new(places)));
        }
        self.fault = fault;
    }
}

/// Checked by the parser to be finite, not negative and far below the maximum.
fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;
