//! `traffic-lab tester URL N`: sends requests, and keeps what became of each.
//!
//! Reading order: [`plan`] (what is to be sent) → [`send_watched()`] (the engine, for experiments as well) → [`connection`] and
//! [`answer`] (one exchange) → [`teller`] and [`offset`] (what answers say of who sent them).
//! How it fails: exit code 0 if every request was answered well, 1 if any was not (they are records of the run, which is
//! kept all the same), 2 for a plan that cannot be sent.

mod alarm;
mod answer;
mod arrivals;
mod connection;
mod descriptors;
mod offset;
mod options;
mod plan;
mod progress;
mod report;
mod send;
mod teller;
mod template;
#[cfg(test)]
mod tests;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};

pub(crate) use arrivals::Arrivals;
pub(crate) use options::Arguments;
pub(crate) use plan::{Pace, Plan};
#[cfg(test)]
use send::send;
pub(crate) use send::send_watched;
pub(crate) use watch::Watch;

use crate::results;

/// The exit code after a plan that could not be sent, or a run that could not be kept: clap's for bad arguments.
const UNSENT: u8 = 2;
/// The exit code after a second Ctrl-C: a shell's for a program that it interrupted.
const INTERRUPTED: i32 = 130;

/// Sends, keeps, and tells.
pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match carry_out(arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(UNSENT)
        }
    }
}

/// Whether all was well.
fn carry_out(arguments: &Arguments) -> Result<bool> {
    let plan = arguments.plan()?;
    plan.message()?;
    let directory = arguments.directory()?;
    let watch = Arc::new(Watch::default());
    stop_on_interrupt(&watch)?;
    let run = progress::beside(&plan, &watch, || send_watched(&plan, &watch))?;
    let file = results::write(directory, &run)?;
    print!("{}", report::text(&run, &file));
    Ok(run.summary.failed == 0)
}

/// Ctrl-C ends the sending, and what was sent is kept; a second one ends the program.
fn stop_on_interrupt(watch: &Arc<Watch>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let watch = Arc::clone(watch);
    let wait = move || {
        runtime.block_on(async {
            if tokio::signal::ctrl_c().await.is_ok() {
                watch.stop();
                let _ = tokio::signal::ctrl_c().await;
                std::process::exit(INTERRUPTED);
            }
        });
    };
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(wait).context("no thread for Ctrl-C")?;
    Ok(())
}
