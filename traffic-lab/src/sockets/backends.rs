//! The role `lab-backends`: every backend of a scenario in one process, apart from the generator's.
//!
//! It prints its ports on one line, starts scenario time at the line `start`, prints how many measured requests each
//! backend got at the line `counts`, and ends with its input, so that it never outlives who started it.
//! How it fails: a port that is taken or a plan that cannot be read ends it at once, with the reason.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use super::backend::{Backend, Time};
use super::ports::Ports;
use super::telemetry::LOOK_S;
use super::timeline::{Plan, Timeline};
use crate::clock;

/// What the process is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The plan, as JSON.
    plan: PathBuf,
}

/// Serves until the input ends.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let text = std::fs::read_to_string(&arguments.plan).context("reading the plan")?;
    let plan: Plan = serde_json::from_str(&text).context("reading the plan")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(LocalSet::new().run_until(serve(&plan)))
}

async fn serve(plan: &Plan) -> Result<()> {
    let (start, zero) = watch::channel(None);
    let time = Time::new(zero);
    let mut backends = Vec::new();
    let mut names = Vec::new();
    let mut ports = Ports::default();
    for (index, slots) in plan.scenario.slots.iter().enumerate() {
        let port = ports.free()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let backend = Rc::new(Backend::new(index, *slots, Timeline::new(plan, index), time.clone()));
        spawn_local(Rc::clone(&backend).serve(listener));
        names.push(port.to_string());
        backends.push(backend);
    }
    println!("{}", names.join(" "));
    let all = backends.clone();
    spawn_local(async move {
        let mut looks = tokio::time::interval(Duration::from_secs_f64(LOOK_S));
        loop {
            looks.tick().await;
            all.iter().for_each(|backend| backend.meter.look());
        }
    });
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        if order == "start" {
            start.send_replace(Some(clock::now() + Duration::from_secs_f64(plan.warm_up_s)));
        } else if order == "counts" {
            let counts: Vec<String> = backends.iter().map(|one| one.measured.get().to_string()).collect();
            println!("{}", counts.join(" "));
        }
    }
    Ok(())
}
