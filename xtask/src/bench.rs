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
mod config;
mod cpu;
mod environment;
mod group;
mod h2load;
pub(crate) mod idle;
mod load;
pub(crate) mod message;
mod options;
mod peer;
mod process;
pub(crate) mod redis;
pub(crate) mod relay;
mod report;
mod scenario;
mod site;
pub(crate) mod soak;
pub(crate) mod steady;
mod summary;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::cargo::cargo;
use crate::workspace;
use cpu::CpuTime;
use environment::Environment;
pub(crate) use idle::Hold;
use load::{Generator, Load};
pub(crate) use options::Options;
use options::{Place, Work};
use peer::Peer;
use report::Report;
use scenario::Scenario;
pub(crate) use site::{Missing, installed};
use site::{Site, open_files};
pub(crate) use steady::Plan;
use world::World;

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

/// Runs the bench to its end, or until it is told to stop; whether ours answered everything.
pub(crate) async fn run(options: &Options) -> Result<bool> {
    until_told(bench(options)).await
}

/// Does something until it is done, or until this process is told to end.
async fn until_told<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => done,
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

async fn bench(options: &Options) -> Result<bool> {
    let works = options.works();
    let mut peers: Vec<Peer> = works.iter().flat_map(|work| work.peers.clone()).collect();
    peers.sort_unstable();
    peers.dedup();
    let ready = Ready::new("bench", &options.place, &peers)?;
    if works.iter().flat_map(|work| &work.scenarios).any(|scenario| scenario.way.multiplexed()) {
        installed("h2load", "nghttp2-client")?;
    }
    let mut clean = true;
    for work in works {
        eprintln!("{}", work.name);
        clean &= ready.measure(options, &work).await?;
    }
    Ok(clean)
}

/// All that measurements share: what is built and installed, and where.
#[derive(Debug)]
struct Ready {
    root: PathBuf,
    ticks: f64,
    site: Site,
    script: PathBuf,
    /// Files that a process may have open.
    files: usize,
    // The directory lasts as long as this.
    _scratch: Scratch,
}

impl Ready {
    /// Finds what is needed and builds what is measured, before anything is.
    fn new(what: &str, place: &Place, peers: &[Peer]) -> Result<Self> {
        let root = workspace::root()?;
        let ticks: f64 = workspace::output_of(&root, "getconf", &["CLK_TCK"])?.parse()?;
        for (program, package) in
            [("wrk", "wrk"), ("taskset", "util-linux"), ("setpriv", "util-linux"), ("kill", "procps")]
        {
            installed(program, package)?;
        }
        let target = target_directory()?;
        let release = target.join("release");
        let scratch = Scratch::new(what)?;
        let ours = place.ours.clone().unwrap_or_else(|| release.join("load-balancer"));
        let helper = if place.no_build { std::env::current_exe()? } else { release.join("xtask") };
        let site = Site {
            scratch: scratch.0.clone(),
            core: place.proxy_core,
            helper,
            ours: std::path::absolute(ours)?,
            peers: target.join("bench"),
            backends: Vec::new(),
            store: None,
            tls: false,
            clients: Site::clients_for(0),
        };
        for peer in peers.iter().filter(|peer| !peer.is_ours() && **peer != Peer::Relay) {
            peer.program(&site)?;
        }
        if peers.contains(&Peer::Shared) {
            installed("redis-server", "redis-server")?;
        }
        if !place.no_build {
            build(&root, place, peers)?;
        }
        let script = root.join("benches/wrk/report.lua");
        Ok(Self { root, ticks, site, script, files: open_files()?, _scratch: scratch })
    }

    fn runs(&self) -> PathBuf {
        self.root.join("benches/runs")
    }

    fn generator(&self, place: &Place) -> Generator<'_> {
        Generator {
            core: place.load_core,
            helper: &self.site.helper,
            script: &self.script,
            scratch: &self.site.scratch,
        }
    }

    /// Clients that can be had at once: each may need two descriptors of the proxy, which keeps some hundred for itself.
    fn clients(&self, wanted: usize) -> usize {
        wanted.min(self.files.saturating_sub(400) / 2)
    }

    /// Does one work and keeps its result; whether ours answered everything.
    async fn measure(&self, options: &Options, work: &Work) -> Result<bool> {
        let environment = Environment::read(&self.root, &self.site, &work.peers);
        let mut work = work.clone();
        let mut site = self.site.clone();
        for scenario in &mut work.scenarios {
            let possible = self.clients(scenario.connections);
            if possible < scenario.connections {
                eprintln!(
                    "{} open files are allowed: {possible} connections instead of {}",
                    self.files, scenario.connections
                );
                scenario.connections = possible;
            }
        }
        let Work { scenarios, peers, .. } = &mut work;
        peers.retain(|peer| scenarios.iter().any(|scenario| peer.speaks(scenario.way)));
        let most = work.scenarios.iter().map(|scenario| scenario.connections).max().unwrap_or(0);
        site.clients = Site::clients_for(most);
        site.tls = work.scenarios.iter().any(|scenario| scenario.way.encrypted());
        if site.tls {
            site.certificate()?;
        }
        if work.idle {
            let saved = idle::run(options, &site, &work, environment, &self.runs()).await?;
            self.tell(&saved);
            return Ok(true);
        }
        let samples = self.rounds(options, &work, &site).await?;
        let rows = summary::rows(&samples, work.fresh);
        let clean = rows.iter().all(|row| row.errors == 0 || !row.peer.is_ours());
        let report = Report { environment, method: options.method(&work), rows, samples };
        println!("{}", report.tables());
        self.tell(&report.save(&self.runs(), &work.name)?);
        Ok(clean)
    }

    fn tell(&self, saved: &Path) {
        println!("Kept as {}.*", saved.strip_prefix(&self.root).unwrap_or(saved).display());
    }

    /// Every sample of a work.
    async fn rounds(&self, options: &Options, work: &Work, site: &Site) -> Result<Vec<Sample>> {
        let generator = self.generator(&options.place);
        let mut samples = Vec::new();
        let mut world: Option<World> = None;
        for &scenario in &work.scenarios {
            eprintln!("{scenario}");
            if world.as_ref().is_some_and(|world| world.backends != scenario.backends) {
                // What runs ends before the next is started.
                world = None;
            }
            if world.is_none() {
                world =
                    Some(World::start(&options.place, site.clone(), &work.peers, scenario.backends).await?);
            }
            let Some(world) = &mut world else { continue };
            for round in 1..=work.windows.rounds {
                if work.fresh || world.proxies.is_empty() {
                    world.proxies(&work.peers).await?;
                }
                let mut order: Vec<_> =
                    world.proxies.iter().filter(|proxy| proxy.peer.speaks(scenario.way)).collect();
                if round % 2 == 0 {
                    order.reverse();
                }
                for proxy in order {
                    let peer = proxy.peer;
                    let port = peer.port(proxy.doors, scenario.way);
                    if work.windows.warm_up > 0 {
                        generator.run(scenario, port, work.windows.warm_up).await.context(peer.name())?;
                    }
                    let family = cpu::family(proxy.process.pid());
                    let before = CpuTime::of(&family, self.ticks)?;
                    let load =
                        generator.run(scenario, port, work.windows.seconds).await.context(peer.name())?;
                    let used = CpuTime::of(&family, self.ticks)?.since(before);
                    let resident_kib = cpu::resident_kib(&family);
                    samples.push(sample(scenario, peer, round, used, resident_kib, load)?);
                }
            }
        }
        Ok(samples)
    }
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

/// `target`, above the profile this program was built in.
fn target_directory() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let target = own.parent().and_then(Path::parent).context("this program is not in a target directory")?;
    Ok(target.to_path_buf())
}

/// Builds what is measured, in release, before anything is measured.
fn build(root: &Path, place: &Place, peers: &[Peer]) -> Result<()> {
    let mut packages = vec!["xtask"];
    if peers.iter().any(|peer| peer.is_ours()) && place.ours.is_none() {
        packages.push("load-balancer");
    }
    for package in packages {
        let built = cargo().args(["build", "--release", "-p", package]).current_dir(root).status()?;
        if !built.success() {
            bail!("cargo build --release -p {package} failed");
        }
    }
    Ok(())
}
