//! Replicas that the balancer itself starts: children of this very test program (`provision::as_a_replica`).

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use load_balancer::config::Config;

use super::{configured, variables, within};

/// What makes this program a replica, up to the flags that the provider adds.
const ARGS: [&str; 5] = ["provision::as_a_replica", "--exact", "--nocapture", "--", "--fault"];

/// This program and its arguments, as a shell would be told.
pub(crate) fn own_program() -> String {
    format!("'{}' {}", std::env::current_exe().unwrap().display(), ARGS.join(" "))
}

/// A pool of replicas, and the folder where its state is kept; removed when dropped.
pub(crate) struct Fleet {
    pub(crate) folder: PathBuf,
    names: Vec<String>,
    program: Vec<String>,
}

impl Fleet {
    /// `S1` … `Sn`, each of them this program.
    pub(crate) fn of(n: usize) -> Fleet {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let own = format!("ballast-it-{}-fleet-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
        let folder = std::env::temp_dir().join(own);
        std::fs::create_dir_all(&folder).unwrap();
        let mut program = vec![std::env::current_exe().unwrap().display().to_string()];
        program.extend(ARGS.map(str::to_owned));
        Fleet { folder, names: (1..=n).map(|i| format!("S{i}")).collect(), program }
    }

    /// The same with a shell script instead; the flags are its `$@`.
    pub(crate) fn scripted(n: usize, text: &str) -> Fleet {
        let program = ["/bin/sh", "-c", text, "sh"].map(str::to_owned).into();
        let mut fleet = Fleet::of(n);
        fleet.program = program;
        fleet
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("lab.state.json")
    }

    /// The pool as a file would say it.
    pub(crate) fn text(&self) -> String {
        self.names.iter().map(|name| format!("[[pool.backend]]\nname = \"{name}\"\n")).collect()
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("state.file", self.state().display().to_string()),
            ("replicas.provider", "process".to_owned()),
            ("replicas.process.program", self.program[0].clone()),
            ("replicas.process.args", serde_json::to_string(&self.program[1..]).unwrap()),
        ]
    }

    fn with<'a>(own: &'a [(&'static str, String)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        own.iter().map(|(key, value)| (*key, value.as_str())).chain(more.iter().copied()).collect()
    }

    /// Its configuration with `settings`.
    pub(crate) fn config(&self, settings: &[(&str, &str)]) -> Config {
        let own = self.settings();
        configured(&self.text(), &Fleet::with(&own, settings))
    }

    /// The environment of a program that is to run it.
    pub(crate) fn variables(&self, settings: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = self.settings();
        variables(&Fleet::with(&own, settings))
    }

    /// Name and process id of each child that runs or starts.
    pub(crate) fn children(&self) -> Vec<(String, u32)> {
        let text = std::fs::read_to_string(self.folder.join("lab.state.replicas")).unwrap_or_default();
        let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let child = |line: serde_json::Value| {
            (line["name"].as_str().unwrap().to_owned(), line["pid"].as_u64().unwrap() as u32)
        };
        text.lines().map(line).map(child).collect()
    }

    pub(crate) fn pid(&self, name: &str) -> u32 {
        let children = self.children();
        children.iter().find(|(child, _)| child == name).unwrap_or_else(|| panic!("{name} in {children:?}")).1
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

/// Whether a process runs; one that has ended and was not waited for does not.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

pub(crate) async fn gone(pid: u32) {
    within("its end", async {
        while alive(pid) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
