//! Runs the fuzz targets (`load-balancer/fuzz`) one after the other, and says how many executions each had.
//!
//! They are built here and not by cargo-fuzz, with the flags it would give: the counters are codegen options of a stable
//! compiler, so that neither a nightly one nor another tool is needed. The layout is cargo-fuzz's; whoever has it may use it.
//! What is found while fuzzing grows a corpus in the target directory; the committed one only changes by hand.
//!
//! How it fails: a finding leaves its input in a file, the path is printed, and the chore has failed; so has one that ends
//! without its figures. Without a C++ compiler libFuzzer cannot be built, which cargo says.

mod run;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

use crate::workspace;
use run::Run;

/// What sets coverage counters, compares included, and nothing else.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// What finds errors of memory in the dependencies, at a fifth of the speed.
const ADDRESS: &str = "-Zsanitizer=address";

/// The command line of `fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which targets; without any, all
    targets: Vec<String>,
    /// Executions of each
    #[arg(long, default_value_t = 1_000_000)]
    runs: u64,
    /// Seconds for each, whatever it has come to
    #[arg(long)]
    seconds: Option<u64>,
    /// With the address sanitizer (which the compiler calls unstable)
    #[arg(long)]
    address: bool,
    /// A JSON file for the figures; those of targets that do not run now are kept
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What one run needs to know.
struct Site {
    /// The workspace of the targets.
    folder: PathBuf,
    /// Where programs, growing corpora, logs and findings go.
    work: PathBuf,
    host: String,
}

/// All figures, as they are kept.
#[derive(Debug, Serialize)]
struct Summary {
    rustc: String,
    targets: Vec<serde_json::Value>,
}

/// Builds, runs, reports; true where nothing was found.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let root = workspace::root()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let version = workspace::output_of(&root, "rustc", &["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let site =
        Site { folder: root.join("load-balancer/fuzz"), work: target.join("fuzz"), host: host.to_owned() };
    let targets = chosen(&site, &options.targets)?;
    build(&site, &targets, options.address)?;
    let mut runs = Vec::new();
    for target in &targets {
        let run = run::run(&site, target, options.runs, options.seconds)?;
        println!("{run}");
        runs.push(run);
        if let Some(file) = &options.out {
            keep(file, version.lines().next().unwrap_or_default(), &runs)?;
        }
    }
    let found: Vec<&Run> = runs.iter().filter(|run| run.finding.is_some()).collect();
    let executions: u64 = runs.iter().map(|run| run.executions).sum();
    println!("{executions} executions of {} targets, {} findings", runs.len(), found.len());
    Ok(found.is_empty())
}

/// The targets asked for, or all that have a program.
fn chosen(site: &Site, asked: &[String]) -> Result<Vec<String>> {
    let mut known = Vec::new();
    for entry in std::fs::read_dir(site.folder.join("fuzz_targets")).context("reading the targets")? {
        known.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    known.sort();
    if let Some(unknown) = asked.iter().find(|target| !known.contains(target)) {
        bail!("{unknown} is no target: there are {}", known.join(", "));
    }
    Ok(if asked.is_empty() { known } else { asked.to_vec() })
}

fn build(site: &Site, targets: &[String], address: bool) -> Result<()> {
    let mut flags = COVERAGE.join(" ");
    let mut cargo = Command::new("cargo");
    if address {
        flags = format!("{flags} {ADDRESS}");
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    cargo.args(["build", "--release", "--locked", "--target", &site.host]);
    cargo.arg("--target-dir").arg(programs(&site.work, address)).env("RUSTFLAGS", flags).current_dir(&site.folder);
    for target in targets {
        cargo.args(["--bin", target]);
    }
    // A build machine's settings are for its own builds.
    cargo.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_ENCODED_RUSTFLAGS");
    ensure!(cargo.status().context("running cargo")?.success(), "the targets do not build");
    let built = programs(&site.work, address).join(&site.host).join("release");
    std::fs::create_dir_all(site.work.join("bin"))?;
    for target in targets {
        std::fs::copy(built.join(target), site.work.join("bin").join(target))?;
    }
    Ok(())
}

/// Two builds, so that changing between them builds neither anew.
fn programs(work: &Path, address: bool) -> PathBuf {
    work.join(if address { "build-address" } else { "build" })
}

/// Writes the figures so far into `file`, beside those of other targets that it holds.
fn keep(file: &Path, rustc: &str, runs: &[Run]) -> Result<()> {
    let kept = std::fs::read_to_string(file).ok();
    let kept: serde_json::Value = kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let kept = kept["targets"].as_array().cloned().unwrap_or_default();
    let anew = |kept: &serde_json::Value| runs.iter().any(|run| kept["target"] == run.target.as_str());
    let mut targets: Vec<_> = kept.into_iter().filter(|kept| !anew(kept)).collect();
    for run in runs {
        targets.push(serde_json::to_value(run)?);
    }
    targets.sort_by_key(|target| target["target"].to_string());
    let summary = Summary { rustc: rustc.to_owned(), targets };
    std::fs::write(file, serde_json::to_string_pretty(&summary)? + "\n")
        .with_context(|| format!("writing {}", file.display()))
}
