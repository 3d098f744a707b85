//! One run: fresh backends, a fresh balancer, a warm-up, a measured time, and the reasons not to believe it.
//!
//! How it fails: a program that cannot be started ends everything, as does Ctrl-C, in order; a run that the machine
//! disturbed is kept and marked.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use tokio::task::LocalSet;

use super::cpu::Cpu;
use super::demand::{Load, demands};
use super::generator;
use super::policy::{Place, Policy, Program};
use super::ports::Ports;
use super::process::Process;
use super::record::{self, Summary};
use super::timeline::Plan;

/// The core of the balancer and the backends.
pub(crate) const SERVING_CORE: usize = 0;
/// The core of the generator.
pub(crate) const SENDING_CORE: usize = 1;
/// A generator that is later than this in one of a thousand requests measures itself.
const LATE_P999_MOST_MS: f64 = 1.0;
/// Above this share of the two cores the lab measures the machine.
const LAB_CPU_MOST_PERCENT: f64 = 60.0;

/// Every figure a run can have: what a bar may speak of.
pub(crate) const FIGURES: [&str; 18] = [
    "requests",
    "p50_ms",
    "p99_ms",
    "p999_ms",
    "max_ms",
    "p99_failed_ms",
    "p999_failed_ms",
    "error_percent",
    "late_p999_ms",
    "late_max_ms",
    "cpu_generator_percent",
    "cpu_balancer_percent",
    "cpu_backends_percent",
    "cpu_lab_percent",
    "cpu_machine_percent",
    "cpu_stolen_percent",
    "balancer_us_per_request",
    "faulty_share_percent",
];

/// Where programs are, and where a run may write.
#[derive(Debug)]
pub(crate) struct Site {
    /// For configurations and logs.
    pub(crate) scratch: PathBuf,
    /// This program.
    pub(crate) own: PathBuf,
    /// The balancers that are there.
    pub(crate) programs: BTreeMap<Program, PathBuf>,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    /// Which repeat, from 1.
    pub(crate) repeat: u64,
    /// What the generator saw.
    #[serde(flatten)]
    pub(crate) summary: Summary,
    /// Measured requests by backend, as the backends counted them.
    pub(crate) by_backend: Vec<u64>,
    /// Why not to believe it; empty for a good run.
    pub(crate) doubts: Vec<String>,
}

impl Run {
    /// How late the generator was: of several runs in doubt, the one to believe most.
    pub(crate) fn lateness(&self) -> f64 {
        self.summary.figures.get("late_p999_ms").copied().unwrap_or(f64::INFINITY)
    }

    /// Whether the generator was too late for the run to count, which no balancer has a hand in.
    pub(crate) fn is_late(&self) -> bool {
        self.lateness() > LATE_P999_MOST_MS
    }
}

/// Runs a plan through a policy at a rate.
pub(crate) fn run(site: &Site, policy: &Policy, plan: &Plan, rate: f64) -> Result<Run> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(async {
        // An error, so that processes end and files are removed as after any other.
        tokio::select! {
            run = once(site, policy, plan, rate) => run,
            asked = tokio::signal::ctrl_c() => {
                asked.context("waiting for Ctrl-C")?;
                bail!("interrupted")
            }
        }
    }))
}

async fn once(site: &Site, policy: &Policy, plan: &Plan, rate: f64) -> Result<Run> {
    let mut backends = start_backends(site, plan)?;
    let listening = numbers::<u16>(&backends.line(0).await?)?;
    let (mut balancer, port) = start_balancer(site, policy, &listening)?;
    balancer.answers(port).await?;
    let load = Load {
        rate,
        service_ms: plan.scenario.service_ms,
        warm_up: Duration::from_secs_f64(plan.warm_up_s),
        measured: Duration::from_secs_f64(plan.seconds),
        seed: plan.seed,
    };
    let demands = demands(&load);
    let target = ([127, 0, 0, 1], port).into();
    let (balancer_id, backends_id) = (balancer.pid(), backends.pid());
    backends.order("start")?;
    let watch = async {
        tokio::time::sleep(load.warm_up).await;
        let begin = Cpu::read(balancer_id, backends_id)?;
        tokio::time::sleep(load.measured).await;
        Ok(Cpu::read(balancer_id, backends_id)?.since(begin))
    };
    let (records, cpu) = tokio::join!(generator::run(target, &demands, load.warm_up), watch);
    let (records, cpu): (_, Result<Cpu>) = (records?, cpu);
    let cpu = cpu.with_context(|| format!("{} did not live to the end", policy.name))?;
    backends.order("counts")?;
    let by_backend = numbers::<u64>(&backends.line(1).await?)?;
    ensure!(!records.is_empty(), "nothing was sent: give it more seconds");
    let mut summary = record::summary(&records)?;
    add_cpu(&mut summary.figures, cpu, plan.seconds, records.len());
    add_share(&mut summary.figures, &by_backend, &plan.scenario.faulty());
    let doubts = doubts(&summary.figures);
    Ok(Run { repeat: plan.seed, summary, by_backend, doubts })
}

fn start_backends(site: &Site, plan: &Plan) -> Result<Process> {
    let file = site.scratch.join("plan.json");
    std::fs::write(&file, serde_json::to_string(plan)?)?;
    let args = ["lab-backends".to_owned(), file.display().to_string()];
    Process::start("backends", Some(SERVING_CORE), &site.own, &args, &site.scratch)
}

fn start_balancer(site: &Site, policy: &Policy, backends: &[u16]) -> Result<(Process, u16)> {
    let mut ports = Ports::default();
    let (port, admin) = (ports.free()?, ports.free()?);
    let place = Place { port, admin, scratch: &site.scratch, backends };
    let config = site.scratch.join(policy.program.config_name());
    std::fs::write(&config, policy.config(&place))?;
    let program =
        site.programs.get(&policy.program).with_context(|| format!("{} is missing", policy.name))?;
    let args = policy.program.arguments(&config, &site.scratch);
    Ok((Process::start("balancer", Some(SERVING_CORE), program, &args, &site.scratch)?, port))
}

fn numbers<T: std::str::FromStr>(line: &str) -> Result<Vec<T>> {
    let words = line.split_whitespace().map(|word| word.parse().ok());
    words.collect::<Option<_>>().with_context(|| format!("the backends said {line:?}"))
}

fn add_cpu(figures: &mut BTreeMap<&'static str, f64>, cpu: Cpu, seconds: f64, requests: usize) {
    // Both cores together are 100 %; a process alone is told as a share of its core.
    let share = |used: f64| 100.0 * used / seconds;
    figures.insert("cpu_generator_percent", share(cpu.generator));
    figures.insert("cpu_balancer_percent", share(cpu.balancer));
    figures.insert("cpu_backends_percent", share(cpu.backends));
    figures.insert("cpu_lab_percent", share(cpu.lab()) / 2.0);
    figures.insert("cpu_machine_percent", share(cpu.machine) / 2.0);
    figures.insert("cpu_stolen_percent", share(cpu.stolen) / 2.0);
    figures.insert("balancer_us_per_request", 1e6 * cpu.balancer / requests as f64);
}

fn add_share(figures: &mut BTreeMap<&'static str, f64>, by_backend: &[u64], faulty: &[usize]) {
    let all: u64 = by_backend.iter().sum();
    let bad: u64 = faulty.iter().filter_map(|&index| by_backend.get(index)).sum();
    if !faulty.is_empty() {
        figures.insert("faulty_share_percent", 100.0 * bad as f64 / all.max(1) as f64);
    }
}

fn doubts(figures: &BTreeMap<&'static str, f64>) -> Vec<String> {
    let limits = [
        ("late_p999_ms", LATE_P999_MOST_MS, "the generator was late: p99.9"),
        ("cpu_lab_percent", LAB_CPU_MOST_PERCENT, "the lab used too much of the CPUs:"),
    ];
    let over = limits.into_iter().filter_map(|(name, most, what)| {
        let value = *figures.get(name)?;
        (value > most).then(|| format!("{what} {value:.1} > {most}"))
    });
    over.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_run_is_doubted() {
        let calm = BTreeMap::from([("late_p999_ms", 0.4), ("cpu_lab_percent", 20.0)]);
        assert!(doubts(&calm).is_empty());
        let late = BTreeMap::from([("late_p999_ms", 3.25), ("cpu_lab_percent", 70.0)]);
        assert_eq!(doubts(&late).len(), 2);
        assert_eq!(doubts(&late)[0], "the generator was late: p99.9 3.2 > 1");
    }

    #[test]
    fn every_figure_is_known_by_name() {
        let mut figures = record::summary(&[]).unwrap().figures;
        add_cpu(&mut figures, Cpu::default(), 1.0, 1);
        add_share(&mut figures, &[1, 2], &[0]);
        let mut known = FIGURES;
        known.sort_unstable();
        assert_eq!(figures.into_keys().collect::<Vec<_>>(), known);
    }

    #[test]
    fn the_share_to_faulty_backends_is_of_all() {
        let mut figures = BTreeMap::new();
        add_share(&mut figures, &[10, 20, 70], &[]);
        assert!(figures.is_empty());
        add_share(&mut figures, &[10, 20, 70], &[0]);
        assert!((figures["faulty_share_percent"] - 10.0).abs() < 1e-9);
        assert!(numbers::<u64>("1 2 x").is_err());
    }
}
