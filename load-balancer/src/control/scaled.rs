//! `/add` and `/rm` where replicas are pods: a task asks Kubernetes, and what it answered is the answer. Members change
//! later, when discovery finds the pods.

use tokio::sync::oneshot;

use super::Control;
use crate::config::{self, Provider};
use crate::event::{Answer, Ask, Event, Refused};
use crate::provision::kubernetes::{Change, Scaled, scale};

impl Control {
    /// The Deployment that is to be scaled, and how, if that is what is asked for: pods have no names that anybody could
    /// ask for.
    pub(super) fn scales(&self, ask: &Ask) -> Option<(config::Deployment, Change)> {
        let Provider::Kubernetes(deployment) = &self.config.replicas.provider else { return None };
        let change = match ask {
            Ask::Add { n, names } if names.is_empty() => Change::More(*n, self.config.control.max_backends),
            Ask::Remove { n, names } if names.is_empty() => Change::Fewer(*n),
            _ => return None,
        };
        Some((deployment.clone(), change))
    }

    /// Has it scaled; [`Control::scaled`] goes on from there.
    pub(super) fn scale_pods(
        &mut self,
        deployment: config::Deployment,
        change: Change,
        asker: oneshot::Sender<Answer>,
    ) {
        let Some(events) = self.events.clone() else { return };
        tokio::task::spawn_local(async move {
            let scaled = scale(&deployment, change).await;
            // Nobody listens any more: the process is ending.
            let _ = events.send(Event::Scaled(scaled, asker));
        });
    }

    pub(super) fn scaled(&mut self, scaled: Result<Scaled, Refused>, asker: oneshot::Sender<Answer>) -> bool {
        let answer = scaled.map(|Scaled { from, to }| {
            tracing::info!(from, to, "the Deployment was scaled");
            self.names()
        });
        self.answer(asker, answer);
        false
    }
}
