//! A running balancer that another process is to succeed: what is held still, passed on and given up.

use std::net::TcpListener;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::Running;
use crate::event::{Event, Upgrade};
use crate::stage::Stage;

impl Running {
    /// Where a successor listens: duplicates of these sockets.
    pub(crate) fn doors(&self) -> &[(&'static str, TcpListener)] {
        &self.doors
    }

    /// How long a successor may take until it is ready.
    pub(crate) fn patience(&self) -> Duration {
        self.registry.load().config.timeouts.upgrade
    }

    /// Keeps the membership as it is from now on, for a successor to read it; blocks until that is so.
    ///
    /// # Errors
    /// Where it is just being changed.
    pub(crate) fn hold(&self) -> Result<(), String> {
        let (asker, answer) = oneshot::channel();
        let gone = || "the control thread is gone".to_owned();
        self.events.send(Event::Upgrade(Upgrade::Begins(asker))).map_err(|_| gone())?;
        answer.blocking_recv().map_err(|_| gone())?
    }

    /// There is no successor after all: everything goes on.
    pub(crate) fn resume(&self, reason: String) {
        // Without a control thread nothing goes on anyway.
        let _ = self.events.send(Event::Upgrade(Upgrade::Failed(reason)));
    }

    /// Leaves the sockets, and what outlives this process, to the successor: nothing is accepted any more, those who are
    /// here are served as when leaving. Returns for how long: `timeouts.handover`, before [`Running::stop`].
    pub(crate) fn hand_over(&mut self) -> Duration {
        let _ = self.events.send(Event::Upgrade(Upgrade::Done));
        self.doors.clear();
        self.enter(Stage::HandedOver);
        self.registry.load().config.timeouts.handover
    }
}
