//! The access log: one line for each request, when it ends.
//!
//! A worker writes lines into a buffer of its own and hands it over when it is full or a moment old; one thread writes the
//! buffers. What it cannot write in time (a full disk, a pipe that nobody reads) piles up to a limit in lines and one in
//! bytes, beyond which lines are dropped and counted (`lb_access_log_lines_total`). No request ever waits for any of it. A
//! write that hangs is left behind by the next reload: what waits goes to a thread of its own, with the file opened anew.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lb_core::Tick;
use prometheus::IntCounter;

use super::metrics::Metrics;
use super::trail::{Ending, Trail};
use queue::{Message, Queue};
use sink::Sink;

pub(crate) mod escape;
mod line;
mod queue;
mod sink;

pub use sink::Target;

/// A buffer this long is handed over, in bytes: a few hundred lines.
const FULL: usize = 64 << 10;
/// So is one when a line comes this long after the last time, and any at housekeeping.
const OLD: Duration = Duration::from_millis(100);

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An object a line.
    Json,
    /// As web servers write it, with `key=value` behind.
    Text,
}

/// What is written, at the moment.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// How a line looks.
    pub format: Format,
    /// The query is written behind the path.
    pub query: bool,
}

/// What all workers write to.
pub struct AccessLog {
    /// What the writing thread has to do, once there is one. Locked ten times a second by each worker with traffic, more often
    /// where its buffer fills sooner, and at a reload.
    queue: Mutex<Option<Arc<Queue>>>,
    most: AtomicUsize,
    written: IntCounter,
    dropped: IntCounter,
    now: Arc<dyn Fn() -> Tick + Send + Sync>,
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog").field("most", &self.most).finish_non_exhaustive()
    }
}

impl AccessLog {
    /// One that goes nowhere yet. `now` is the clock, for how often trouble is told and how long a write takes.
    #[must_use]
    pub fn new(metrics: &Metrics, now: impl Fn() -> Tick + Send + Sync + 'static) -> Arc<Self> {
        let count = |result: &str| metrics.access_log_lines.with_label_values(&[result]);
        Arc::new(AccessLog {
            queue: Mutex::default(),
            most: AtomicUsize::new(0),
            written: count("written"),
            dropped: count("dropped"),
            now: Arc::new(now),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Queue>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes to `target` from now on, which is opened anew; at most `most` lines wait. Where the writing thread hangs, another
    /// takes over.
    ///
    /// # Errors
    /// Where it cannot be opened: then everything stays as it was.
    pub fn open(&self, target: &Target, most: usize) -> std::io::Result<()> {
        let file = target.open()?;
        let mut current = self.lock();
        if let Some(queue) = &*current
            && !queue.hangs((self.now)())
        {
            queue.tell(Message::Turn(file));
        } else {
            let queue = Arc::new(Queue::default());
            let writer = Sink {
                file,
                queue: Arc::clone(&queue),
                written: self.written.clone(),
                dropped: self.dropped.clone(),
                now: Arc::clone(&self.now),
            };
            std::thread::Builder::new().name("access-log".to_owned()).spawn(move || writer.run())?;
            if let Some(hanging) = current.replace(Arc::clone(&queue)) {
                let lost = hanging.hand_on(&queue);
                self.dropped.inc_by(lost as u64);
                tracing::warn!(lost, "the access log hung: it goes on in a thread of its own");
            }
        }
        self.most.store(most, Relaxed);
        Ok(())
    }

    /// Waits until everything is written that was handed over, at most for `patience`. Blocks.
    pub fn flush(&self, patience: Duration) {
        let (done, wait) = mpsc::channel();
        let Some(queue) = self.lock().clone() else { return };
        queue.tell(Message::Flush(done));
        if wait.recv_timeout(patience).is_err() {
            tracing::warn!("lines of the access log are left behind: they could not be written in time");
        }
    }

    fn hand_over(&self, bytes: Vec<u8>, lines: usize) {
        // Under the lock: nothing may come to a queue that has been handed on.
        let taken =
            self.lock().as_ref().is_some_and(|queue| queue.lines(bytes, lines, self.most.load(Relaxed)));
        if !taken {
            self.dropped.inc_by(lines as u64);
        }
    }
}

/// The writing thread ends with what it has been given.
impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(queue) = &*self.lock() {
            queue.close();
        }
    }
}

/// One worker's buffer.
#[derive(Debug)]
pub struct Lines {
    log: Arc<AccessLog>,
    buffer: RefCell<Vec<u8>>,
    count: Cell<usize>,
    handed_over: Cell<Tick>,
}

impl Lines {
    /// An empty one.
    #[must_use]
    pub fn new(log: &Arc<AccessLog>) -> Self {
        Lines {
            log: Arc::clone(log),
            buffer: RefCell::default(),
            count: Cell::new(0),
            handed_over: Cell::new(Tick::ZERO),
        }
    }

    /// Writes a request down that ended at `now`, which is `at` in milliseconds since 1970.
    pub fn add(&self, trail: &Trail, ending: &Ending<'_>, style: Style, (now, at): (Tick, u64)) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.capacity() == 0 {
            buffer.reserve(FULL + FULL / 8);
        }
        line::write(&mut buffer, trail, ending, style, at);
        self.count.set(self.count.get() + 1);
        let full = buffer.len() >= FULL;
        drop(buffer);
        if full || now.since(self.handed_over.get()) >= OLD {
            self.handed_over.set(now);
            self.flush();
        }
    }

    /// Hands over what there is.
    pub fn flush(&self) {
        let lines = self.count.replace(0);
        if lines > 0 {
            let mut bytes = self.buffer.take();
            // A few lines must not hold the memory of hundreds while they wait.
            if bytes.len() < bytes.capacity() / 2 {
                bytes.shrink_to_fit();
            }
            self.log.hand_over(bytes, lines);
        }
    }
}

/// Who goes leaves nothing behind.
impl Drop for Lines {
    fn drop(&mut self) {
        self.flush();
    }
}
