//! What a figure depends on and a reader cannot see: machine, kernel, versions, commit, load by others.
//!
//! The host's name and paths are left out. How it fails: what cannot be found is "unknown".

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use super::peer::Peer;
use super::site::Site;

/// The environment of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Load average when the run began: above what the run itself makes, others were at work.
    pub(crate) load_average: String,
    pub(crate) versions: BTreeMap<String, String>,
}

impl Environment {
    /// Asks the machine.
    pub(crate) fn read(root: &Path, site: &Site, peers: &[Peer]) -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = file("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let dirty = !said(root, "git", &["status", "--porcelain", "--untracked-files=no"]).is_empty();
        let commit = said(root, "git", &["rev-parse", "--short", "HEAD"]);
        let mut versions = BTreeMap::new();
        for (program, flag) in [("wrk", "-v"), ("h2load", "--version")] {
            versions.insert(program.to_owned(), first_line(&said(root, program, &[flag])));
        }
        versions.insert("rustc".to_owned(), first_line(&said(root, "rustc", &["--version"])));
        for peer in peers {
            if let (Ok(program), Some(flag)) = (peer.program(site), peer.version_flag()) {
                let path = program.display().to_string();
                // Envoy says where it is.
                let version = first_line(&said(root, &path, &[flag]).replace(&path, peer.name()));
                versions.insert(peer.name().to_owned(), version);
            }
        }
        Self {
            date: said(root, "date", &["+%Y-%m-%dT%H:%M:%S%z"]),
            commit: if dirty { format!("{commit} with changes") } else { commit },
            cpu: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            versions,
        }
    }

    /// `2026-01-31-amd-epyc`: the directory of its results.
    pub(crate) fn slug(&self) -> String {
        let day = self.date.split('T').next().unwrap_or("undated");
        let words = self.cpu.to_lowercase();
        let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        format!("{day}-{}", words.take(4).collect::<Vec<_>>().join("-"))
    }
}

/// What a program says on either stream, whatever its exit code (`wrk -v` ends with 1, `nginx -v` writes to stderr).
fn said(dir: &Path, program: &str, args: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(args).current_dir(dir).output() else {
        return "unknown".to_owned();
    };
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&said).trim().to_owned()
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or("unknown");
    line.split(" Copyright").next().unwrap_or(line).split(" - http").next().unwrap_or(line).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slug_names_day_and_processor() {
        let environment = Environment {
            date: "2026-01-31T10:00:00+0000".to_owned(),
            commit: String::new(),
            cpu: "AMD EPYC(TM) 7B13 64-Core Processor".to_owned(),
            cores: 2,
            kernel: String::new(),
            load_average: String::new(),
            versions: BTreeMap::new(),
        };
        assert_eq!(environment.slug(), "2026-01-31-amd-epyc-tm-7b13");
    }

    #[test]
    fn versions_lose_their_tails() {
        assert_eq!(
            first_line("HAProxy version 2.6.12 2026/10/17 - https://haproxy.org/\nx"),
            "HAProxy version 2.6.12 2026/10/17"
        );
        assert_eq!(first_line("wrk 4.1.0 [epoll] Copyright (C) 2012"), "wrk 4.1.0 [epoll]");
    }
}
