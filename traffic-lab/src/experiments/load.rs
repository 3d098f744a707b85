//! Load for an experiment: the tester's engine, on a thread of its own while the experiment does something to the pool.
//!
//! How it fails: an experiment that ends early stops the sending with it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio::task::JoinHandle;

use crate::results::Run;
use crate::tester::{Plan, Watch, send_watched};

/// A run under way.
#[derive(Debug)]
pub(crate) struct Load {
    watch: Arc<Watch>,
    task: Option<JoinHandle<Result<Run>>>,
}

impl Load {
    /// Begins to send.
    pub(crate) fn start(plan: Plan) -> Self {
        let watch = Arc::new(Watch::default());
        let sending = Arc::clone(&watch);
        let task = tokio::task::spawn_blocking(move || send_watched(&plan, &sending));
        Self { watch, task: Some(task) }
    }

    /// Requests that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.watch.ended()
    }

    /// Sends nothing more, and waits for what is on its way.
    pub(crate) async fn stop(self) -> Result<Run> {
        self.watch.stop();
        self.finish().await
    }

    /// Waits for the end.
    pub(crate) async fn finish(mut self) -> Result<Run> {
        self.task.take().context("it is waited for already")?.await?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.watch.stop();
    }
}

/// Sends a plan.
pub(crate) async fn send(plan: Plan) -> Result<Run> {
    Load::start(plan).finish().await
}

/// How many of a run's requests each of `names` answered well.
pub(crate) fn counts(run: &Run, names: &[String]) -> Vec<u64> {
    let of = |name: &String| {
        let own = |record: &&crate::results::Record| record.good() && record.instance.as_ref() == Some(name);
        run.records.iter().filter(own).count() as u64
    };
    names.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Record;

    #[test]
    fn only_good_answers_count() {
        let record = |name: &str, status| Record {
            instance: Some(name.to_owned()),
            status: Some(status),
            ..Record::default()
        };
        let run: Run = serde_json::from_str(r#"{"version":1,"id":"x","records":[]}"#).unwrap();
        let run = Run {
            records: vec![record("a", 200), record("a", 500), record("b", 200), record("a", 200)],
            ..run
        };
        assert_eq!(counts(&run, &["a", "b", "c"].map(str::to_owned)), [2, 1, 0]);
    }
}
