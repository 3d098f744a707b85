//! How much of the machine this process uses, as a share of what it may use.
//!
//! The figures are sampled once a second into gauges, not when somebody asks: a share of CPU needs two looks a known
//! time apart, and two scrapers must not shorten each other's window. The process's own accumulated CPU time is
//! divided by wall time and by the allowed cores, so 1.0 means "no more to give", in a container as on a host.
//! How it fails: where the process cannot be read (no /proc) the gauges keep their last values, zero at first.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

use crate::clock;
use crate::meters::Meters;

mod cgroup;

pub use cgroup::Limits;

/// Window of one sample. CPU time ticks every 10 ms, so a second resolves one percent of a core.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Reads this process's figures again and again.
#[derive(Debug)]
pub struct Usage {
    system: System,
    own: Pid,
    limits: Limits,
    last: Option<(Instant, u64)>,
}

/// One look at the process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Share of the allowed cores used since the last look, 0..1 (a little above 1 when the quota has burst).
    pub cpu_ratio: f64,
    /// CPU time used since the last look, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// Resident memory as a share of the limit, 0..1.
    pub memory_ratio: f64,
}

impl Usage {
    /// Finds out the limits; `None` where the platform does not tell a process its own id.
    #[must_use]
    pub fn new() -> Option<Self> {
        let refresh = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(refresh);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let host =
            Limits { cores: host_cores().unwrap_or(cores) as f64, memory_bytes: system.total_memory() };
        let limits = Limits::read(Path::new("/"), host);
        let own = sysinfo::get_current_pid().ok()?;
        Some(Self { system, own, limits, last: None })
    }

    /// What the process may use.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// One look; `None` when the process cannot be read.
    pub fn sample(&mut self) -> Option<Sample> {
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.own]), false, what);
        let process = self.system.process(self.own)?;
        let (now, used_ms) = (clock::tick(), process.accumulated_cpu_time());
        let memory_bytes = process.memory();
        let (cpu_seconds, elapsed) =
            self.last.replace((now, used_ms)).map_or((0.0, 0.0), |(then, before)| {
                (used_ms.saturating_sub(before) as f64 / 1e3, now.duration_since(then).as_secs_f64())
            });
        Some(Sample {
            cpu_ratio: share(cpu_seconds, elapsed * self.limits.cores),
            cpu_seconds,
            memory_bytes,
            memory_ratio: share(memory_bytes as f64, self.limits.memory_bytes as f64),
        })
    }

    /// Samples into the gauges until the task is dropped.
    pub async fn watch(mut self, meters: Arc<Meters>) {
        meters.limits(self.limits);
        let mut beat = tokio::time::interval(SAMPLE_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            if let Some(sample) = self.sample() {
                meters.usage(sample);
            }
        }
    }
}

/// Cores of the host, before any pinning or quota.
fn host_cores() -> Option<usize> {
    let system =
        System::new_with_specifics(RefreshKind::nothing().with_cpu(sysinfo::CpuRefreshKind::nothing()));
    Some(system.cpus().len()).filter(|&cores| cores > 0)
}

/// A share; nothing of nothing is nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_nothing_is_nothing() {
        assert_eq!(share(0.0, 0.0), 0.0);
        assert_eq!(share(1.0, 4.0), 0.25);
    }

    #[test]
    fn sees_its_own_memory_and_cpu() {
        let mut usage = Usage::new().unwrap();
        let first = usage.sample().unwrap();
        assert!(first.memory_bytes > 100_000, "{first:?}");
        assert!(first.memory_ratio > 0.0 && first.memory_ratio < 1.0, "{first:?}");
        assert_eq!(first.cpu_ratio, 0.0);
        // Burn until the kernel has booked some of it: the condition, not a time.
        let mut product = 1_u64;
        let used = loop {
            (1..200_000_u64).for_each(|i| product = std::hint::black_box(product.wrapping_mul(i | 1)));
            let sample = usage.sample().unwrap();
            if sample.cpu_seconds > 0.0 {
                break sample;
            }
        };
        assert!(used.cpu_ratio > 0.0, "{used:?}");
    }
}
