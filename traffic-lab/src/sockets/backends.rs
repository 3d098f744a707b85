//! The role `lab-backends`: every backend of a scenario in one process, apart from the generator's.
//!
//! It prints its ports on one line, starts scenario time at the line `start`, prints how many measured requests each
//! backend got at the line `counts`, and ends with its input, so that it never outlives who started it.
//! How it fails: a port that is taken, be it after a restart, or a plan that cannot be read ends it at once, with the
//! reason.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::Instant;

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
    let ended = runtime.block_on(LocalSet::new().run_until(serve(&plan)));
    // A read of the input cannot be called off; to wait for it would keep the error to ourselves.
    runtime.shutdown_background();
    ended
}

/// Backends that serve, and the way to start their time.
struct Lab {
    backends: Vec<Rc<Backend>>,
    ports: Vec<u16>,
    serving: JoinSet<io::Result<()>>,
    start: watch::Sender<Option<Instant>>,
}

impl Lab {
    /// Opens every backend of a plan, in a `LocalSet`.
    async fn open(plan: &Plan) -> Result<Self> {
        let (start, zero) = watch::channel(None);
        let time = Time::new(zero);
        let mut lab = Self { backends: Vec::new(), ports: Vec::new(), serving: JoinSet::new(), start };
        let mut free = Ports::default();
        for (index, slots) in plan.scenario.slots.iter().enumerate() {
            let port = free.free()?;
            let listener = TcpListener::bind(("127.0.0.1", port)).await?;
            let backend = Rc::new(Backend::new(*slots, Timeline::new(plan, index), time.clone()));
            lab.serving.spawn_local(Rc::clone(&backend).serve(listener));
            lab.ports.push(port);
            lab.backends.push(backend);
        }
        let all = lab.backends.clone();
        spawn_local(async move {
            let mut looks = tokio::time::interval(Duration::from_secs_f64(LOOK_S));
            loop {
                looks.tick().await;
                all.iter().for_each(|backend| backend.meter.look());
            }
        });
        Ok(lab)
    }

    /// Waits until a backend serves no more, which none does of itself.
    async fn failed(&mut self) -> Result<()> {
        match self.serving.join_next().await {
            Some(ended) => ended?.context("a backend could not serve again after its restart"),
            None => std::future::pending().await,
        }
    }

    /// Starts scenario time: its 0 is the end of the warm-up.
    fn start(&self, plan: &Plan) {
        self.start.send_replace(Some(clock::now() + Duration::from_secs_f64(plan.warm_up_s)));
    }
}

async fn serve(plan: &Plan) -> Result<()> {
    let mut lab = Lab::open(plan).await?;
    println!("{}", line(lab.ports.iter()));
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    loop {
        let order = tokio::select! {
            order = orders.next_line() => order?,
            failed = lab.failed() => {
                failed?;
                bail!("a backend ended");
            }
        };
        let Some(order) = order else { return Ok(()) };
        match order.as_str() {
            "start" => lab.start(plan),
            "counts" => println!("{}", line(lab.backends.iter().map(|backend| backend.measured.get()))),
            other => bail!("unknown order: {other}"),
        }
    }
}

fn line(numbers: impl Iterator<Item = impl ToString>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::task::LocalSet;

    use super::*;
    use crate::sockets::demand::{Load, demands};
    use crate::sockets::record::{End, Record};
    use crate::sockets::{generator, scenario};

    const SECONDS: f64 = 1.5;

    /// One backend, and what goes wrong with it.
    fn plan(faults: &str) -> Plan {
        let text = format!("name='x'\ntitle='x'\nrho=0.5\nslots=[4]\nservice_ms=5\n{faults}");
        let file = std::env::temp_dir().join(format!("traffic-lab-{:?}.toml", std::thread::current().id()));
        std::fs::write(&file, text).unwrap();
        let scenario = scenario::named(&[file.display().to_string()]).unwrap().remove(0);
        std::fs::remove_file(file).unwrap();
        Plan { scenario, warm_up_s: 0.0, seconds: SECONDS, seed: 3 }
    }

    /// Sends to one backend for [`SECONDS`], without a balancer.
    fn send(faults: &str) -> (Vec<Record>, u64) {
        let plan = plan(faults);
        let measured = Duration::from_secs_f64(SECONDS);
        let load = Load { rate: 200.0, service_ms: 5.0, warm_up: Duration::ZERO, measured, seed: 3 };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sent = async {
            let lab = Lab::open(&plan).await.unwrap();
            lab.start(&plan);
            let target = SocketAddr::from(([127, 0, 0, 1], lab.ports[0]));
            let records = generator::run(target, &demands(&load), load.warm_up).await.unwrap();
            (records, lab.backends[0].measured.get())
        };
        runtime.block_on(LocalSet::new().run_until(sent))
    }

    #[test]
    fn every_request_reaches_its_backend_and_takes_its_time() {
        let (records, counted) = send("");
        assert_eq!(records.len() as u64, counted);
        assert!(records.iter().all(|record| record.end == End::Answered));
        let mean = records.iter().map(|record| record.latency_us).sum::<u64>() / counted;
        assert!(mean >= 5_000 * 9 / 10, "{mean}");
    }

    #[test]
    fn failures_come_as_told() {
        let (records, _) = send("[[fault]]\nkind='errors'\nshare=0.5");
        let failed = records.iter().filter(|record| record.end == End::Status(500)).count();
        let share = failed as f64 / records.len() as f64;
        assert!((0.4..0.6).contains(&share), "{share}");
    }

    #[tokio::test]
    async fn a_port_that_is_lost_during_a_restart_is_an_error() {
        let restart = "[[fault]]\nkind='restarts'\nfirst_s=0\nevery_s=9\ndown_s=0.5\ncold_s=0\ncold_factor=1";
        let plan = plan(restart);
        let taken = async {
            let mut lab = Lab::open(&plan).await.unwrap();
            lab.start(&plan);
            let address = SocketAddr::from(([127, 0, 0, 1], lab.ports[0]));
            let _thief = loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if let Ok(listener) = TcpListener::bind(address).await {
                    break listener;
                }
            };
            lab.failed().await
        };
        let error = LocalSet::new().run_until(taken).await.unwrap_err();
        assert!(error.to_string().contains("after its restart"), "{error}");
    }

    #[test]
    fn a_restart_refuses_and_then_serves_again() {
        let restart =
            "[[fault]]\nkind='restarts'\nfirst_s=0.5\nevery_s=9\ndown_s=0.5\ncold_s=0\ncold_factor=4";
        let (records, _) = send(restart);
        let answered = |record: &&Record| record.end == End::Answered;
        let refused = records.iter().filter(|record| !answered(record)).count() as f64 / records.len() as f64;
        // A third of the time; a machine that stands still for a while moves the edges.
        assert!((0.1..0.7).contains(&refused), "{refused}");
        assert!(records.iter().filter(|record| record.due_s < 0.5).any(|record| answered(&record)));
        assert!(records.iter().filter(|record| record.due_s > 1.0).any(|record| answered(&record)));
    }
}
