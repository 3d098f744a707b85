//! Runs the fuzz targets (`load-balancer/fuzz`) one after the other, and says how many executions each had.
//!
//! They are built here and not by cargo-fuzz: its counters are options of a stable compiler, so that neither a nightly one nor
//! another tool is needed, and `load-balancer/fuzz/rustc` gives them to our own crates only. The layout is cargo-fuzz's;
//! whoever has it may use it. What is found while fuzzing grows a corpus in the target directory; the committed one only
//! changes by hand.
//!
//! How it fails: a finding leaves its input in a file, the path is printed, and the chore has failed; so has one that ends
//! without its figures. Without a C++ compiler libFuzzer cannot be built, which cargo says.

mod run;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;

use crate::cargo::cargo;
use crate::workspace;
use run::Run;

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
    let target = root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
    let rustc = workspace::output_of(&root, "rustc", &["--version"])?;
    let site = Site { folder: root.join("load-balancer/fuzz"), work: target.join("fuzz") };
    let targets = chosen(&site, &options.targets)?;
    build(&site, &target, &targets)?;
    let mut runs = Vec::new();
    for target in &targets {
        let run = run::run(&site, target, options.runs, options.seconds)?;
        println!("{run}");
        runs.push(run);
        if let Some(file) = &options.out {
            keep(file, &rustc, &runs)?;
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

/// Builds them among what the workspace's own builds have left: dependencies are the same.
fn build(site: &Site, target: &Path, targets: &[String]) -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["build", "--locked", "--target-dir"]).arg(target).current_dir(&site.folder);
    cargo.env("RUSTC_WRAPPER", site.folder.join("rustc"));
    for target in targets {
        cargo.args(["--bin", target]);
    }
    ensure!(cargo.status().context("running cargo")?.success(), "the targets do not build");
    std::fs::create_dir_all(site.work.join("bin"))?;
    for name in targets {
        std::fs::copy(target.join("debug").join(name), site.work.join("bin").join(name))?;
    }
    Ok(())
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
