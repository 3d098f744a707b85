//! `load-balancer demo`: a balancer and six backends on this machine, and nothing left behind.
//!
//! Every port is tried before anything starts, so a taken one is told with all others. Backends are child processes in
//! groups of their own: Ctrl-C reaches this process alone, which drains the balancer before it stops them. They also end when
//! their standard input does, so that even `kill -9` leaves none behind.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::cli::{complain, say};
use crate::config::{Address, Backend, Config};
use crate::signals::Stop;

/// The same file that a reader finds beside the other examples.
const CONFIG: &str = include_str!("../examples/demo.toml");

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
    let config = Config::parse(CONFIG, std::iter::empty()).map_err(|faults| faults.to_string())?;
    let program = backend.map_or_else(beside, Ok)?;
    free(&config)?;
    let stop = Stop::new().map_err(|e| format!("signals cannot be caught: {e}"))?;
    let children = Children::start(&program, &config.pool.backends)?;
    let text = welcome(&config);
    let running = crate::start(config).map_err(|e| e.to_string())?;
    say(&text);
    stop.wait();
    say("\nstopping …");
    running.stop();
    drop(children);
    Ok(())
}

/// The backend program, where cargo puts it.
fn beside() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| format!("where is this program? {e}"))?;
    let program = own.with_file_name("backend");
    if program.is_file() {
        return Ok(program);
    }
    Err(format!(
        "no backend program at {}: build it with `cargo build -p backend`, or name it with --backend",
        program.display()
    ))
}

/// Every address the demo needs, tried at once.
fn free(config: &Config) -> Result<(), String> {
    let backends = config.pool.backends.iter().filter_map(|b| match b.address {
        Address::Ip(address) => Some(address),
        Address::Name(..) => None,
    });
    let wanted: Vec<SocketAddr> =
        [config.listen.traffic, config.listen.admin].into_iter().chain(backends).collect();
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

/// The running backends. Dropping them ends them.
struct Children(Vec<Child>);

impl Children {
    /// Starts every backend and waits until it says that it listens.
    fn start(program: &PathBuf, backends: &[Backend]) -> Result<Self, String> {
        let mut children = Children(Vec::new());
        for backend in backends {
            let Address::Ip(address) = backend.address else { continue };
            let mut child = Command::new(program)
                .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
                .args(["--name", &backend.name, "--region", &backend.region])
                .args(["--weight", &backend.weight.to_string(), "--until-eof"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .process_group(0)
                .spawn()
                .map_err(|e| format!("{} does not start: {e}", program.display()))?;
            let output = child.stdout.take();
            children.0.push(child);
            if !output.is_some_and(listens) {
                return Err(format!("{} on {address} ended before it listened", backend.name));
            }
        }
        Ok(children)
    }
}

/// Waits for the first line, then reads on in the background, so that the backend can always write.
fn listens(output: ChildStdout) -> bool {
    let mut lines = BufReader::new(output).lines();
    let listening = lines.any(|line| line.is_ok_and(|l| l.contains("listening on")));
    if listening {
        std::thread::spawn(move || lines.for_each(drop));
    }
    listening
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &self.0 {
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

fn welcome(config: &Config) -> String {
    let (traffic, admin) = (config.listen.traffic, config.listen.admin);
    let mut text = format!("\nBallast is balancing on http://{traffic} over\n");
    for b in &config.pool.backends {
        text += &format!("  {:<9} http://{}  weight {}  {}\n", b.name, b.address, b.weight, b.region);
    }
    text += &format!(
        "\nTry:\n  \
         curl 'http://{traffic}/'\n  \
         curl 'http://{traffic}/?algo=weighted_round_robin'\n  \
         curl 'http://{traffic}/home?algo=consistent_hash&request_id=42'\n  \
         curl -s http://{traffic}/metrics | grep lb_decisions_total     # who got what\n  \
         curl -s -X POST http://127.0.0.1:5003/unhealthy                # a backend fails its checks, and comes back by /healthy\n\n\
         Metrics and readiness: http://{admin}/metrics  http://{admin}/ready\n\
         Ctrl-C stops everything."
    );
    text
}
