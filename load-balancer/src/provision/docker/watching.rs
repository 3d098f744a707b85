//! The task that notices a replica's unasked end. Dropping its slot ends it, so an asked end is not told.

use std::rc::Rc;
use std::time::Duration;

use bollard::query_parameters::WaitContainerOptionsBuilder;
use futures_util::StreamExt;

use super::end::how;
use super::{Slot, State};
use crate::provision::Death;

/// Between looks at a container while the daemon does not let us wait: it is restarting, most likely.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(500);

impl State {
    /// Begins to watch a running container.
    pub(super) fn watch(self: &Rc<Self>, name: &str, id: &str) {
        let task = Rc::clone(self).watching(name.to_owned(), id.to_owned());
        let watch = tokio::task::spawn_local(task).abort_handle();
        self.replicas.borrow_mut().insert(name.to_owned(), Slot(Some(watch)));
    }

    async fn watching(self: Rc<Self>, name: String, id: String) {
        let reason = self.until_dead(&id).await;
        // Before the death is told, so that the name is free for whoever hears of it. Its end is a fact by now.
        if let Err(error) = self.end(&id).await {
            tracing::warn!(replica = name, %error, "the dead container stays for now");
        }
        // Without a receiver the balancer is ending.
        let _ = self.deaths.send(Death { name: name.clone(), reason });
        // Last, since it ends this task.
        self.replicas.borrow_mut().remove(&name);
    }

    /// Returns how it ended.
    async fn until_dead(&self, id: &str) -> String {
        loop {
            let options = WaitContainerOptionsBuilder::new().condition("not-running").build();
            // Whatever this says, also that the connection broke, inspection decides.
            let _ = std::pin::pin!(self.client.wait_container(id, Some(options))).next().await;
            match self.inspect(id).await {
                Ok(None) => return "its container was removed".to_owned(),
                Ok(Some(found)) => {
                    let state = found.state.unwrap_or_default();
                    if state.running == Some(false) {
                        return how(&state);
                    }
                }
                Err(error) => tracing::debug!(container = id, error, "not inspected"),
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}
