//! The workspace's own chores: `tidy` checks its rules, `bench` measures it beside its peers.
//!
//! Exit codes: 0 when all is well, 1 when a rule is broken or a chore fails, 2 when a program it needs is missing.
#![allow(clippy::print_stdout, reason = "a chore's output is its result")]
#![allow(
    clippy::disallowed_methods,
    reason = "a benchmark waits for time windows and polls processes it started"
)]

mod tidy;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<bool> {
    match cli.chore {
        Chore::Tidy => tidy::run(&workspace::root()?),
    }
}
