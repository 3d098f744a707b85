//! A process of the lab: started, on one core where that is wanted, and killed with its guard, whatever happens.
//!
//! `setpriv --pdeathsig` covers the one case the guard cannot: this program being killed itself. Every balancer here is
//! configured as a single process, so there is nobody left behind.
//! How it fails: a process that ends early, or is not ready in time, is reported with the end of its log.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::http;
use crate::clock;

/// How long a process may take to become ready.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// How often it is asked.
const POLL: Duration = Duration::from_millis(25);
/// The real-time priority asked for: the least, which already is before all that has none.
const PRECEDENCE: &str = "1";
/// How variables begin that our programs take settings from.
const FOREIGN: [&str; 4] = ["BALLAST_", "REGISTER_", "ADVERTISE_", "FAULT"];
/// How long a process may take to end when asked: longer than the balancer drains and stops its replicas.
const END_WITHIN: Duration = Duration::from_secs(20);
/// How much of a log is shown.
const LOG_LINES: usize = 12;

/// A running process.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program, on a core if one is given; both its streams go to `scratch/name.log`. What would configure it
    /// beside its arguments is taken out of its environment.
    pub(crate) fn start(
        name: &str,
        core: Option<usize>,
        program: &Path,
        args: &[String],
        scratch: &Path,
    ) -> Result<Self> {
        let log = scratch.join(format!("{name}.log"));
        let out = std::fs::File::create(&log)?;
        let err = out.try_clone()?;
        // Both helpers replace themselves by what they start, so the child's id is the program's.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(core) = core {
            command.args(["taskset", "-c", &core.to_string()]);
        }
        for (variable, _) in std::env::vars_os() {
            if variable.to_str().is_some_and(|name| FOREIGN.iter().any(|start| name.starts_with(start))) {
                command.env_remove(variable);
            }
        }
        let child = command
            .env("NO_COLOR", "1")
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its input.
    pub(crate) fn order(&mut self, line: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().with_context(|| format!("{} takes no orders", self.name))?;
        let told = writeln!(input, "{line}");
        told.with_context(|| {
            format!("telling {} to {line}; the end of its log:\n{}", self.name, self.log_end())
        })
    }

    /// Waits for the line it prints as the so-many-th, from 0.
    pub(crate) async fn line(&mut self, index: usize) -> Result<String> {
        let log = self.log.clone();
        self.until(async || {
            let text = std::fs::read_to_string(&log).ok()?;
            let whole = &text[..=text.rfind('\n')?];
            whole.lines().nth(index).map(str::to_owned)
        })
        .await
    }

    /// Waits for a line with this in it.
    pub(crate) async fn says(&mut self, part: &str) -> Result<String> {
        let log = self.log.clone();
        self.until(async || {
            let text = std::fs::read_to_string(&log).ok()?;
            let whole = &text[..=text.rfind('\n')?];
            whole.lines().find(|line| line.contains(part)).map(str::to_owned)
        })
        .await
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        signal(self.pid(), Signal::TERM)?;
        let start = clock::now();
        let mut polls = tokio::time::interval(POLL);
        while self.child.try_wait()?.is_none() {
            polls.tick().await;
            if clock::now() - start > END_WITHIN {
                bail!("{} did not end within {END_WITHIN:?}:\n{}", self.name, self.log_end());
            }
        }
        Ok(())
    }

    /// Waits until it answers a request with 200.
    pub(crate) async fn answers(&mut self, port: u16) -> Result<()> {
        self.until(async || {
            let answer = tokio::time::timeout(Duration::from_secs(1), get(port)).await;
            matches!(answer, Ok(Ok(200))).then_some(())
        })
        .await
    }

    async fn until<T>(&mut self, ready: impl AsyncFn() -> Option<T>) -> Result<T> {
        let start = clock::now();
        let mut polls = tokio::time::interval(POLL);
        loop {
            polls.tick().await;
            if let Some(value) = ready().await {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it was ready:\n{}", self.name, self.log_end());
            }
            if clock::now() - start > READY_WITHIN {
                bail!("{} was not ready within {READY_WITHIN:?}:\n{}", self.name, self.log_end());
            }
        }
    }

    /// The end of what it wrote.
    pub(crate) fn log_end(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill, and waiting returns at once.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).with_context(|| format!("no process {pid}"))?;
    kill_process(id, signal).with_context(|| format!("signalling process {pid}"))
}

async fn get(port: u16) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /ready-for-lab HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n").await?;
    let measure = |bytes: &[u8]| Ok(http::response(bytes)?.map(|response| (response.code, response.length)));
    Ok(http::read(&mut stream, &mut Vec::new(), measure).await?.0)
}

/// Pins this process, and the threads it will start, to a core.
pub(crate) fn pin_self(core: usize) -> Result<()> {
    let own = std::process::id().to_string();
    let status = Command::new("taskset")
        .args(["-pc", &core.to_string(), &own])
        .stdout(Stdio::null())
        .status()
        .context("taskset (Debian package util-linux) is needed to keep the processes apart")?;
    if !status.success() {
        bail!("taskset could not pin the generator to core {core}: {status}");
    }
    Ok(())
}

/// Asks to run before all ordinary work, for this process and those it will start: niceness is not enough where the
/// kernel shares a core among sessions. Only root gets it; without it a busy machine shows as a late generator.
pub(crate) fn precede_others() -> bool {
    let own = std::process::id().to_string();
    let asked = Command::new("chrt").args(["--rr", "--pid", PRECEDENCE, &own]).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_takes_orders_ends_with_its_guard_and_an_early_end_is_told() {
        let scratch = std::env::temp_dir().join(format!("traffic-lab-process-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).unwrap();
        let shell = |script: &str| ["-c".to_owned(), script.to_owned()];
        let start = |name, script| Process::start(name, Some(0), Path::new("sh"), &shell(script), &scratch);
        let mut echo = start("echo", "echo up; read word; echo $word; read forever").unwrap();
        assert_eq!(echo.line(0).await.unwrap(), "up");
        echo.order("go").unwrap();
        assert_eq!(echo.line(1).await.unwrap(), "go");
        let pid = echo.pid();
        drop(echo);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        let mut polite =
            start("polite", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done").unwrap();
        assert!(polite.says("read").await.unwrap() == "ready");
        let pid = polite.pid();
        polite.stop().await.unwrap();
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        let mut broken = start("broken", "echo no >&2; exit 3").unwrap();
        let error = broken.answers(1).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no"), "{error}");
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}
