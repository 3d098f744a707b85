//! `load-balancer serve|check|health|demo`: what each does is in its help.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::control::Source;
use crate::handover::{Inherited, systemd, upgrade::Successor};
use crate::signals::{Order, Stop};
use crate::{Running, demo, health};

/// Exit code for a configuration with faults.
const FAULTY: u8 = 2;

#[derive(Parser)]
#[command(
    name = "load-balancer",
    version,
    about = "Ballast: an HTTP load balancer that shows its reasons",
    after_help = "Any value of the file can be set by the environment: BALLAST_TIMEOUTS__CONNECT=3s is\n\
                  connect in [timeouts]. Logs go to standard error; BALLAST_LOG=debug shows more.\n\n\
                  Try it:  load-balancer demo\n\
                           curl 'http://127.0.0.1:5000/?algo=least_connections'\n\
                           curl http://127.0.0.1:5000/metrics"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Balance traffic as a configuration file says, until SIGTERM or Ctrl-C; then drain. A change of the file, or SIGHUP,
    /// has it read again. SIGUSR2 has the program under this name take over without a refused connection.
    Serve {
        /// The configuration file. The commented load-balancer/examples/ballast.toml has every key.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration file and the environment: every fault at once, exit code 2 if there is any.
    Check {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Ask a running balancer how it is: exit code 0 where it answers 200. For health checks of containers.
    Health {
        /// What to ask; /health says that it runs, /ready that it has a backend to send requests to.
        #[arg(default_value = "http://127.0.0.1:9901/ready", value_name = "URL")]
        url: String,
        #[command(flatten)]
        trust: health::Trust,
    },
    /// Print every metric with type, labels and meaning, as docs/METRICS.md has it.
    Metrics,
    /// Start a balancer on 127.0.0.1:5000 with six backends on 5001–5006, all on this machine.
    Demo {
        /// The backend program.
        #[arg(long, value_name = "FILE", help = "The backend program [default: beside this one]")]
        backend: Option<PathBuf>,
    },
}

/// Runs the command line.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve { config } => serve(&config),
        Command::Check { config } => with_config(&config, |config| {
            say(&format!(
                "the configuration is valid: {} backends, {}, {} workers",
                config.pool.backends.len(),
                config.pool.algorithm,
                config.workers
            ));
            ExitCode::SUCCESS
        }),
        Command::Health { url, trust } => match health::check(&url, &trust) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => {
                complain(&why);
                ExitCode::FAILURE
            }
        },
        Command::Metrics => {
            say(crate::observe::catalog::markdown().trim_end());
            ExitCode::SUCCESS
        }
        Command::Demo { backend } => {
            logs("warn");
            demo::run(backend)
        }
    }
}

fn with_config(path: &Path, then: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match source(path).load() {
        Ok(config) => then(config),
        Err(faults) => {
            complain(&faults.to_string());
            ExitCode::from(FAULTY)
        }
    }
}

fn source(path: &Path) -> Source {
    // A variable that is no text is none of ours.
    let env = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
    let env = env.filter(|(key, _)| key != LOG_VARIABLE);
    Source { path: path.to_owned(), env: env.collect() }
}

/// Serves on the sockets that this process was started with, if any; a predecessor is told what comes of it.
fn serve(path: &Path) -> ExitCode {
    // First of all: nobody else may be given these descriptors.
    let mut inherited = match Inherited::from_env() {
        Ok(inherited) => inherited,
        Err(why) => {
            complain(&why);
            return ExitCode::FAILURE;
        }
    };
    match inherited.pass_on() {
        Some(Ok(())) => return ExitCode::SUCCESS,
        Some(Err(_)) => return ExitCode::FAILURE,
        None => {}
    }
    let predecessor = inherited.predecessor();
    let failed = |why: &str| predecessor.iter().for_each(|predecessor| predecessor.failed(why));
    let source = source(path);
    let config = match source.load() {
        Ok(config) => config,
        Err(faults) => {
            complain(&faults.to_string());
            failed(&faults.without_values());
            return ExitCode::from(FAULTY);
        }
    };
    logs("info");
    // Signals are caught before anything listens: an early SIGTERM must drain too.
    let stop = match Stop::new() {
        Ok(stop) => stop,
        Err(error) => {
            complain(&format!("signals cannot be caught: {error}"));
            return ExitCode::FAILURE;
        }
    };
    raise_descriptor_limit();
    match crate::take_over(config, source, inherited) {
        Ok(running) => {
            match predecessor {
                // It tells the service manager: only the main process is believed.
                Some(predecessor) => predecessor.ready(),
                None => systemd::ready(),
            }
            go_on(running, stop);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error.to_string());
            failed(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Follows orders to the end.
fn go_on(running: Running, mut stop: Stop) {
    loop {
        match stop.next() {
            Order::Reload => running.reload(),
            Order::Stop => break,
            Order::Upgrade => match succeeded(&running, &mut stop) {
                Ok(Some(process)) => return hand_over(running, &mut stop, process),
                Ok(None) => break,
                Err(reason) => running.resume(reason),
            },
        }
    }
    tracing::info!(target: "audit", who = "signal", "stop");
    systemd::stopping();
    let delay = running.leave();
    if !delay.is_zero() {
        tracing::info!(
            seconds = delay.as_secs_f64(),
            "told to stop: /ready says no, everybody is still served"
        );
        stop.wait_again(delay);
    }
    tracing::info!("draining");
    running.stop();
    tracing::info!("stopped");
}

/// Starts the program that is to take this one's place; its process id once it serves, `None` where the order to stop came.
fn succeeded(running: &Running, stop: &mut Stop) -> Result<Option<u32>, String> {
    tracing::info!(target: "audit", who = "signal", "upgrade");
    running.hold()?;
    let patience = running.patience();
    let ready = stop.unless_stopped(async { Successor::start(running.doors())?.ready(patience).await });
    if ready.is_none() {
        running.resume("told to stop meanwhile".to_owned());
    }
    ready.transpose()
}

fn hand_over(mut running: Running, stop: &mut Stop, process: u32) {
    systemd::succeeded_by(process);
    let time = running.hand_over();
    tracing::info!(process, seconds = time.as_secs_f64(), "handed over: who is connected here may move");
    stop.wait_again(time);
    tracing::info!("draining");
    running.stop();
    tracing::info!("stopped");
}

/// Takes all the file descriptors the system allows: two a request in flight, and the usual soft limit is 1,024.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::warn!(%error, soft = limit.current, "the limit of open files stays as it is");
    }
}

/// The variable that sets the log level.
const LOG_VARIABLE: &str = "BALLAST_LOG";

/// The library that speaks to Kubernetes logs each of its requests that fails. What comes of that is said here, once.
const QUIET: &str = "kube_client=off";

/// Lines of the audit log are never left out.
const AUDIT: &str = "audit=info";

fn logs(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env(LOG_VARIABLE)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(format!("{default},{QUIET}")));
    // Whatever else is left out: who changed what is kept.
    let filter = match AUDIT.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// A line for people on standard output.
#[expect(clippy::print_stdout, reason = "this is what the command line is for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// A line for people on standard error.
pub(crate) fn complain(text: &str) {
    eprintln!("{}", text.trim_end());
}
