//! Who is told when something moves on a connection to a backend: the request that has it, and nobody while it rests.
//!
//! hyper's connection and whoever waits for its answers live in one task here, and would wake each other: an answer that was
//! read a moment ago, a piece of a body that was taken. Each such wake runs the client's task once more for nothing. So the
//! connection is polled with a waker of its own, which also remembers that something moved: a connection that rests and has
//! not been nudged is as it was, and needs no look.
//! How it fails: a nudge too many is a look too many. One is ignored only while a piece of a body is taken, which is always
//! followed by driving the connection, or by its rest.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

/// One connection's.
#[derive(Default)]
struct Ear {
    /// The task of the request that has the connection.
    request: AtomicWaker,
    /// Something has moved since the connection was polled.
    moved: AtomicBool,
    /// What comes now is told by whom it would be told to. All of it happens in one thread.
    deaf: AtomicBool,
}

impl Wake for Ear {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.deaf.load(Relaxed) {
            self.moved.store(true, Relaxed);
            self.request.wake();
        }
    }
}

/// A connection's waker, and what it was told.
pub(super) struct Nudge {
    ear: Arc<Ear>,
    waker: Waker,
}

impl Default for Nudge {
    fn default() -> Self {
        let ear = Arc::<Ear>::default();
        Nudge { waker: Waker::from(Arc::clone(&ear)), ear }
    }
}

impl Nudge {
    /// What to poll the connection with, on behalf of whoever polls with `cx`.
    pub(super) fn on_behalf_of(&self, cx: &Context<'_>) -> Context<'_> {
        self.ear.request.register(cx.waker());
        self.ear.moved.store(false, Relaxed);
        Context::from_waker(&self.waker)
    }

    /// Nobody has the connection any more.
    pub(super) fn rest(&self) {
        self.ear.request.take();
    }

    /// Whether something has moved since the connection was polled.
    pub(super) fn moved(&self) -> bool {
        self.ear.moved.load(Relaxed)
    }

    /// Runs `take`, whose nudges tell the caller nothing.
    pub(super) fn ignored<T>(&self, take: impl FnOnce() -> T) -> T {
        self.ear.deaf.store(true, Relaxed);
        let taken = take();
        self.ear.deaf.store(false, Relaxed);
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn who_has_it_is_woken_and_a_rest_only_remembers() {
        let (nudge, count) = (Nudge::default(), Arc::<Count>::default());
        let request = Waker::from(Arc::clone(&count));
        let mut seen = nudge.on_behalf_of(&Context::from_waker(&request)).waker().clone();
        assert!(!nudge.moved());
        nudge.ignored(|| seen.wake_by_ref());
        assert_eq!((nudge.moved(), count.0.load(Relaxed)), (false, 0));
        seen.wake_by_ref();
        assert_eq!((nudge.moved(), count.0.load(Relaxed)), (true, 1));
        seen = nudge.on_behalf_of(&Context::from_waker(&request)).waker().clone();
        assert!(!nudge.moved(), "it has been looked at");
        nudge.rest();
        seen.wake();
        assert_eq!((nudge.moved(), count.0.load(Relaxed)), (true, 1), "nobody has it");
    }
}
