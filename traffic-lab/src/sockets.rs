//! Scenarios over real sockets: six backends, our balancer and its peers as processes of their own, an open loop.
//!
//! Policies take turns (A B C A B C …), so that what the machine does meanwhile meets them alike; every run has its own
//! balancer and backends, so that nothing is carried over; every policy of a repeat is sent the same requests.
//! How it fails: a program that is not installed is skipped, with a line that says how to get it; Ballast itself must be
//! there. A run that the machine disturbed is marked, not hidden.

mod against;
mod backend;
pub(crate) mod backends;
mod cpu;
mod demand;
mod environment;
mod generator;
mod http;
mod policy;
pub(crate) mod ports;
pub(crate) mod process;
mod record;
mod report;
mod run;
mod scenario;
mod telemetry;
mod timeline;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use environment::Environment;
use policy::{Policy, Program};
use report::{Outcome, Report};
use run::{SENDING_CORE, Site};
use scenario::Scenario;
use timeline::Plan;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Scenarios by name (S13 is all of S13-…), or .toml files
    names: Vec<String>,
    /// Who takes part, in turn [default: whom the scenario names, or those that --list names first]
    #[arg(long, value_delimiter = ',')]
    policies: Option<Vec<String>>,
    /// Runs of each policy [default: 5, quick: 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100))]
    repeats: Option<u64>,
    /// Seconds measured in each run [default: 60, quick: 5]
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds of load before that, discarded [default: 15, quick: 2]
    #[arg(long)]
    warmup: Option<f64>,
    /// Further tries of a run whose generator was late; the one in which it was least counts
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10))]
    again: u64,
    /// Requests per second, instead of what makes the scenario's rho
    #[arg(long)]
    rate: Option<f64>,
    /// Short runs: they show that it works, not what is better
    #[arg(long)]
    quick: bool,
    /// Where to keep the results as sockets.json
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Results to compare rankings with: the six-sockets.json that `simulate six-sockets --out DIR` writes
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Our balancer [default: load-balancer beside this program, or in target/release]
    #[arg(long, value_name = "PATH")]
    ours: Option<PathBuf>,
    /// Envoy, where it is not on the path
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Names the scenarios and policies, and ends
    #[arg(long)]
    list: bool,
}

impl Arguments {
    fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 5.0 } else { 60.0 })
    }

    fn warm_up(&self) -> f64 {
        self.warmup.unwrap_or(if self.quick { 2.0 } else { 15.0 })
    }

    fn repeats(&self) -> u64 {
        self.repeats.unwrap_or(if self.quick { 1 } else { 5 })
    }
}

/// Runs the scenarios.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        return list();
    }
    ensure!(!arguments.names.is_empty(), "name a scenario: see --list");
    ensure!(arguments.seconds() > 0.0 && arguments.warm_up() >= 0.0, "nothing to measure");
    let scenarios = scenario::named(&arguments.names)?;
    let simulated = arguments.against.as_deref().map(against::read).transpose()?;
    let scratch = std::env::temp_dir().join(format!("traffic-lab-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).context("making a directory for configurations")?;
    let result = measure(arguments, scenarios, &scratch);
    std::fs::remove_dir_all(&scratch).context("removing the directory of configurations")?;
    let report = result?;
    if let Some(simulated) = simulated {
        print!("{}", against::text(&against::compare(&report.scenarios, &simulated)));
    }
    if let Some(dir) = &arguments.out {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        let file = dir.join("sockets.json");
        std::fs::write(&file, serde_json::to_string_pretty(&report)?)?;
        println!("\nkept in {}", file.display());
    }
    Ok(())
}

fn measure(arguments: &Arguments, scenarios: Vec<Scenario>, scratch: &Path) -> Result<Report> {
    let own = std::env::current_exe()?;
    let mut site = Site { scratch: scratch.to_owned(), own, programs: BTreeMap::new() };
    let mut skipped = Vec::new();
    let mut planned = Vec::new();
    for scenario in scenarios {
        let policies = take_part(arguments, &scenario, &mut site, &mut skipped)?;
        planned.push((scenario, policies));
    }
    let environment = Environment::read(&site.programs, process::precede_others());
    println!(
        "{} of {} cores, kernel {}",
        environment.machine.cpu, environment.machine.cores, environment.machine.kernel
    );
    for (program, version) in &environment.versions {
        println!("{program}: {version}");
    }
    for line in &skipped {
        println!("skipped {line}");
    }
    process::pin_self(SENDING_CORE)?;
    let mut outcomes = Vec::new();
    for (scenario, policies) in planned {
        let outcome = turns(arguments, &site, scenario, &policies)?;
        print!("{}", outcome.table());
        outcomes.push(outcome);
    }
    let (seconds, warm_up_s, repeats) = (arguments.seconds(), arguments.warm_up(), arguments.repeats());
    Ok(Report { environment, skipped, seconds, warm_up_s, repeats, scenarios: outcomes })
}

/// All repeats of a scenario, policies in turn.
fn turns(arguments: &Arguments, site: &Site, scenario: Scenario, policies: &[Policy]) -> Result<Outcome> {
    let rate = arguments.rate.unwrap_or_else(|| scenario.rate());
    let mut runs: Vec<Vec<run::Run>> = policies.iter().map(|_| Vec::new()).collect();
    for repeat in 1..=arguments.repeats() {
        let plan = Plan {
            scenario: scenario.clone(),
            warm_up_s: arguments.warm_up(),
            seconds: arguments.seconds(),
            seed: repeat,
        };
        for (policy, runs) in policies.iter().zip(&mut runs) {
            for _ in 0..=arguments.again {
                let run = run::run(site, policy, &plan, rate)
                    .with_context(|| format!("{} in {}, repeat {repeat}", policy.name, scenario.name))?;
                tell(&scenario, policy, &run);
                let in_time = !run.is_late();
                runs.push(run);
                if in_time {
                    break;
                }
            }
        }
    }
    Ok(Outcome::new(scenario, rate, policies.iter().zip(runs).collect()))
}

/// A line for whoever waits.
fn tell(scenario: &Scenario, policy: &Policy, run: &run::Run) {
    let figure = |name: &str| run.summary.figures.get(name).copied().unwrap_or_default();
    let (p99, errors, late) = (figure("p99_ms"), figure("error_percent"), run.lateness());
    let (scenario, policy, repeat) = (&scenario.name, &policy.name, run.repeat);
    eprintln!(
        "{scenario} {repeat} {policy}: p99 {p99:.1} ms, {errors:.3} % errors, generator late {late:.1} ms"
    );
}

/// A scenario's policies whose programs are there; for each that is not, a line.
fn take_part(
    arguments: &Arguments,
    scenario: &Scenario,
    site: &mut Site,
    skipped: &mut Vec<String>,
) -> Result<Vec<Policy>> {
    let mut policies = Vec::new();
    let told = arguments.policies.as_ref().or(scenario.policies.as_ref());
    let names = told.cloned().unwrap_or_else(|| policy::USUAL.map(str::to_owned).to_vec());
    for name in &names {
        let policy = Policy::named(name)?;
        if let Some(path) = find(arguments, &site.own, policy.program) {
            site.programs.insert(policy.program, path);
            policies.push(policy);
        } else {
            let (file, remedy) = policy.program.file();
            let line = format!("{name}: {file} is not there: {remedy}");
            ensure!(!policy.is_ours(), "{line}");
            if !skipped.contains(&line) {
                skipped.push(line);
            }
        }
    }
    ensure!(!policies.is_empty(), "nobody left to measure in {}", scenario.name);
    Ok(policies)
}

fn find(arguments: &Arguments, own: &Path, program: Program) -> Option<PathBuf> {
    let given = match program {
        Program::Ballast => arguments.ours.clone(),
        Program::Envoy => arguments.envoy.clone(),
        Program::Haproxy | Program::Nginx => None,
    };
    let (file, _) = program.file();
    if given.is_some() || program != Program::Ballast {
        return given.or_else(|| policy::installed(file)).filter(|path| path.is_file());
    }
    let built = own.parent().into_iter().flat_map(|dir| [dir.join(file), dir.join("../release").join(file)]);
    built.into_iter().find(|path| path.is_file())
}

fn list() -> Result<()> {
    for scenario in scenario::built_in()? {
        println!(
            "{:12} {} (rho {}, {:.0} requests/s)",
            scenario.name,
            scenario.title,
            scenario.rho,
            scenario.rate()
        );
    }
    println!("\ntake part unless a scenario says otherwise: {}", policy::USUAL.join(", "));
    println!("all policies: {}", Policy::names().collect::<Vec<_>>().join(", "));
    Ok(())
}
