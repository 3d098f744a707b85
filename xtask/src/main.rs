//! The workspace's own chores: `tidy` checks its rules, `bench` measures it beside its peers, `instructions` counts
//! what a request costs, `dashboards` writes what Grafana shows, `manifests` what Kubernetes is given of it.
//!
//! Exit codes: 0 when all is well, 1 when a rule is broken or a chore fails, 2 when a program it needs is missing.
#![allow(clippy::print_stdout, reason = "a chore's output is its result")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark waits for time windows and polls processes it started"
)]

mod bench;
mod cargo;
mod dashboards;
mod fuzz;
mod instructions;
mod manifests;
mod tidy;
mod workspace;
mod written;

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Exit code when a program is missing, so that a script can tell it from a failure.
const MISSING: u8 = 2;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The workspace's own chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Check the rules no compiler knows; print every violation
    Tidy,
    /// Measure beside HAProxy, nginx, Envoy, Caddy, Pingora and a bare relay: CPU per request, latency, memory
    Bench(bench::Options),
    /// Keep ours under steady load for long: no error, and memory that stays flat
    Soak(bench::soak::Options),
    /// Look for input that breaks what must hold: the fuzz targets, under libFuzzer
    Fuzz(fuzz::Options),
    /// Count instructions of a request by callgrind, and hold them against what is kept
    Instructions(instructions::Options),
    /// Write Grafana's dashboards from their description
    Dashboards(written::Options),
    /// Write the Kubernetes manifests that hold rules and dashboards
    Manifests(written::Options),
    /// Part of `bench`: trivial backends
    #[command(hide = true)]
    BenchBackends { count: usize },
    /// Part of `bench`: the bare relay
    #[command(hide = true)]
    BenchRelay {
        port: u16,
        #[arg(required = true)]
        backends: Vec<SocketAddr>,
    },
    /// Part of `bench`: load in an open loop
    #[command(hide = true)]
    BenchLoad(bench::Plan),
    /// Part of `bench`: connections that are held
    #[command(hide = true)]
    BenchIdle(bench::Hold),
}

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            let missing = error.downcast_ref::<bench::Missing>().is_some();
            if missing { ExitCode::from(MISSING) } else { ExitCode::FAILURE }
        }
    }
}

fn run(chore: Chore) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match chore {
        Chore::Tidy => return tidy::run(&workspace::root()?),
        Chore::Fuzz(options) => return fuzz::run(&options),
        Chore::Dashboards(options) => return dashboards::run(&workspace::root()?, &options),
        Chore::Manifests(options) => return manifests::run(&workspace::root()?, &options),
        Chore::Instructions(options) => return runtime.block_on(instructions::run(&options)),
        Chore::Bench(options) => return runtime.block_on(bench::run(&options)),
        Chore::Soak(options) => return runtime.block_on(bench::soak::run(&options)),
        Chore::BenchBackends { count } => runtime.block_on(bench::backends::run(count))?,
        Chore::BenchIdle(hold) => runtime.block_on(bench::idle::hold(hold))?,
        Chore::BenchRelay { port, backends } => runtime.block_on(bench::relay::serve(port, backends))?,
        Chore::BenchLoad(plan) => {
            println!("{}", serde_json::to_string(&runtime.block_on(bench::steady::run(plan))?)?);
        }
    }
    Ok(true)
}
