//! Row P's test: 50 requests at once and 500 in all, in three phases: two servers, one of them stopped, both again.
//!
//! Each server is pinned to a core, as row P's had one process each: otherwise the one that is left would take both, and nothing
//! would show. `mode=naive` is row P's work (division by every smaller number), the other one is ours.

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::Lab;
use super::load::send;
use super::published::{PRIMES, PRIMES_GOOD};
use super::report::Report;
use super::stage::{Setup, Stage};
use super::table::Table;
use crate::chart::Bars;
use crate::sockets::ports::Ports;
use crate::sockets::process::Process;
use crate::tester::Plan;

/// Requests at once.
const CLIENTS: usize = 50;
/// Requests of a phase.
const REQUESTS: u64 = 500;
/// The phases by what is up.
const PHASES: [&str; 3] = ["two servers", "server1 stopped", "server1 back"];
/// A shorter phase says nothing of a rate, in seconds: connecting alone takes some hundredths of one.
const TELLING_S: f64 = 0.2;
/// Row P's settings, those of load-balancer/examples/primes.toml.
const SETTINGS: &str = "[health]\npath = \"/health_check\"\nwhen = \"idle\"\ninterval = \"2s\"\nrise = 1\n\
    [retry]\nbudget_ratio = 1.0\nbudget_per_second = 20.0\n";

/// What a phase came to.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Phase {
    number: u64,
    mode: &'static str,
    phase: &'static str,
    average_ms: f64,
    good: u64,
    seconds: f64,
    rate: f64,
    /// Row P's rate; of its own work only.
    published: Option<f64>,
}

impl Phase {
    /// Its rate, if it took long enough for one.
    fn telling(&self) -> Option<f64> {
        (self.seconds >= TELLING_S).then_some(self.rate)
    }
}

/// One of row P's servers: pinned, and registering itself.
#[derive(Debug)]
struct Server {
    name: &'static str,
    core: usize,
    port: u16,
    process: Option<Process>,
}

impl Server {
    async fn start(&mut self, lab: &Lab, stage: &Stage) -> Result<()> {
        let port = self.port.to_string();
        let to = stage.url("/server_up");
        let arguments = ["--name", self.name, "--port", &port, "--register-url", &to].map(str::to_owned);
        let mut process = Process::start(self.name, Some(self.core), &lab.backend, &arguments, &lab.scratch)?;
        process.says("listening on").await?;
        self.process = Some(process);
        Ok(())
    }

    async fn stop(&mut self) -> Result<()> {
        self.process.take().with_context(|| format!("{} does not run", self.name))?.stop().await
    }
}

/// All three phases of both numbers, both ways.
pub(crate) async fn run(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(lab, "phases", "Primes in three phases");
    let setup = Setup { algorithm: "round_robin", more: SETTINGS, ..Setup::default() };
    let stage = Stage::start(lab, &setup).await.context("the balancer")?;
    let mut ports = Ports::default();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut first = Server { name: "server1", core: 0, port: ports.free()?, process: None };
    let mut second = Server { name: "server2", core: 1 % cores, port: ports.free()?, process: None };
    first.start(lab, &stage).await?;
    second.start(lab, &stage).await?;
    let mut phases = Vec::new();
    for mode in ["naive", "fast"] {
        // The larger number by row P's work takes most of a minute.
        let numbers = if lab.quick && mode == "naive" { &PRIMES[..1] } else { &PRIMES[..] };
        for (number, published) in numbers {
            both_answer(&stage).await?;
            for (phase, published) in PHASES.into_iter().zip(published) {
                if phase == PHASES[1] {
                    first.stop().await?;
                } else if phase == PHASES[2] {
                    first.start(lab, &stage).await?;
                    both_answer(&stage).await?;
                }
                let url = stage.url(&format!("/is_prime/{number}?mode={mode}"));
                let sent = send(Plan { concurrency: Some(CLIENTS), ..Plan::new(&url, REQUESTS) }).await?;
                phases.push(Phase {
                    number: *number,
                    mode,
                    phase,
                    average_ms: sent.summary.service_ms.mean,
                    good: sent.summary.requests - sent.summary.failed,
                    seconds: sent.summary.seconds,
                    rate: sent.summary.throughput,
                    published: (mode == "naive").then_some(*published),
                });
            }
        }
    }
    first.stop().await?;
    second.stop().await?;
    stage.stop().await?;
    tell(&mut report, &phases)?;
    Ok(report)
}

/// Both may be picked. Only a request can show that who failed requests works again, so some are sent.
async fn both_answer(stage: &Stage) -> Result<()> {
    stage
        .until("both servers", async || {
            stage.ask("GET", "/is_prime/7", "").await?;
            Ok((stage.ready().await? == 2).then_some(()))
        })
        .await
}

fn tell(report: &mut Report, phases: &[Phase]) -> Result<()> {
    let columns = [
        "number",
        "work",
        "phase",
        "average ms",
        "good",
        "seconds",
        "req/s",
        "of phase 1",
        "row P req/s",
        "of phase 1",
    ];
    let mut table = Table::new("50 requests at once, 500 in all", &columns);
    for phase in phases {
        let first = phases.iter().find(|other| (other.number, other.mode) == (phase.number, phase.mode));
        let part = |rate: f64, first: f64| format!("{:.0} %", 100.0 * rate / first.max(f64::MIN_POSITIVE));
        table.row(vec![
            phase.number.to_string(),
            if phase.mode == "naive" { "row P's" } else { "ours" }.to_owned(),
            phase.phase.to_owned(),
            format!("{:.1}", phase.average_ms),
            format!("{}/{REQUESTS}", phase.good),
            format!("{:.2}", phase.seconds),
            phase.telling().map_or("-".to_owned(), |rate| format!("{rate:.1}")),
            phase
                .telling()
                .zip(first.and_then(Phase::telling))
                .map_or("-".to_owned(), |(rate, first)| part(rate, first)),
            phase.published.map_or("-".to_owned(), |rate| rate.to_string()),
            phase.published.zip(first.and_then(|f| f.published)).map_or("-".to_owned(), |(r, f)| part(r, f)),
        ]);
    }
    report.tables.push(table);
    for (at, phase) in PHASES.into_iter().enumerate() {
        report.chart(&format!("{}", at + 1), chart(phase, at + 1, phases));
    }
    let bad = phases.iter().filter(|phase| phase.good != PRIMES_GOOD).count();
    report.check(
        bad == 0,
        "500 of 500 in every phase",
        format!("{} phases, {bad} with failures", phases.len()),
    );
    let by_work = PRIMES.map(|(number, rates)| number as f64 * rates[0] / 1e6);
    report.remark(format!(
        "Row P's rates are its own division's, not a balancer's: {:.1} and {:.1} million divisions a second for its two numbers. An \
         exact test (Miller–Rabin, right for every number of 64 bits) takes microseconds, and then the balancer is what is measured.",
        by_work[0], by_work[1]
    ));
    report.remark(
        "Half of the servers should make half of the rate. Row P's second phase has 62 % and 64 % of its first, so its two servers shared \
         something, cores most likely; here each is pinned to a core, which it shares with clients and balancer. Its third phase for \
         6700417 is 10 % above the first with the same servers: so much a single run is worth.",
    );
    report.remark("Phases below 0.2 s have no rate: too short to tell.");
    report.figure("phases", phases)
}

/// One phase: requests a second for each number, beside row P's.
fn chart(phase: &str, number: usize, phases: &[Phase]) -> String {
    let find = |wanted: u64, mode: &str| {
        phases.iter().find(|p| p.number == wanted && p.mode == mode && p.phase == phase)
    };
    let ours = |(wanted, _): &(u64, [f64; 3])| {
        find(*wanted, "naive").and_then(Phase::telling).map(|rate| (rate * 10.0).round() / 10.0)
    };
    let theirs = |(_, rates): &(u64, [f64; 3])| rates.get(number - 1).copied();
    Bars {
        title: format!("Phase {number}, {phase}: row P's work"),
        y_label: "requests a second".to_owned(),
        groups: PRIMES.iter().map(|(number, _)| format!("/is_prime/{number}")).collect(),
        series: vec![
            ("ours".to_owned(), PRIMES.iter().map(ours).collect()),
            ("row P as published".to_owned(), PRIMES.iter().map(theirs).collect()),
        ],
        log: true,
        ..Bars::default()
    }
    .svg()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(phase: &'static str, rate: f64, good: u64) -> Phase {
        let (number, mode, published) = (524_287, "naive", Some(32.4));
        Phase { number, mode, phase, average_ms: 1.0, good, seconds: 1.0, rate, published }
    }

    #[test]
    fn rates_stand_beside_those_of_the_first_phase() {
        let mut report = Report::new(&Lab::nowhere(), "phases", "x");
        let all = [phase(PHASES[0], 400.0, 500), phase(PHASES[1], 200.0, 500), phase(PHASES[2], 390.0, 500)];
        tell(&mut report, &all).unwrap();
        assert!(report.holds(), "{:?}", report.checks);
        let cells: Vec<&str> = report.tables[0].rows.iter().map(|row| row[7].as_str()).collect();
        assert_eq!(cells, ["100 %", "50 %", "98 %"]);
        assert_eq!(report.charts.len(), 3);
    }

    #[test]
    fn a_lost_request_fails_the_phase() {
        let mut report = Report::new(&Lab::nowhere(), "phases", "x");
        tell(&mut report, &[phase(PHASES[0], 400.0, 499)]).unwrap();
        assert!(!report.holds());
    }
}
