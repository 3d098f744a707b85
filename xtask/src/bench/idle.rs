//! What idle connections cost in memory: one proxy after the other, at rest, then with thousands of connections that have had an answer each.
//!
//! How it fails: a connection that gets no answer ends the holder, and the measurement with it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::environment::Environment;
use super::options::Work;
use super::peer::Peer;
use super::process::Process;
use super::report;
use super::site::Site;
use super::steady::exchange;
use super::world::{Proxy, World};
use super::{Options, cpu};

/// How long memory is given to settle before it is read: ours parks what rests for a second, and allocators give back later.
const SETTLE: Duration = Duration::from_secs(5);

/// Connections to hold: the arguments of the process that does.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Hold {
    target: SocketAddr,
    connections: usize,
}

/// Opens them, has an answer on each, says so, and holds them until it is ended.
pub(crate) async fn hold(hold: Hold) -> Result<()> {
    let request = format!("GET /idle HTTP/1.1\r\nHost: {}\r\n\r\n", hold.target);
    let mut held = Vec::with_capacity(hold.connections);
    let mut buffer = Vec::new();
    for index in 0..hold.connections {
        let mut stream = None;
        exchange(&mut stream, &mut buffer, hold.target, request.as_bytes())
            .await
            .with_context(|| format!("connection {}", index + 1))?;
        held.extend(stream);
    }
    println!("{}", held.len());
    std::future::pending().await
}

/// Resident memory of a proxy, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) peer: Peer,
    pub(crate) connections: usize,
    pub(crate) at_rest_kib: u64,
    pub(crate) holding_kib: u64,
}

impl Row {
    fn per_connection_kib(self) -> f64 {
        self.holding_kib.saturating_sub(self.at_rest_kib) as f64 / self.connections.max(1) as f64
    }
}

#[derive(Debug, Serialize)]
struct Findings {
    environment: Environment,
    method: Vec<String>,
    rows: Vec<Row>,
}

/// Measures every peer of the work; the result's path without extension.
pub(crate) async fn run(
    options: &Options,
    site: &Site,
    work: &Work,
    environment: Environment,
    runs: &std::path::Path,
) -> Result<PathBuf> {
    let mut rows = Vec::new();
    for &scenario in &work.scenarios {
        for &peer in &work.peers {
            let mut world = World::start(&options.place, site.clone(), &[peer], scenario.backends).await?;
            world.proxies(&[peer]).await?;
            for proxy in &world.proxies {
                let row = measure(options, site, proxy, scenario.connections).await.context(peer.name())?;
                eprintln!("  {:<8} {:.1} KiB each", peer.name(), row.per_connection_kib());
                rows.push(row);
            }
        }
    }
    let result = Findings { environment, method: options.method(work), rows };
    println!("{}", table(&result.rows));
    let markdown = report::page(&result.environment, &result.method, &table(&result.rows));
    report::write(runs, &result.environment, &work.name, &serde_json::to_string_pretty(&result)?, &|name| {
        vec![("md", format!("{markdown}\nEvery figure: [{name}.json]({name}.json).\n"))]
    })
}

async fn measure(options: &Options, site: &Site, proxy: &Proxy, connections: usize) -> Result<Row> {
    let memory = async || {
        tokio::time::sleep(SETTLE).await;
        cpu::resident_kib(&cpu::family(proxy.process.pid()))
    };
    let at_rest_kib = memory().await;
    let target = SocketAddr::from(([127, 0, 0, 1], proxy.doors.plain)).to_string();
    let args = ["bench-idle".to_owned(), target, connections.to_string()];
    let mut holder = Process::start("idle", options.place.load_core, &site.helper, args, &site.scratch)?;
    let held = holder.first_line().await?;
    let holding_kib = memory().await;
    Ok(Row { peer: proxy.peer, connections: held.trim().parse().context(held)?, at_rest_kib, holding_kib })
}

fn table(rows: &[Row]) -> String {
    let mut out = String::from(
        "\n| proxy | at rest MiB | idle connections | with them MiB | KiB each |\n|---|---|---|---|---|\n",
    );
    for row in rows {
        let mib = |kib: u64| kib as f64 / 1024.0;
        let _ = writeln!(
            out,
            "| {:<7} | {:.1} | {} | {:.1} | {:.2} |",
            row.peer.name(),
            mib(row.at_rest_kib),
            row.connections,
            mib(row.holding_kib),
            row.per_connection_kib(),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::backends;

    #[test]
    fn what_a_connection_costs_is_the_difference() {
        let row = Row { peer: Peer::Ours, connections: 1000, at_rest_kib: 10_240, holding_kib: 14_240 };
        assert!(table(&[row]).contains("| ballast | 10.0 | 1000 | 13.9 | 4.00 |"), "{}", table(&[row]));
    }

    #[tokio::test]
    async fn a_connection_without_an_answer_is_an_error() {
        let listener = backends::bind(1).await.unwrap().remove(0);
        let target = listener.local_addr().unwrap();
        drop(listener);
        let error = hold(Hold { target, connections: 1 }).await.unwrap_err();
        assert!(error.to_string().contains("connection 1"));
    }
}
