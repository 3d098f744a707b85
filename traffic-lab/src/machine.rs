//! The machine that figures come from, as far as a reader needs it: its name and paths are left out.
//!
//! How it fails: what cannot be found is "unknown".

use serde::Serialize;

use crate::clock;

/// What a figure depends on and a reader cannot see.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Seconds since 1970.
    pub(crate) date: u64,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Load average before anything was run: what others do here.
    pub(crate) load_average: String,
}

impl Machine {
    /// Asks it. Before anything is pinned, or it has but one core.
    pub(crate) fn read() -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_else(|_| "unknown".to_owned());
        let cpuinfo = file("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Self {
            date: clock::unix_seconds(),
            cpu: model.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: file("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
        }
    }
}
