//! Files of the repository that a command writes from others: written where they differ, or only named with `--check`.
//!
//! How it fails: a file that cannot be written or removed is an error with its path; what was written before stays.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

/// What the command line says.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write nothing; name the files that are not what they are written from says
    #[arg(long)]
    pub(crate) check: bool,
}

/// Writes those of `texts` (by path) that are `stale`, and removes stale files that none of them is; or complains of each.
/// `true` when there is nothing to complain of. `what` they are called together.
pub(crate) fn settle(
    root: &Path,
    options: &Options,
    (what, complaint): (&str, &str),
    texts: &BTreeMap<String, String>,
    stale: &[String],
) -> Result<bool> {
    if options.check {
        for path in stale {
            println!("{path}: {complaint}");
        }
        println!("{what}: {} of {} are fresh", texts.len().saturating_sub(stale.len()), texts.len());
        return Ok(stale.is_empty());
    }
    for path in stale {
        let file = root.join(path);
        match texts.get(path) {
            Some(text) => std::fs::write(&file, text),
            None => std::fs::remove_file(&file),
        }
        .with_context(|| format!("writing {path}"))?;
    }
    println!("{what}: {} written, {} in all", stale.len(), texts.len());
    Ok(true)
}
