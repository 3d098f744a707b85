//! What a request costs the balancer in instructions, counted by callgrind and held against what the repository keeps.
//!
//! Instructions, because they are the same on a busy machine: a change that makes requests dearer by a twentieth is found by the
//! tests, where a stopwatch would need a quiet hour. The development build is counted, since every test builds it anyway; it has
//! no instructions of the kernel, and none of the control thread, which works by the clock and not by the request.
//! Each scenario runs twice, with few requests and with many: the difference is what requests cost, without start and end.
//! How it fails: what is missing or does not answer ends it with its log. Figures of another compiler or processor are not held
//! against the kept ones, and it says so.

mod baseline;
mod count;
mod scenario;
mod script;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::bench::redis::Redis;
use crate::bench::{Scratch, backends, installed};
use crate::cargo::cargo;
use crate::workspace;
use baseline::Baseline;
use count::Site;
use scenario::Scenario;

/// Requests of the shorter run: connections to all backends are there, tables have grown, code has been linked.
const FEW: u32 = 200;
/// Requests of the longer one: a thousand more, of which one that happens once (a tick, a flush) is a thousandth.
const MANY: u32 = 1_200;
/// Where the Redis runs: it has a few commands a second to do.
const REDIS_CORE: usize = 0;
/// How often a scenario is counted that seems dearer than it was: what disturbs a count only ever adds to it.
const TRIES: u32 = 3;

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fail where a scenario costs 5 % more than is kept
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Keep these figures in benches/instructions.json
    #[arg(long, requires = "reason", conflicts_with = "scenarios")]
    write: bool,
    /// Why they have changed; kept with them
    #[arg(long, requires = "write")]
    reason: Option<String>,
    /// Count this program, built before, instead of building
    #[arg(long, value_name = "PROGRAM")]
    ours: Option<PathBuf>,
    /// Only these
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
}

/// Counts, and compares or keeps. `true` when nothing has become dearer, or nobody asked.
pub(crate) async fn run(options: &Options) -> Result<bool> {
    let root = workspace::root()?;
    for (program, package) in [("valgrind", "valgrind"), ("setpriv", "util-linux"), ("kill", "procps")] {
        installed(program, package)?;
    }
    let balancer = if let Some(program) = &options.ours {
        std::path::absolute(program)?
    } else {
        build(&root)?;
        std::env::current_exe().context("finding this program")?.with_file_name("load-balancer")
    };
    let scratch = Scratch::new("instructions")?;
    let kept = Baseline::read(&root)?;
    let here = Baseline::here(&root)?;
    let comparable = kept.as_ref().filter(|kept| kept.fits(&here));
    let every = Scenario::value_variants();
    let scenarios = if options.scenarios.is_empty() { every } else { &options.scenarios };
    let counted = LocalSet::new()
        .run_until(async {
            let listeners = backends::bind(backends::COUNT).await?;
            let ports = listeners.iter().map(|listener| Ok(listener.local_addr()?.port()));
            let redis = if scenarios.contains(&Scenario::Store) {
                Some(Redis::start(REDIS_CORE, scratch.path()).await?)
            } else {
                None
            };
            let site = Site {
                redis: redis.as_ref().map_or(0, |redis| redis.port),
                scratch: scratch.path().to_path_buf(),
                balancer,
                backends: ports.collect::<Result<_>>()?,
            };
            tokio::task::spawn_local(backends::serve(listeners));
            all(Rc::new(site), scenarios, comparable).await
        })
        .await?;
    let mut dearer = Vec::new();
    println!("{:<12} {:>8} {:>8} {:>8}", "scenario", "now", "kept", "change");
    for (name, &now) in &counted {
        let Some(before) = comparable.and_then(|kept| kept.of(name)) else {
            println!("{name:<12} {now:>8} {:>8}", "none");
            continue;
        };
        let over = baseline::is_dearer(now, before);
        let change = (now as f64 / before as f64 - 1.0) * 100.0;
        println!("{name:<12} {now:>8} {before:>8} {change:>+7.1}%{}", if over { "  dearer" } else { "" });
        if over {
            dearer.push(name.as_str());
        }
    }
    if options.write {
        let reason = options.reason.clone().unwrap_or_default();
        here.with(reason, counted).write(&root)?;
        println!("kept in {}", baseline::PATH);
        return Ok(true);
    }
    if let (Some(kept), None) = (&kept, comparable) {
        println!("nothing to compare: kept figures are of {}, these of {}", kept.made_by(), here.made_by());
    }
    if options.check && kept.is_none() {
        bail!("there is no {}: cargo xtask instructions --write --reason …", baseline::PATH);
    }
    if !dearer.is_empty() {
        println!(
            "{}: more than 5 % dearer. If that is worth it: cargo xtask instructions --write --reason …",
            dearer.join(", ")
        );
    }
    Ok(dearer.is_empty() || !options.check)
}

/// Instructions a request in each scenario, as many scenarios at a time as there are cores.
async fn all(
    site: Rc<Site>,
    scenarios: &[Scenario],
    kept: Option<&Baseline>,
) -> Result<BTreeMap<String, u64>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let places = Rc::new(Semaphore::new(cores));
    let mut running = JoinSet::new();
    for &scenario in scenarios {
        let (site, places) = (Rc::clone(&site), Rc::clone(&places));
        let before = kept.and_then(|kept| kept.of(&scenario.name()));
        running.spawn_local(async move {
            let _place = places.acquire().await?;
            Ok::<_, anyhow::Error>((scenario.name(), one(&site, scenario, before).await?))
        });
    }
    let mut counted = BTreeMap::new();
    while let Some(done) = running.join_next().await {
        let (name, instructions) = done??;
        counted.insert(name, instructions);
    }
    Ok(counted)
}

/// Instructions a request in one scenario: the least of a few counts, where the first is more than `before` allows.
async fn one(site: &Site, scenario: Scenario, before: Option<u64>) -> Result<u64> {
    let mut least = u64::MAX;
    for _ in 0..TRIES {
        let few = count::count(site, scenario, FEW).await.with_context(|| scenario.name())?;
        let many = count::count(site, scenario, MANY).await.with_context(|| scenario.name())?;
        least = least.min(many.saturating_sub(few) / u64::from(MANY - FEW));
        if before.is_none_or(|before| !baseline::is_dearer(least, before)) {
            break;
        }
    }
    Ok(least)
}

/// Builds what is counted, as `.ci/test` has built it before: then there is nothing to do.
fn build(root: &Path) -> Result<()> {
    let built = cargo().args(["build", "--workspace", "--bins"]).current_dir(root).status()?;
    if !built.success() {
        bail!("cargo build --workspace --bins failed");
    }
    Ok(())
}
