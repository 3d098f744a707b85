//! Orders from outside: SIGTERM and Ctrl-C stop, SIGHUP has the configuration read again, SIGUSR2 has another process take
//! this one's place.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Catches the order from its creation on.
pub(crate) struct Stop {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Signal,
}

/// What was ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// To stop.
    Stop,
    /// To read the configuration again; where a terminal that goes away sends this signal, to stop.
    Reload,
    /// To start the program anew in this process's place.
    Upgrade,
}

impl Stop {
    /// Begins to catch.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(crate) fn new() -> std::io::Result<Stop> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (terminate, interrupt, hang_up, user) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
                signal(SignalKind::user_defined2())?,
            )
        };
        Ok(Stop { runtime, terminate, interrupt, hang_up, user })
    }

    /// Blocks until the next order.
    pub(crate) fn next(&mut self) -> Order {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.terminate.recv() => Order::Stop,
                _ = self.interrupt.recv() => Order::Stop,
                _ = self.hang_up.recv() => Order::Reload,
                _ = self.user.recv() => Order::Upgrade,
            }
        })
    }

    /// Blocks until `work` is done; `None` where the order to stop came first.
    pub(crate) fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => Some(done),
                _ = self.terminate.recv() => None,
                _ = self.interrupt.recv() => None,
            }
        })
    }

    /// Blocks for `most`, or until the order to stop comes again: whoever gives it twice is in a hurry.
    pub(crate) fn wait_again(&mut self, most: Duration) {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                () = tokio::time::sleep(most) => {}
            }
        });
    }
}
