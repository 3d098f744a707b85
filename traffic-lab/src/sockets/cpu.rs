//! What processes and the machine used of the CPUs, read from /proc.
//!
//! How it fails: a process that is gone is an error; a field that is missing reads as nought.

use anyhow::{Context as _, Result};

/// Ticks per second in /proc: fixed in the kernel's interface on every architecture that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// Of the generator, which is this process.
    pub(crate) generator: f64,
    /// Of the balancer.
    pub(crate) balancer: f64,
    /// Of the backends.
    pub(crate) backends: f64,
    /// Of everything on the machine.
    pub(crate) machine: f64,
    /// That a hypervisor gave to others.
    pub(crate) stolen: f64,
}

impl Cpu {
    /// Reads all clocks.
    pub(crate) fn read(balancer: u32, backends: u32) -> Result<Self> {
        let text = std::fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let [machine, stolen] = machine(text.lines().next().unwrap_or_default());
        let [generator, balancer, backends] =
            [process(std::process::id())?, process(balancer)?, process(backends)?];
        Ok(Self { generator, balancer, backends, machine, stolen })
    }

    /// Used since an earlier reading.
    pub(crate) fn since(self, then: Self) -> Self {
        Self {
            generator: self.generator - then.generator,
            balancer: self.balancer - then.balancer,
            backends: self.backends - then.backends,
            machine: self.machine - then.machine,
            stolen: self.stolen - then.stolen,
        }
    }

    /// Of the lab's three processes.
    pub(crate) fn lab(self) -> f64 {
        self.generator + self.balancer + self.backends
    }
}

fn process(pid: u32) -> Result<f64> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    ticks(&text).map(|ticks| ticks / TICKS_PER_SECOND).with_context(|| format!("/proc/{pid}/stat: {text}"))
}

/// User and system time. The name, in parentheses, may hold spaces and parentheses: fields count from its end.
fn ticks(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(field(11)? + field(12)?)
}

/// Busy and stolen seconds of all CPUs: user, nice, system, (idle, iowait,) irq, softirq, steal.
fn machine(line: &str) -> [f64; 2] {
    let fields: Vec<f64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let sum = |indices: &[usize]| {
        indices.iter().filter_map(|&index| fields.get(index)).sum::<f64>() / TICKS_PER_SECOND
    };
    [sum(&[0, 1, 2, 5, 6]), sum(&[7])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        let stat = "42 (a) b)) S 7 42 42 0 -1 4194304 1 0 0 0 250 150 0 0 20 0 1 0 5 1 1";
        assert_eq!(ticks(stat), Some(400.0));
        assert_eq!(ticks("42"), None);
        assert_eq!(machine("cpu  100 200 300 9999 50 100 100 700 0 0"), [8.0, 7.0]);
    }

    #[test]
    fn this_process_uses_the_machine() {
        let own = std::process::id();
        let read = Cpu::read(own, own).unwrap();
        assert!(read.machine > 0.0 && read.lab() <= read.machine);
        assert!(Cpu::read(u32::MAX, own).is_err());
    }
}
