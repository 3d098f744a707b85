//! What processes used of the machine: CPU time and resident memory, read from /proc.
//!
//! Two clocks. `stat` is what the kernel reports to everyone, in ticks of about 10 ms; `schedstat` is the scheduler's
//! own, in nanoseconds, where the kernel keeps it. The windows are long enough that both agree within a percent.
//! How it fails: a process that is gone counts nothing; a kernel without schedstat gives `None`, never nought.

use std::path::Path;

use anyhow::{Context as _, Result};

/// CPU time used since the start, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CpuTime {
    pub(crate) stat_us: f64,
    pub(crate) sched_us: Option<f64>,
}

impl CpuTime {
    /// Adds up the processes.
    pub(crate) fn of(pids: &[u32], ticks_per_second: f64) -> Result<Self> {
        let mut ticks = 0;
        let mut sched_us = Some(0.0);
        for pid in pids {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .with_context(|| format!("process {pid}"))?;
            ticks += Stat::parse(&stat).with_context(|| format!("/proc/{pid}/stat: {stat}"))?.ticks;
            sched_us = sched_us.zip(sched_us_of(*pid)).map(|(sum, more)| sum + more);
        }
        Ok(Self { stat_us: ticks as f64 * 1e6 / ticks_per_second, sched_us })
    }

    /// What was used since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            stat_us: self.stat_us - earlier.stat_us,
            sched_us: self.sched_us.zip(earlier.sched_us).map(|(now, then)| now - then),
        }
    }
}

/// Time on a CPU of every thread.
fn sched_us_of(pid: u32) -> Option<f64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    Some(sum as f64 / 1e3)
}

/// The fields of /proc/PID/stat that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    ticks: u64,
}

impl Stat {
    /// The name, in parentheses, may hold spaces and parentheses: fields are counted from its end.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let state = fields.first()?.chars().next()?;
        Some(Self { state, parent: u32::try_from(number(1)?).ok()?, ticks: number(11)? + number(12)? })
    }
}

/// Whether a process still runs: one that has ended, and waits for its parent to notice, does not.
pub(crate) fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    stat.and_then(|text| Stat::parse(&text)).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// A process and all that descend from it.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir(Path::new("/proc")).into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok();
        parents.extend(stat.and_then(|text| Stat::parse(&text)).map(|stat| (id, stat.parent)));
    }
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(&parent) = family.get(at) {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        at += 1;
    }
    family
}

/// Resident memory of the processes, in KiB; shared pages count in each.
pub(crate) fn resident_kib(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    pids.iter().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_from_the_end_of_its_name() {
        let text = "42 (a) b)) S 7 42 42 0 -1 4194304 1 0 0 0 250 150 0 0 20 0 1 0 5 1 1";
        assert_eq!(Stat::parse(text), Some(Stat { state: 'S', parent: 7, ticks: 400 }));
        assert_eq!(Stat::parse("42"), None);
    }

    #[test]
    fn this_process_is_of_its_parents_family_and_uses_the_machine() {
        let own = std::process::id();
        assert!(family(std::os::unix::process::parent_id()).contains(&own));
        assert!(resident_kib(&[own]) > 0);
        assert!(CpuTime::of(&[own], 100.0).unwrap().stat_us >= 0.0);
        assert!(CpuTime::of(&[u32::MAX], 100.0).is_err());
    }

    #[test]
    fn a_difference_keeps_the_unknown_unknown() {
        let then = CpuTime { stat_us: 10.0, sched_us: None };
        let now = CpuTime { stat_us: 30.0, sched_us: Some(5.0) };
        assert_eq!(now.since(then), CpuTime { stat_us: 20.0, sched_us: None });
    }
}
