//! `traffic-lab`: traffic simulated, sent, kept, drawn and played again.
//!
//! `simulate` runs the decision code in a simulated world, `scenario` the whole balancer and its peers over real sockets;
//! both read the same kind of scenario and print the same kind of table. `tester` sends requests and keeps a run, `run`
//! does the originals' experiments with it, `dashboard` draws runs, and `replay` simulates one under other algorithms.

#![allow(clippy::print_stdout)] // What a command prints is its result.

mod chart;
mod clock;
mod dashboard;
mod experiments;
mod exposition;
mod machine;
mod replay;
mod results;
mod sim;
mod sockets;
mod tester;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "traffic-lab", version, about = "Simulates traffic, and sends it.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs scenarios in the simulator.
    Simulate(sim::Arguments),
    /// Runs scenarios over real sockets, beside other balancers.
    Scenario(sockets::Arguments),
    /// Serves a page that draws runs, and shows a balancer at work.
    Dashboard(dashboard::Arguments),
    /// Plays a run's requests again in the simulator, under other algorithms.
    Replay(replay::Arguments),
    /// Sends requests to a URL, and keeps what became of each.
    Tester(tester::Arguments),
    /// Runs the experiments of the original systems.
    Run(experiments::Arguments),
    /// The backends of `scenario`, as their own process.
    #[command(hide = true)]
    LabBackends(sockets::backends::Arguments),
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Simulate(arguments) => sim::run(&arguments)?,
        Command::Scenario(arguments) => sockets::run(&arguments)?,
        Command::Replay(arguments) => replay::run(&arguments)?,
        Command::Tester(arguments) => return Ok(tester::run(&arguments)),
        Command::Run(arguments) => return Ok(experiments::run(&arguments)),
        Command::Dashboard(arguments) => dashboard::run(arguments)?,
        Command::LabBackends(arguments) => sockets::backends::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
