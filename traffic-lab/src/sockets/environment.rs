//! What a figure depends on and a reader cannot see: machine, kernel, versions, commit, load by others.
//!
//! The host's name and paths are left out. How it fails: what cannot be found is "unknown".

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::policy::Program;
use crate::clock;

/// The environment of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    /// Seconds since 1970.
    pub(crate) date: u64,
    pub(crate) commit: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Load average before the first run: what others do here.
    pub(crate) load_average: String,
    /// Whether the lab runs before all ordinary work.
    pub(crate) precedence: bool,
    pub(crate) versions: BTreeMap<&'static str, String>,
}

impl Environment {
    /// Asks the machine. Before anything is pinned, or it has but one core.
    pub(crate) fn read(programs: &BTreeMap<Program, std::path::PathBuf>, precedence: bool) -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = file("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let dirty = !said("git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        let commit = said("git", &["rev-parse", "--short", "HEAD"]);
        let version = |(program, path): (&Program, &std::path::PathBuf)| {
            (program.file().0, version(path, program.version_flag()))
        };
        Self {
            date: clock::unix_seconds(),
            commit: if dirty { format!("{commit} with changes") } else { commit },
            cpu: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
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
        assert!(environment.cores > 0 && !environment.kernel.is_empty());
    }
}
