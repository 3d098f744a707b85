//! One balancer under callgrind: started, asked, ended, and its count read.
//!
//! Callgrind writes a file for each thread when the balancer has ended; those of the control thread are left out, since it works
//! by the clock: the slower the machine, the more of its ticks fall between two requests.
//! How it fails: a balancer that does not answer or end is an error with its log; it never outlives the count.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

use super::scenario::Scenario;
use super::script;

/// What the control thread alone runs.
const CONTROL: &str = "load_balancer::control::";
/// What the balancer's log says before its port once its workers serve. Connecting earlier may reach a socket that was only
/// tried.
const LISTENING: &str = "listening traffic=127.0.0.1:";
/// How long it may take until then.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);
/// How often its log is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How long the balancer may take to end and to write what was counted.
const END_WITHIN: Duration = Duration::from_secs(60);
/// How much of a log is shown.
const LOG_LINES: usize = 12;

/// Where things are in this run.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) scratch: PathBuf,
    pub(crate) balancer: PathBuf,
    pub(crate) backends: Vec<u16>,
    pub(crate) redis: u16,
}

/// Instructions of the balancer's life with so many requests.
pub(super) async fn count(site: &Site, scenario: Scenario, requests: u32) -> Result<u64> {
    let name = format!("{}-{requests}", scenario.name());
    let dir = site.scratch.join(&name);
    std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let config = dir.join("ballast.toml");
    std::fs::write(&config, scenario.config(site, requests))?;
    let log = dir.join("log");
    let mut child = start(site, &dir, &config, &log)?;
    let asked = tokio::select! {
        asked = async {
            let port = tokio::time::timeout(LISTENS_WITHIN, listening(&log)).await;
            script::ask(port.context("it does not listen")?, requests).await
        } => asked,
        ended = child.wait() => bail!("the balancer ended ({}):\n{}", ended?, end_of(&log)),
    };
    asked.with_context(|| end_of(&log))?;
    let pid = child.id().context("the balancer has ended")?;
    Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
    let ended = tokio::time::timeout(END_WITHIN, child.wait()).await;
    let ended = ended.with_context(|| format!("the balancer does not end:\n{}", end_of(&log)))??;
    if !ended.success() {
        bail!("the balancer ended with {ended}:\n{}", end_of(&log));
    }
    let total = total(&dir)?;
    std::fs::remove_dir_all(&dir)?;
    Ok(total)
}

/// Waits until it listens; the port that the system chose.
async fn listening(log: &Path) -> u16 {
    loop {
        if let Some(port) = std::fs::read_to_string(log).ok().and_then(|log| port(&log)) {
            return port;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The port of clients in a log's line, complete, that says where the balancer listens.
fn port(log: &str) -> Option<u16> {
    let (_, behind) = log.split_once(LISTENING)?;
    let (digits, _) = behind.split_once(' ')?;
    digits.parse().ok()
}

fn start(site: &Site, dir: &Path, config: &Path, log: &Path) -> Result<Child> {
    let out = std::fs::File::create(log)?;
    let err = out.try_clone()?;
    // Both replace themselves by what they start, so the child's id is the balancer's.
    Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "valgrind", "--tool=callgrind", "--separate-threads=yes"])
        .args(["--dump-line=no", "--compress-strings=no"])
        .arg(format!("--callgrind-out-file={}", dir.join("counted").display()))
        .arg(&site.balancer)
        .args(["serve", "--config"])
        .arg(config)
        // Its log is read.
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .kill_on_drop(true)
        .spawn()
        .context("starting valgrind")
}

/// The sum over all threads but the control thread.
fn total(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("counted")) {
            let text = std::fs::read_to_string(&path)?;
            sum += thread(&text).unwrap_or(0);
        }
    }
    if sum == 0 {
        bail!("callgrind counted nothing");
    }
    Ok(sum)
}

/// What one file says was counted; `None` for the control thread's.
fn thread(text: &str) -> Option<u64> {
    let mut total = None;
    for line in text.lines() {
        if line.starts_with("fn=") && line.contains(CONTROL) {
            return None;
        }
        if let Some(number) = line.strip_prefix("totals: ") {
            total = number.trim().parse().ok();
        }
    }
    total
}

fn end_of(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_read_once_its_line_is_whole() {
        assert_eq!(port("INFO load_balancer: listening traffic=127.0.0.1:3810"), None);
        assert_eq!(
            port("INFO load_balancer: listening traffic=127.0.0.1:38107 admin=127.0.0.1:1 workers=1"),
            Some(38107)
        );
    }

    #[test]
    fn the_control_thread_is_left_out() {
        let worker =
            "# callgrind format\nthread: 3\nevents: Ir\nfn=load_balancer::http::serve\n0 70\ntotals: 70\n";
        assert_eq!(thread(worker), Some(70));
        let control = worker.replace("http::serve", "control::Control::run");
        assert_eq!(thread(&control), None);
        assert_eq!(thread("events: Ir\n"), None);
    }
}
