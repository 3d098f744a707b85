//! Where the workspace is, found at run time, so that no path of a build machine is compiled in.
//!
//! How it fails: started outside a workspace, it says so instead of guessing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The nearest directory upwards whose `Cargo.toml` declares a workspace.
pub(crate) fn root() -> Result<PathBuf> {
    let start = std::env::current_dir().context("reading the current directory")?;
    for dir in start.ancestors() {
        let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
        if manifest.lines().any(|line| line.trim() == "[workspace]") {
            return Ok(dir.to_path_buf());
        }
    }
    bail!("no workspace Cargo.toml above {}: run this inside the repository", start.display())
}

/// What a command prints, trimmed; its failure is ours.
pub(crate) fn output_of(dir: &Path, program: &str, args: &[&str]) -> Result<String> {
    let out = Command::new(program)
        .args(args)
        .current_dir(dir)
        .output()
        .with_context(|| format!("running {program}"))?;
    if !out.status.success() {
        bail!("{program} {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}
