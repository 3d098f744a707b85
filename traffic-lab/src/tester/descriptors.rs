//! As many file descriptors as a run needs: one for each connection.
//!
//! How it fails: where the system's hard limit is below that, the run is refused before its first request, since requests
//! that no descriptor was left for would say nothing about the server.

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors beside the connections: streams, the runtime's own, files.
const BESIDE: u64 = 64;

/// Raises the soft limit as far as `connections` at once need it.
pub(crate) fn make_room(connections: usize) -> Result<()> {
    let needed = connections as u64 + BESIDE;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    let maximum = limit.maximum;
    ensure!(
        maximum.is_none_or(|hard| hard >= needed),
        "{connections} connections at once need {needed} file descriptors, the system allows {}: raise the limit \
         (ulimit -Hn) or lower the concurrency",
        maximum.unwrap_or_default()
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum })
        .context("raising the limit of open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_the_system_cannot_hold_is_refused() {
        make_room(1).unwrap();
        if getrlimit(Resource::Nofile).maximum.is_some() {
            let error = make_room(usize::MAX >> 1).unwrap_err().to_string();
            assert!(error.contains("ulimit -Hn"), "{error}");
        }
    }
}
