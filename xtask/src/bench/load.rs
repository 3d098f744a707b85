//! Runs a load generator against one proxy and returns what it counted.
//!
//! Closed loop is wrk, told by a script to print one line of JSON, or h2load for HTTP/2; open loop is this program's own `bench-load`.
//! How it fails: a generator that ends badly or prints no such line is an error with its output.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::h2load;
use super::scenario::{Scenario, Way};

/// How much longer than its window a generator may take.
const GRACE: Duration = Duration::from_secs(20);
/// After how many seconds wrk counts an answer as missing; where a full house waits in turn, an answer takes some.
const TIMEOUT_S: u32 = 10;

/// What a generator counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    pub(crate) duration_us: u64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) errors: u64,
}

/// Programs, and the core they run on.
#[derive(Debug)]
pub(crate) struct Generator<'a> {
    pub(crate) core: usize,
    pub(crate) helper: &'a Path,
    pub(crate) script: &'a Path,
    pub(crate) scratch: &'a Path,
}

impl Generator<'_> {
    /// Loads a proxy for some seconds.
    pub(crate) async fn run(&self, scenario: Scenario, port: u16, seconds: u32) -> Result<Load> {
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let log = self.scratch.join("h2load.log");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "taskset", "-c", &self.core.to_string()]).kill_on_drop(true);
        let Scenario { connections, body, rate, way, .. } = scenario;
        match rate {
            Some(rate) => {
                command.arg(self.helper).arg("bench-load").arg(target.to_string());
                command.args([
                    connections.to_string(),
                    rate.to_string(),
                    seconds.to_string(),
                    body.to_string(),
                ]);
            }
            None if way.multiplexed() => {
                let _none_yet = std::fs::remove_file(&log);
                command.arg("h2load").args(h2load::arguments(scenario, port, seconds, &log));
            }
            None => {
                command.args(["wrk", "--latency", "-t1"]);
                command.arg(format!("-c{connections}")).arg(format!("-d{seconds}s"));
                command.arg(format!("--timeout={TIMEOUT_S}s")).arg("-s").arg(self.script);
                if way == Way::Churn {
                    command.args(["-H", "Connection: close"]);
                }
                // A name, because wrk sends it as the server's, where an address may not stand.
                let origin = if way.encrypted() {
                    format!("https://localhost:{port}")
                } else {
                    format!("http://{target}")
                };
                command.arg(format!("{origin}/bytes/{body}"));
            }
        }
        let window = Duration::from_secs(u64::from(seconds)) + GRACE;
        let output =
            tokio::time::timeout(window, command.output()).await.context("the load generator hangs")??;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("the load generator failed: {text}{}", String::from_utf8_lossy(&output.stderr));
        }
        if rate.is_none() && way.multiplexed() {
            return h2load::parse(&text, &std::fs::read_to_string(&log).context("h2load's log")?);
        }
        parse(&text)
    }
}

/// The last line that is JSON.
fn parse(text: &str) -> Result<Load> {
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    let line = line.with_context(|| format!("the load generator printed no result:\n{text}"))?;
    serde_json::from_str(line).with_context(|| format!("the load generator's result: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_the_last_line_of_json() {
        let json = r#"{"requests":9,"duration_us":8,"p50_us":1,"p90_us":2,"p99_us":3,"errors":0}"#;
        let load = parse(&format!("Running 5s test\n  Latency 1ms\n{json}\n")).unwrap();
        assert_eq!((load.requests, load.p99_us), (9, 3));
        assert!(parse("Running 5s test\n").unwrap_err().to_string().contains("Running"));
    }
}
