//! What tokio tells about one worker's runtime. Read by the worker itself when its buffers are flushed.

use prometheus::{Counter, IntGauge};
use tokio::runtime::RuntimeMetrics;

use super::metrics::Metrics;

/// One worker's.
#[derive(Debug)]
pub struct RuntimeMeters {
    tasks: IntGauge,
    queue: IntGauge,
    busy: Counter,
}

impl RuntimeMeters {
    /// For the worker that is called `worker`.
    #[must_use]
    pub fn new(metrics: &Metrics, worker: &str) -> Self {
        RuntimeMeters {
            tasks: metrics.runtime_tasks.with_label_values(&[worker]),
            queue: metrics.runtime_queue.with_label_values(&[worker]),
            busy: metrics.runtime_busy.with_label_values(&[worker]),
        }
    }

    /// Takes what the runtime says now. Its one thread is the worker's.
    pub fn read(&self, runtime: &RuntimeMetrics) {
        self.tasks.set(runtime.num_alive_tasks() as i64);
        self.queue.set(runtime.global_queue_depth() as i64);
        let busy = runtime.worker_total_busy_duration(0).as_secs_f64();
        // It only grows, but a counter takes nothing below zero well.
        self.busy.inc_by((busy - self.busy.get()).max(0.0));
    }
}
