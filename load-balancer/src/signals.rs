//! Orders from outside: SIGTERM and Ctrl-C stop, SIGHUP has the configuration read again.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Catches the order from its creation on.
pub(crate) struct Stop {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Stop {
    /// Begins to catch.
    ///
    /// # Errors
    /// Where the system refuses.
    pub(crate) fn new() -> std::io::Result<Stop> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (terminate, interrupt, hang_up) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            )
        };
        Ok(Stop { runtime, terminate, interrupt, hang_up })
    }

    /// Blocks until the order to stop comes; each SIGHUP until then is `again`'s. Where a terminal that goes away sends
    /// it (`again` is `None`), it is the order to stop.
    pub(crate) fn wait(&mut self, again: Option<&dyn Fn()>) {
        self.runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = self.terminate.recv() => return,
                    _ = self.interrupt.recv() => return,
                    _ = self.hang_up.recv() => match again {
                        Some(again) => again(),
                        None => return,
                    },
                }
            }
        });
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
