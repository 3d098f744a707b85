//! CPU work off the network threads: at most as many jobs at once as there are cores, each can be called off.
//!
//! Why this way: tokio's blocking pool would start hundreds of threads and let them fight for the cores; a semaphore
//! in front keeps the excess waiting as cheap futures, and the server goes on answering its probes. When the caller
//! goes away (client gone, server stopping) the future is dropped, and its drop raises the job's stop flag: no thread
//! keeps computing for nobody. How it fails: a job that panicked yields `None`, as does one that was called off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock;

/// Spins between two looks at the clock while burning: some microseconds, so that a burn ends on time.
const SPINS_PER_LOOK: u32 = 1_000;

/// A bounded way to the blocking pool.
#[derive(Clone, Debug)]
pub struct CpuPool {
    permits: Arc<Semaphore>,
}

/// Handed to a job: says whether anybody still waits for the result.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// True when nobody waits any more.
    #[must_use]
    pub fn raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Raises its flag when the waiting future is dropped.
struct RaiseOnDrop(Stop);

impl Drop for RaiseOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl CpuPool {
    /// At most `jobs` (at least one) run at once.
    #[must_use]
    pub fn new(jobs: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(jobs.max(1))) }
    }

    /// Runs `job` on a blocking thread as soon as one of the permits is free.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Stop) -> Option<T> + Send + 'static,
    ) -> Option<T> {
        let permit = self.permits.clone().acquire_owned().await.ok()?;
        let stop = Stop::default();
        let _raise = RaiseOnDrop(stop.clone());
        let work = tokio::task::spawn_blocking(move || {
            let result = job(&stop);
            // The permit travels with the job: a dropped caller must not let another one in before the core is free.
            drop(permit);
            result
        });
        work.await.ok().flatten()
    }

    /// Keeps one core busy for `time`.
    pub async fn burn(&self, time: Duration) {
        self.run(move |stop| {
            let begun = clock::tick();
            while begun.elapsed() < time && !stop.raised() {
                (0..SPINS_PER_LOOK).for_each(|_| std::hint::spin_loop());
            }
            Some(())
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_back_what_the_job_found() {
        assert_eq!(CpuPool::new(1).run(|_| Some(7)).await, Some(7));
    }

    #[tokio::test]
    async fn a_dropped_caller_stops_the_job_and_frees_its_place() {
        let pool = CpuPool::new(1);
        let (started, has_started) = tokio::sync::oneshot::channel();
        let endless = pool.run(move |stop| {
            let _ = started.send(());
            while !stop.raised() {
                std::hint::spin_loop();
            }
            Some(())
        });
        tokio::select! {
            _ = endless => panic!("it cannot end by itself"),
            begun = has_started => begun.unwrap(),
        }
        // Would wait for ever if the endless job still held the only place.
        assert_eq!(pool.run(|_| Some(1)).await, Some(1));
    }

    #[tokio::test]
    async fn a_panicking_job_is_none() {
        assert_eq!(CpuPool::new(1).run(|_| -> Option<u8> { panic!("as the test wants") }).await, None);
    }

    #[tokio::test]
    async fn burning_takes_at_least_its_time() {
        let begun = clock::tick();
        CpuPool::new(1).burn(Duration::from_millis(5)).await;
        assert!(begun.elapsed() >= Duration::from_millis(5));
    }
}
