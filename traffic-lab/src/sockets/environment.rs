//! What a figure depends on and a reader cannot see: machine, kernel, versions, commit, load by others.
//!
//! The host's name and paths are left out. How it fails: what cannot be found is "unknown".

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::policy::Program;
use crate::machine::Machine;

/// The environment of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    #[serde(flatten)]
    pub(crate) machine: Machine,
    pub(crate) commit: String,
    /// Whether the lab runs before all ordinary work.
    pub(crate) precedence: bool,
    pub(crate) versions: BTreeMap<&'static str, String>,
}

impl Environment {
    /// Asks the machine. Before anything is pinned, or it has but one core.
    pub(crate) fn read(programs: &BTreeMap<Program, std::path::PathBuf>, precedence: bool) -> Self {
        let dirty = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        let commit = said("git", &["rev-parse", "--short", "HEAD"]);
        let version = |(program, path): (&Program, &std::path::PathBuf)| {
            (program.file().0, version(path, program.version_flag()))
        };
        Self {
            machine: Machine::read(),
            commit: if dirty { format!("{commit} with changes") } else { commit },
            precedence,
            versions: programs.iter().map(version).collect(),
        }
    }
}

/// What a program says on either stream, whatever its exit code (`nginx -v` writes to stderr).
fn said(program: &str, args: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(args).output() else { return "unknown".to_owned() };
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// The version alone: digits and points inside the first word that has them. Envoy's is one part of a path-like word,
/// behind its commit, so parts are looked at one by one.
fn version(program: &Path, flag: &str) -> String {
    let text = said(&program.display().to_string(), &[flag]);
    let is_version = |part: &&str| {
        part.contains('.') && part.starts_with(|c: char| c.is_ascii_digit()) && !part.contains(':')
    };
    text.split([' ', '/', '\n']).find(is_version).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_unknown() {
        assert_eq!(said("no-such-program", &[]), "unknown");
        assert_eq!(version(Path::new("no-such-program"), "-v"), "unknown");
    }

    #[test]
    fn the_machine_has_a_kernel_and_cores() {
        let environment = Environment::read(&BTreeMap::new(), false);
        assert!(environment.machine.cores > 0 && !environment.machine.kernel.is_empty());
    }
}
