//! Where requests wait while every backend that could take them is full: short, bounded in number and in time, first come
//! first served over all workers.
//!
//! Whoever frees a place wakes whoever has waited longest. That one may have no use for it (it has tried that backend, or
//! came before it joined), so everybody looks again every [`LOOK`]. Who comes while others wait does not go before them.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::sync::Notify;

/// Between two looks without being woken: what only these find is free for that long.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// The queue of one pool.
#[derive(Debug, Default)]
pub struct Queue {
    /// Whoever comes counts itself and looks; whoever goes gives its place back and looks here. One of the two sees the other,
    /// hence the order.
    waiting: AtomicUsize,
    freed: Notify,
}

/// A place in the queue, given up when dropped.
pub(super) struct Waiting(Arc<Queue>);

impl Queue {
    /// Requests that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Takes a place, unless `most` are taken.
    pub(super) fn join(self: &Arc<Self>, most: usize) -> Option<Waiting> {
        let more = |waiting: usize| (waiting < most).then_some(waiting + 1);
        self.waiting.fetch_update(SeqCst, SeqCst, more).ok()?;
        Some(Waiting(Arc::clone(self)))
    }

    /// A backend can take one more.
    pub(super) fn free(&self) {
        // With nobody there it would be kept for whoever comes next, who has looked already.
        if self.waiting() > 0 {
            self.freed.notify_one();
        }
    }
}

impl Waiting {
    /// Waits to be woken: from when it is polled or enabled for the first time.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.freed.notified()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[test]
    fn it_is_bounded_and_wakes_in_order() {
        let queue = Arc::new(Queue::default());
        assert!(queue.join(0).is_none());
        let (first, second) = (queue.join(2).unwrap(), queue.join(2).unwrap());
        assert!(queue.join(2).is_none());
        let mut cx = Context::from_waker(Waker::noop());
        let (mut one, mut two) = (pin!(first.freed()), pin!(second.freed()));
        assert!(one.as_mut().poll(&mut cx).is_pending() && two.as_mut().poll(&mut cx).is_pending());
        queue.free();
        assert!(two.as_mut().poll(&mut cx).is_pending());
        assert!(one.as_mut().poll(&mut cx).is_ready());
        queue.free();
        assert!(two.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn who_leaves_when_woken_wakes_the_next() {
        let queue = Arc::new(Queue::default());
        let (first, second) = (queue.join(2).unwrap(), queue.join(2).unwrap());
        let mut cx = Context::from_waker(Waker::noop());
        let mut two = pin!(second.freed());
        {
            let mut one = pin!(first.freed());
            assert!(one.as_mut().poll(&mut cx).is_pending() && two.as_mut().poll(&mut cx).is_pending());
            queue.free();
        }
        assert!(two.as_mut().poll(&mut cx).is_ready());
        drop(first);
        assert_eq!(queue.waiting(), 1);
    }
}
