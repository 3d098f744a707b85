//! Waking up on time, to some microseconds.
//!
//! Tokio's timer knows whole milliseconds, and a second thread that watches the clock would add its way over to every
//! request. Linux's `timerfd` wakes the very loop that sends.
//! How it fails: where the system has no descriptor left, no alarm can be made.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::clock;

/// One alarm; it rings for one waiter.
#[derive(Debug)]
pub(crate) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// To be made inside a runtime.
    #[expect(
        deprecated,
        reason = "unsound only for types that may close or change their descriptor; OwnedFd does not, \
                                   and what replaces it is unsafe"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(AsyncFd::with_interest(timer, Interest::READABLE)?))
    }

    /// Waits until `at`; where that has passed, lets others have a turn, so that who is late does not lock them out.
    pub(crate) async fn until(&self, at: Instant) -> io::Result<()> {
        let left = at.saturating_duration_since(clock::now());
        if left.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        timerfd_settime(
            &self.0,
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: never, it_value: value },
        )?;
        loop {
            let mut count = [0; size_of::<u64>()];
            let mut ready = self.0.readable().await?;
            if let Ok(rung) = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut count)?)) {
                return rung.map(|_| ());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_rings_when_it_is_time_and_not_before() {
        let alarm = Alarm::new().unwrap();
        for wait in [300, 2_500, 0].map(Duration::from_micros) {
            let at = clock::now() + wait;
            alarm.until(at).await.unwrap();
            assert!(clock::now() >= at);
        }
    }
}
