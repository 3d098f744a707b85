//! The order to stop: SIGTERM, Ctrl-C, or the terminal going away (SIGHUP).

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

    /// Blocks until the order comes.
    pub(crate) fn wait(mut self) {
        self.runtime.block_on(async {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.hang_up.recv() => {}
            }
        });
    }
}
