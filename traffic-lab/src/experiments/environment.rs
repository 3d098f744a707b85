//! What a figure depends on and a reader cannot see.

use serde::Serialize;

use crate::clock;

/// Machine and build of an experiment; the host's name and paths are left out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    /// Seconds since 1970.
    date: u64,
    cpu: String,
    cores: usize,
    kernel: String,
    /// Load average before it: what others do here.
    load_average: String,
    build: &'static str,
}

impl Environment {
    /// Asks the machine; what cannot be found is "unknown".
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
            build: if cfg!(debug_assertions) { "development" } else { "release" },
        }
    }

    /// A line for people.
    pub(crate) fn line(&self) -> String {
        let Self { cpu, cores, kernel, load_average, build, .. } = self;
        format!("{cores} cores of {cpu}, Linux {kernel}, load {load_average}, {build} build")
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_machine_has_cores() {
        let line = super::Environment::read().line();
        assert!(!line.starts_with('0') && line.contains("Linux"), "{line}");
    }
}
