//! `traffic-lab run NAME…`: the experiments of the five original systems, each by one command.
//!
//! Each starts what it needs (our balancer, which starts its replicas itself), sends, prints tables, draws charts, and says
//! which of its expectations held. [`published`] has the originals' figures, which stand beside ours.
//! How it fails: an experiment that cannot be carried out is an error; one whose expectations do not hold is told like any
//! other, and the exit code is 1; of one that could not be carried out it is 2. Whatever was started ends with it, also by Ctrl-C.

mod algorithms;
mod control;
mod endpoints;
mod environment;
mod flow;
mod healing;
mod load;
mod phases;
mod published;
mod report;
mod spread;
mod stage;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use report::Report;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Which experiments, one after the other; `all` is each of them
    #[arg(required = true, value_enum)]
    names: Vec<Name>,
    /// Shorter runs where the whole takes more than some seconds: they show that it works, their times prove little
    #[arg(long)]
    quick: bool,
    /// Where results go, each experiment's into a directory of its name
    #[arg(long, value_name = "DIR", default_value = "results/experiments")]
    out: PathBuf,
    /// Where runs go that the dashboard shows
    #[arg(long, value_name = "DIR", default_value = "results")]
    runs: PathBuf,
    /// Our balancer [default: load-balancer beside this program]
    #[arg(long, value_name = "PATH")]
    ours: Option<PathBuf>,
    /// The replicas' program [default: backend beside this program]
    #[arg(long, value_name = "PATH")]
    backend: Option<PathBuf>,
    /// What random request ids and arrivals are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// An experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// 10,000 requests over three servers: who got how many
    #[value(name = "a-1")]
    A1,
    /// The same over two to six servers: the mean load, the least and the most
    #[value(name = "a-2")]
    A2,
    /// Every endpoint, then a replica is killed under load
    #[value(name = "a-3")]
    A3,
    /// under each hash function
    #[value(name = "a-4")]
    A4,
    /// Primes by 50 clients in three phases: two servers, one of them stopped, both again
    Phases,
    /// A replica of the hash balancer is killed under load, and the load is watched
    Failure,
    /// Lognormal service behind two algorithms; leaves runs for the dashboard
    Flow,
    /// All algorithms at one rate over equal, unequal, slow and failing backends
    Algorithms,
    /// Each of these
    All,
}

const EVERY: [Name; 8] =
    [Name::A1, Name::A2, Name::A3, Name::A4, Name::Phases, Name::Failure, Name::Flow, Name::Algorithms];

/// The exit code of an experiment that could not be carried out: clap's for bad arguments.
const NOT_CARRIED_OUT: u8 = 2;

/// What experiments share.
#[derive(Debug)]
pub(crate) struct Lab {
    /// Our balancer.
    ours: PathBuf,
    /// The replicas' program.
    backend: PathBuf,
    /// For configurations and logs; removed at the end.
    scratch: PathBuf,
    /// Where runs go that the dashboard shows.
    runs: PathBuf,
    quick: bool,
    seed: u64,
}

/// Runs the experiments; the exit code tells whether all expectations held.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match in_scratch(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(NOT_CARRIED_OUT)
        }
    }
}

fn in_scratch(arguments: &Arguments) -> Result<bool> {
    let scratch = std::env::temp_dir().join(format!("traffic-lab-run-{}", std::process::id()));
    let lab = Lab {
        ours: program(arguments.ours.as_ref(), "load-balancer", "--ours")?,
        backend: program(arguments.backend.as_ref(), "backend", "--backend")?,
        scratch,
        runs: arguments.runs.clone(),
        quick: arguments.quick,
        seed: arguments.seed,
    };
    let mut names = arguments.names.clone();
    if names.contains(&Name::All) {
        names = EVERY.to_vec();
    }
    std::fs::create_dir_all(&lab.scratch).context("making a directory for configurations")?;
    let result = one_by_one(&lab, &names, arguments);
    let removed = std::fs::remove_dir_all(&lab.scratch).context("removing the directory of configurations");
    // What went wrong first is what matters.
    result.and_then(|good| removed.map(|()| good))
}

fn one_by_one(lab: &Lab, names: &[Name], arguments: &Arguments) -> Result<bool> {
    let mut good = true;
    for name in names {
        let report = under_interruption(lab, *name)?;
        print!("{}", report.text());
        let kept = report.write(&arguments.out)?;
        println!("\nkept in {}", kept.display());
        good &= report.holds();
    }
    Ok(good)
}

/// Runs one; Ctrl-C, SIGTERM or a closed terminal is an error, so that processes end and files are removed as after any other.
fn under_interruption(lab: &Lab, name: Name) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("waiting for Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
        let mut hangup = signal(SignalKind::hangup()).context("waiting for SIGHUP")?;
        tokio::select! {
            report = carry_out(lab, name) => report,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
            _ = hangup.recv() => bail!("interrupted"),
        }
    })
}

async fn carry_out(lab: &Lab, name: Name) -> Result<Report> {
    match name {
        Name::A1 => spread::a1(lab).await,
        Name::A2 => spread::a2(lab).await,
        Name::A3 => healing::a3(lab).await,
        Name::A4 => spread::a4(lab).await,
        Name::Phases => phases::run(lab).await,
        Name::Failure => healing::failure(lab).await,
        Name::Flow => flow::run(lab).await,
        Name::Algorithms => algorithms::run(lab).await,
        Name::All => bail!("`all` is a list, not an experiment"),
    }
}

/// A program that was named, or the one beside this.
fn program(given: Option<&PathBuf>, file: &str, flag: &str) -> Result<PathBuf> {
    let path = match given {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("where is this program?")?.with_file_name(file),
    };
    if !path.is_file() {
        bail!(
            "{} is not there: cargo build -p {file} (as `make build` does), or {flag} PATH",
            path.display()
        );
    }
    // The processes run elsewhere.
    path.canonicalize().with_context(|| path.display().to_string())
}

#[cfg(test)]
impl Lab {
    /// One that starts nothing.
    fn nowhere() -> Self {
        let path = || PathBuf::from("nowhere");
        Self { ours: path(), backend: path(), scratch: path(), runs: path(), quick: false, seed: 1 }
    }
}
