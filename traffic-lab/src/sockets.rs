//! Scenarios over real sockets: six backends, our balancer and its peers, an open loop.

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Runs the scenarios.
pub(crate) fn run(_arguments: &Arguments) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}
