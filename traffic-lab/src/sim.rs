//! The simulator: discrete events, one seed, the decision code itself.

/// What to simulate.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Runs the scenarios.
pub(crate) fn run(_arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
