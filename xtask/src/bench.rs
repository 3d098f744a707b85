//! Measures proxies side by side: ours, its peers, and the bare relay that is the limit.
//!
//! All proxies run for the whole of the bench on one core, and only one is under load at a time: the others wait in
//! epoll, which costs nothing but a health check now and then, and each is measured warm. The load generator and the
//! backends share another core. Rounds are interleaved, each in the other direction than the one before (A B C C B A), so
//! that a machine that slows down slows all. Where a percent matters they are started anew for each round: two processes
//! of one program differ by more than that, by where they happen to lie in memory, for as long as they live.
//! How it fails: what is missing or does not start ends the bench, and every process it started ends with it.

pub(crate) mod backends;
mod chart;
mod cpu;
mod environment;
mod load;
pub(crate) mod message;
mod options;
mod peer;
mod process;
pub(crate) mod relay;
mod report;
pub(crate) mod steady;
mod summary;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::workspace;
use cpu::CpuTime;
use environment::Environment;
use load::{Generator, Load};
pub(crate) use options::Options;
pub(crate) use peer::Missing;
pub(crate) use peer::installed;
use peer::{Peer, Site, free_ports};
use process::Process;
use report::Report;
pub(crate) use steady::Plan;

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Scenario {
    pub(crate) connections: usize,
    pub(crate) body: usize,
    /// Requests per second in an open loop; none is a closed loop, as fast as it goes.
    pub(crate) rate: Option<u32>,
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} connections, {} bytes, ", self.connections, self.body)?;
        match self.rate {
            Some(rate) => write!(f, "{rate} requests/s (open loop)"),
            None => f.write_str("as fast as it goes (closed loop)"),
        }
    }
}

/// One window of one proxy.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) scenario: Scenario,
    pub(crate) peer: Peer,
    pub(crate) round: u32,
    /// By the scheduler's clock, where the kernel keeps it.
    pub(crate) cpu_sched_us_per_request: Option<f64>,
    pub(crate) cpu_stat_us_per_request: f64,
    pub(crate) resident_kib: u64,
    pub(crate) load: Load,
}

impl Sample {
    /// The main figure: the finer clock where there is one.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu_sched_us_per_request.unwrap_or(self.cpu_stat_us_per_request)
    }

    /// Requests answered in a second.
    pub(crate) fn requests_per_s(&self) -> f64 {
        self.load.requests as f64 * 1e6 / self.load.duration_us.max(1) as f64
    }
}

/// Runs the bench to its end, or until it is told to stop.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = bench(options) => done,
        _ = interrupt.recv() => bail!("interrupted; every process it started is ended"),
        _ = terminate.recv() => bail!("told to end; every process it started is ended"),
    }
}

/// The directory of configurations and logs; dropping it removes it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// One of this process for `what`.
    pub(crate) fn new(what: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("ballast-{what}-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _already_gone = std::fs::remove_dir_all(&self.0);
    }
}

async fn bench(options: &Options) -> Result<()> {
    let root = workspace::root()?;
    let peers = options.peers();
    let ticks: f64 = workspace::output_of(&root, "getconf", &["CLK_TCK"])?.parse()?;
    for (program, package) in
        [("wrk", "wrk"), ("taskset", "util-linux"), ("setpriv", "util-linux"), ("kill", "procps")]
    {
        installed(program, package)?;
    }
    let release = release_directory()?;
    let helper = release.join("xtask");
    // Declared before the processes, so dropped after them.
    let scratch = Scratch::new("bench")?;
    let ours = options.ours.clone().unwrap_or_else(|| release.join("load-balancer"));
    let ours = std::path::absolute(ours)?;
    let mut site = Site {
        scratch: scratch.0.clone(),
        core: options.proxy_core,
        helper,
        ours,
        backends: Vec::new(),
        store: None,
    };
    for peer in peers.iter().filter(|peer| matches!(peer, Peer::Haproxy | Peer::Nginx)) {
        peer.program(&site)?;
    }
    let redis =
        peers.contains(&Peer::Shared).then(|| installed("redis-server", "redis-server")).transpose()?;
    build(&root, options, &peers)?;
    let environment = Environment::read(&root, &site, &peers);

    let mut backends =
        Process::start("backends", options.load_core, &site.helper, ["bench-backends"], &site.scratch)?;
    let ports = backends.first_line().await?;
    site.backends =
        ports.split(' ').map(str::parse).collect::<Result<_, _>>().context("the backends' ports")?;
    // Kept for as long as the bench runs.
    let mut _store = None;
    if let Some(redis) = redis {
        let [port, _] = free_ports()?;
        let number = port.to_string();
        let flags = ["--bind", "127.0.0.1", "--port", &number, "--save", "", "--appendonly", "no"];
        let mut process = Process::start("redis", options.load_core, &redis, flags, &site.scratch)?;
        process.listens(port).await?;
        (site.store, _store) = (Some(port), Some(process));
    }
    let script = root.join("benches/wrk/report.lua");
    let generator = Generator { core: options.load_core, helper: &site.helper, script: &script };
    let mut samples = Vec::new();
    let mut proxies = Vec::new();
    for scenario in options.scenarios() {
        eprintln!("{scenario}");
        for round in 1..=options.rounds() {
            if options.fresh || proxies.is_empty() {
                // Those of the round before end first.
                proxies.clear();
                proxies = started(&peers, &site).await?;
            }
            let mut order: Vec<_> = proxies.iter().collect();
            if round % 2 == 0 {
                order.reverse();
            }
            for (peer, process, port) in order {
                if options.warm_up() > 0 {
                    generator.run(scenario, *port, options.warm_up()).await.context(peer.name())?;
                }
                let family = cpu::family(process.pid());
                let before = CpuTime::of(&family, ticks)?;
                let load = generator.run(scenario, *port, options.seconds()).await.context(peer.name())?;
                let used = CpuTime::of(&family, ticks)?.since(before);
                let resident_kib = cpu::resident_kib(&family);
                samples.push(sample(scenario, *peer, round, used, resident_kib, load)?);
            }
        }
    }
    let rows = summary::rows(&samples);
    let report = Report { environment, method: options.method(), rows, samples };
    println!("{}", report.tables());
    let saved = report.save(&root.join("benches/runs"), &options.name())?;
    println!("Kept as {}.{{json,md,svg}}", saved.strip_prefix(&root).unwrap_or(&saved).display());
    Ok(())
}

/// Every peer, answering.
async fn started(peers: &[Peer], site: &Site) -> Result<Vec<(Peer, Process, u16)>> {
    let mut proxies = Vec::new();
    for &peer in peers {
        let (mut process, port) = peer.start(site)?;
        process.answers(port).await?;
        proxies.push((peer, process, port));
    }
    Ok(proxies)
}

fn sample(
    scenario: Scenario,
    peer: Peer,
    round: u32,
    used: CpuTime,
    resident_kib: u64,
    load: Load,
) -> Result<Sample> {
    if load.requests == 0 {
        bail!("{} answered nothing in round {round}", peer.name());
    }
    let per_request = |us: f64| us / load.requests as f64;
    let sample = Sample {
        scenario,
        peer,
        round,
        cpu_sched_us_per_request: used.sched_us.map(per_request),
        cpu_stat_us_per_request: per_request(used.stat_us),
        resident_kib,
        load,
    };
    let (cpu, rate, errors) = (sample.cpu_us(), sample.requests_per_s(), sample.load.errors);
    eprintln!(
        "  round {round}: {:<8} {cpu:>6.2} µs/request {rate:>7.0} requests/s {errors} errors",
        peer.name()
    );
    Ok(sample)
}

/// `target/release`, beside the profile this program was built in.
fn release_directory() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let target = own.parent().and_then(Path::parent).context("this program is not in a target directory")?;
    Ok(target.join("release"))
}

/// Builds what is measured, in release, before anything is measured.
fn build(root: &Path, options: &Options, peers: &[Peer]) -> Result<()> {
    let mut packages = vec!["xtask"];
    if peers.iter().any(|peer| *peer == Peer::Ours || peer.is_variant()) && options.ours.is_none() {
        packages.push("load-balancer");
    }
    for package in packages {
        let built =
            Command::new("cargo").args(["build", "--release", "-p", package]).current_dir(root).status()?;
        if !built.success() {
            bail!("cargo build --release -p {package} failed");
        }
    }
    Ok(())
}
