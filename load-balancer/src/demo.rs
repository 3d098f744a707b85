//! `load-balancer demo`: the whole thing on one machine, nothing left behind.

use std::path::PathBuf;
use std::process::ExitCode;

/// Runs the demo until Ctrl-C.
pub(crate) fn run(_backend: Option<PathBuf>) -> ExitCode {
    ExitCode::FAILURE
}
