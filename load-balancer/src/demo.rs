//! `load-balancer demo`: a balancer and six backends on this machine, and nothing left behind.
//!
//! The backends are replicas of the provider `process`, as `replicas.provider` would have them: a killed one is replaced,
//! `/add` and `/rm` work, and all of them end with this process, even by `kill -9`. So does the dashboard, if its program
//! lies beside this one; without it, or where its port is taken, the demo goes on and says so.

mod dashboard;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::Running;
use crate::cli::{complain, say};
use crate::config::Config;
use crate::signals::{Order, Stop};
use dashboard::Dashboard;

/// The same file that a reader finds beside the other examples.
const CONFIG: &str = include_str!("../examples/demo.toml");
/// What names the program of the replicas in the environment's way.
const PROGRAM: &str = "BALLAST_REPLICAS__PROCESS__PROGRAM";

/// Runs the demo until Ctrl-C or SIGTERM.
pub(crate) fn run(backend: Option<PathBuf>) -> ExitCode {
    match serve(backend) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn serve(backend: Option<PathBuf>) -> Result<(), String> {
    let program = backend.map(|path| (PROGRAM.to_owned(), path.display().to_string()));
    let config = Config::parse(CONFIG, program.into_iter()).map_err(|faults| faults.to_string())?;
    free(&config)?;
    let mut stop = Stop::new().map_err(|e| format!("signals cannot be caught: {e}"))?;
    let (wanted, admin) = (config.pool.backends.len(), config.listen.admin);
    let running = crate::start(config).map_err(|e| e.to_string())?;
    if running.backends().len() < wanted {
        running.stop();
        return Err("not every backend started: BALLAST_LOG=warn tells why".to_owned());
    }
    let dashboard = Dashboard::beside(admin);
    say(&welcome(&running, admin, dashboard.as_ref()));
    while stop.next() == Order::Upgrade {
        say("the demo cannot be upgraded while it runs");
    }
    say("\nstopping …");
    drop(dashboard);
    running.stop();
    Ok(())
}

/// Every address the demo cannot do without, tried at once.
fn free(config: &Config) -> Result<(), String> {
    let wanted = [config.listen.traffic, config.listen.admin];
    let taken: Vec<String> =
        wanted.iter().filter_map(|a| TcpListener::bind(a).err().map(|e| format!("  {a}: {e}"))).collect();
    if taken.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the demo needs these addresses, and cannot have them:\n{}\nEnd what is using them (`ss -ltnp` tells) and try again.",
        taken.join("\n")
    ))
}

fn welcome(running: &Running, admin: SocketAddr, dashboard: Option<&Dashboard>) -> String {
    let traffic = running.traffic;
    let mut text = format!("\nBallast is balancing on http://{traffic} over\n");
    let backends = running.backends();
    for b in &backends {
        text += &format!("  {:<9} http://{}  weight {}  {}\n", b.name, b.address, b.weight, b.region);
    }
    if let Some(dashboard) = dashboard {
        text += &format!("\n{dashboard}\n");
    }
    let third = backends.get(2).map_or_else(String::new, |b| b.address.to_string());
    text += &format!(
        "\nTry:\n  \
         curl 'http://{traffic}/'\n  \
         curl 'http://{traffic}/?algo=weighted_round_robin'\n  \
         curl 'http://{traffic}/home?algo=consistent_hash&request_id=42'\n  \
         curl -s http://{traffic}/metrics | grep lb_decisions_total     # who got what\n  \
         curl -s -X POST http://{third}/unhealthy                # fails its checks, comes back by /healthy, is replaced after a minute\n  \
         curl -s http://{traffic}/rep                                   # the replicas; kill -9 one and look again\n  \
         curl -s -d '{{\"n\":2,\"hostnames\":[\"S7\"]}}' http://{traffic}/add\n  \
         curl -s -X DELETE -d '{{\"n\":1}}' http://{traffic}/rm\n  \
         curl -s 'http://{traffic}/decisions?format=json'               # what happened, and why; without format it goes on\n  \
         curl -s -H 'x-lb-debug: 1' -H 'x-request-id: mine' http://{traffic}/home\n  \
         curl -s http://{traffic}/explain/mine                          # why that request went where it went\n\n\
         Metrics and readiness: http://{admin}/metrics  http://{admin}/ready\n\
         Ctrl-C stops everything."
    );
    text
}
