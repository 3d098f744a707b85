//! What this process may use: the limits of its control group, or else the host's.
//!
//! A share of the host says nothing in a container that may use half a core, so shares are taken of the tightest
//! limit that applies. Version 2 keeps it in `cpu.max` and `memory.max`, version 1 in `cpu.cfs_quota_us`,
//! `cpu.cfs_period_us` and `memory.limit_in_bytes`. A limit of any ancestor binds too, so each directory from the own
//! group up to the mount is read and the smallest wins; when the own path is not visible (a version 1 container
//! without its own namespace), the mount's root is the container's group, and that is read as well.
//! How it fails: a file that is missing or not understood is no limit; the host's figures then stand.

use std::path::{Path, PathBuf};

/// Where control groups are mounted on every common distribution.
const MOUNT: &str = "sys/fs/cgroup";

/// Which group the process is in.
const MEMBERSHIP: &str = "proc/self/cgroup";

/// The processors that the scheduler may use, as `Cpus_allowed_list`.
const STATUS: &str = "proc/self/status";

/// What the process may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Processor cores; fractions are usual in containers.
    pub cores: f64,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

impl Limits {
    /// Reads the files below `root` (`/` but for tests); `host` stands where nothing is tighter.
    #[must_use]
    pub fn read(root: &Path, host: Self) -> Self {
        let text = |path: &Path| std::fs::read_to_string(path).ok();
        let membership = text(&root.join(MEMBERSHIP)).unwrap_or_default();
        let allowed = text(&root.join(STATUS)).as_deref().and_then(allowed_cpus).map(f64::from);
        let mut cores = allowed.unwrap_or(host.cores).min(host.cores);
        let mut memory_bytes = host.memory_bytes;

        let mount = root.join(MOUNT);
        for directory in lineage(&mount, group_of(&membership, "")) {
            let limit = text(&directory.join("cpu.max")).as_deref().and_then(cores_v2);
            cores = cores.min(limit.unwrap_or(f64::INFINITY));
            let limit = text(&directory.join("memory.max")).as_deref().and_then(bytes);
            memory_bytes = memory_bytes.min(limit.unwrap_or(u64::MAX));
        }
        for directory in lineage(&mount.join("cpu"), group_of(&membership, "cpu")) {
            let quota = text(&directory.join("cpu.cfs_quota_us"));
            let period = text(&directory.join("cpu.cfs_period_us"));
            let limit = quota.zip(period).and_then(|(quota, period)| cores_v1(&quota, &period));
            cores = cores.min(limit.unwrap_or(f64::INFINITY));
        }
        for directory in lineage(&mount.join("memory"), group_of(&membership, "memory")) {
            let limit = text(&directory.join("memory.limit_in_bytes")).as_deref().and_then(bytes);
            memory_bytes = memory_bytes.min(limit.unwrap_or(u64::MAX));
        }
        Self { cores, memory_bytes }
    }
}

/// The path of the process's group for `controller` (version 1), or of the unified tree for `""` (version 2).
fn group_of<'a>(membership: &'a str, controller: &str) -> Option<&'a str> {
    membership.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers.split(',').any(|name| name == controller).then_some(path)
    })
}

/// The directories from the group up to the mount itself, the mount always among them.
fn lineage(mount: &Path, group: Option<&str>) -> Vec<PathBuf> {
    let own = mount.join(group.unwrap_or_default().trim_start_matches('/'));
    own.ancestors().take_while(|path| path.starts_with(mount)).map(Path::to_path_buf).collect()
}

/// `cpu.max`: `<quota or max> <period>`, both in microseconds.
fn cores_v2(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    cores_v1(quota, period)
}

/// A quota below one (version 1 writes -1) is no limit.
fn cores_v1(quota: &str, period: &str) -> Option<f64> {
    let quota: f64 = quota.trim().parse().ok()?;
    let period: f64 = period.trim().parse().ok()?;
    (quota.is_finite() && quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// A count of bytes; `max` is no limit (version 1's "no limit" is a huge number, and loses against the host's size).
fn bytes(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|&bytes| bytes > 0)
}

/// How many processors `Cpus_allowed_list: 0-2,5` names.
fn allowed_cpus(status: &str) -> Option<u32> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut count = 0;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count += last.checked_sub(first)? + 1;
    }
    (count > 0).then_some(count)
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
