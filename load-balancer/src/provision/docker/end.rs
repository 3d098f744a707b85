//! One container's end, and whose it is: the only code that stops or removes anything.

use bollard::models::{ContainerInspectResponse, ContainerState};
use bollard::query_parameters::{RemoveContainerOptionsBuilder, StopContainerOptionsBuilder};

use super::{POOL_LABEL, State, status};
use crate::provision::STOP_GRACE;

/// Exit status that tells a signal (shells' custom, which Docker's init follows) above this number.
const SIGNALLED: i64 = 128;
/// The highest signal there is.
const LAST_SIGNAL: i64 = 64;
/// What the daemon says where something is done already (304), gone already (404), or being removed (409).
const DONE_ALREADY: [u16; 3] = [304, 404, 409];

impl State {
    /// Stops and removes the container of a replica, if there is one.
    pub(super) async fn remove(&self, name: &str) -> Result<(), String> {
        let container = self.container(name);
        let Some(found) = self.inspect(&container).await? else { return Ok(()) };
        if !self.owns(&found) {
            return Err(format!("{container} is not of pool {}: it is left alone", self.settings.pool));
        }
        self.end(&found.id.unwrap_or_default()).await
    }

    /// What the daemon knows about a container, by name or id; `None` where there is none.
    pub(super) async fn inspect(&self, container: &str) -> Result<Option<ContainerInspectResponse>, String> {
        match self.client.inspect_container(container, None).await {
            Err(error) if status(&error) == Some(404) => Ok(None),
            found => self.answer(container, std::future::ready(found)).await.map(Some),
        }
    }

    /// Whether it carries our pool's label.
    pub(super) fn owns(&self, found: &ContainerInspectResponse) -> bool {
        let labels = found.config.as_ref().and_then(|c| c.labels.as_ref());
        labels.and_then(|l| l.get(POOL_LABEL)) == Some(&self.settings.pool)
    }

    /// TERM, KILL after the grace, and away with it. The id must be that of a container that was found to be ours.
    pub(super) async fn end(&self, id: &str) -> Result<(), String> {
        let grace = i32::try_from(STOP_GRACE.as_secs()).unwrap_or(i32::MAX);
        let stop = StopContainerOptionsBuilder::new().signal("SIGTERM").t(grace).build();
        if let Err(error) = self.client.stop_container(id, Some(stop)).await {
            tracing::debug!(container = id, %error, "not stopped");
        }
        // By force: where stopping failed, this kills.
        let remove = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.client.remove_container(id, Some(remove)).await {
            Err(error) if status(&error).is_some_and(|s| DONE_ALREADY.contains(&s)) => Ok(()),
            removed => self.answer("removing", std::future::ready(removed)).await,
        }
    }
}

/// How a container that does not run has ended.
pub(super) fn how(state: &ContainerState) -> String {
    let code = state.exit_code.unwrap_or(0);
    if state.oom_killed == Some(true) {
        return "killed for lack of memory".to_owned();
    }
    match state.error.as_deref() {
        Some(error) if !error.is_empty() => error.to_owned(),
        _ if (SIGNALLED + 1..=SIGNALLED + LAST_SIGNAL).contains(&code) => {
            format!("killed by signal {}", code - SIGNALLED)
        }
        _ => format!("exit status {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{ContainerState, how};

    #[test]
    fn ends_are_told_as_those_of_processes_are() {
        let end = |code| ContainerState { exit_code: Some(code), ..Default::default() };
        assert_eq!(how(&end(1)), "exit status 1");
        assert_eq!(how(&end(128)), "exit status 128");
        assert_eq!(how(&end(137)), "killed by signal 9");
        assert_eq!(how(&end(255)), "exit status 255");
        let starved = ContainerState { oom_killed: Some(true), ..end(137) };
        assert_eq!(how(&starved), "killed for lack of memory");
    }
}
