//! One target under libFuzzer: its arguments, and its figures out of what it prints.
//!
//! How it fails: libFuzzer ends at the first finding, and figures that it did not print are an error, never zero.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::Site;

/// Longest input, bytes: several heads, some hundred backends.
const LONGEST: usize = 4_096;
/// The same where what is long is more of the same, and takes time that more inputs are worth: every corpus fits.
const SHORTER: usize = 1_024;
const SHORT: [&str; 5] = ["config", "discovered", "forwarded", "log", "response"];
/// Whom this machine believes, while fuzzing: each configuration that speaks TLS with backends reads all of these.
const ROOTS: &str = "authority.pem";
/// An input that takes this many seconds is a finding.
const TIMEOUT: u64 = 10;

/// What became of one target.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) target: String,
    pub(crate) executions: u64,
    pub(super) seconds: u64,
    pub(super) per_second: u64,
    /// Places in the code that were reached, and how (libFuzzer's `cov` and `ft`).
    covered: u64,
    features: u64,
    /// Where the input is that broke a promise.
    pub(crate) finding: Option<String>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { target, executions, seconds, per_second, covered, .. } = self;
        write!(
            f,
            "{target:<12} {executions:>11} executions in {seconds:>5} s, {per_second:>7} a second, {covered} places reached: "
        )?;
        match &self.finding {
            None => f.write_str("no finding"),
            Some(input) => write!(f, "FINDING in {input}"),
        }
    }
}

/// Runs a target that is built.
pub(super) fn run(site: &Site, target: &str, runs: u64, seconds: Option<u64>) -> Result<Run> {
    let grown = site.work.join("corpus").join(target);
    let findings = site.work.join("findings");
    let logs = site.work.join("logs");
    for folder in [&grown, &findings, &logs] {
        std::fs::create_dir_all(folder)?;
    }
    let log = logs.join(format!("{target}.log"));
    let mut program = Command::new(site.work.join("bin").join(target));
    program.arg(&grown).arg(site.folder.join("corpus").join(target));
    program
        .arg(format!("-runs={runs}"))
        .arg(format!("-max_len={}", if SHORT.contains(&target) { SHORTER } else { LONGEST }))
        .arg(format!("-timeout={TIMEOUT}"));
    program.arg(format!("-artifact_prefix={}/{target}-", findings.display()));
    program.args(["-print_final_stats=1", "-rss_limit_mb=2048", "-verbosity=1"]);
    if let Some(seconds) = seconds {
        program.arg(format!("-max_total_time={seconds}"));
    }
    let dictionary: PathBuf = site.folder.join("dictionaries").join(format!("{target}.dict"));
    if dictionary.exists() {
        program.arg(format!("-dict={}", dictionary.display()));
    }
    program.env("SSL_CERT_FILE", site.folder.join(ROOTS)).env_remove("SSL_CERT_DIR");
    let output = std::fs::File::create(&log)?;
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
    let status = program.status().with_context(|| format!("running {target}"))?;
    let text = String::from_utf8_lossy(&std::fs::read(&log)?).into_owned();
    let mut finding = text
        .lines()
        .filter_map(|line| line.split_once("Test unit written to "))
        .map(|(_, file)| file.to_owned());
    let finding = finding.next_back();
    ensure!(status.success() || finding.is_some(), "{target} ended with {status}: see {}", log.display());
    if finding.is_some() {
        let end: Vec<&str> =
            text.lines().filter(|line| line.contains("panicked at") || line.starts_with("SUMMARY")).collect();
        eprintln!("{}\nsee {}", end.join("\n"), log.display());
    }
    let figures =
        figures(&text).with_context(|| format!("{target} printed no figures: see {}", log.display()))?;
    Ok(Run { target: target.to_owned(), finding, ..figures })
}

/// The figures in what libFuzzer prints.
fn figures(text: &str) -> Option<Run> {
    let stat = |name: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        lines.filter_map(|rest| rest.trim_start_matches(':').trim().parse().ok()).next_back()
    };
    let state = text.lines().rev().find(|line| line.starts_with('#') && line.contains(" cov: "))?;
    let word = |name: &str| state.split_whitespace().skip_while(|word| *word != name).nth(1)?.parse().ok();
    let executions = stat("number_of_executed_units")?;
    let per_second: u64 = stat("average_exec_per_sec")?;
    let done = text.lines().rev().find_map(|line| line.strip_prefix("Done ")?.split(" runs in ").nth(1));
    let seconds = done.and_then(|rest| rest.split(' ').next()?.parse().ok());
    let seconds = seconds.unwrap_or_else(|| executions / per_second.max(1));
    Some(Run {
        target: String::new(),
        executions,
        seconds,
        per_second,
        covered: word("cov:")?,
        features: word("ft:")?,
        finding: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_never_made_up() {
        let text = "INFO: seed corpus: files: 9\n#9\tINITED cov: 40 ft: 60 corp: 8/90b exec/s: 0 rss: 40Mb\n\
                    #1000\tDONE   cov: 81 ft: 142 corp: 29/314b lim: 4096 exec/s: 500 rss: 41Mb\n\
                    Done 1000 runs in 2 second(s)\nstat::number_of_executed_units: 1000\n\
                    stat::average_exec_per_sec:     500\n";
        let run = figures(text).unwrap();
        assert_eq!((run.executions, run.seconds, run.per_second), (1_000, 2, 500));
        assert_eq!((run.covered, run.features), (81, 142));
        let broken = text.replace("stat::number", "number");
        assert!(figures(&broken).is_none() && figures("").is_none());
    }
}
