//! A process of the bench: started on one core, ended with everything it started, whatever happens.
//!
//! It ends by `TERM`, so that nginx ends its worker; what does not obey is killed, by id. `setpriv --pdeathsig` covers
//! the one case `Drop` cannot: this program being killed itself.
//! How it fails: a process that ends early is reported with the end of its log.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::cpu;

/// How long a process may take to become ready; ten thousand backends have to be checked first.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to end before it is killed.
const END_WITHIN: Duration = Duration::from_secs(3);
/// How often either is looked at.
const POLL: Duration = Duration::from_millis(25);
/// How much of a log is shown.
const LOG_LINES: usize = 12;

/// A running process; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts a program on a core; both its streams go to `scratch/name.log`.
    pub(crate) fn start<A: AsRef<OsStr>>(
        name: &str,
        core: usize,
        program: &Path,
        args: impl IntoIterator<Item = A>,
        scratch: &Path,
    ) -> Result<Self> {
        let log = scratch.join(format!("{name}.log"));
        let out = std::fs::File::create(&log)?;
        let err = out.try_clone()?;
        // Both helpers replace themselves by what they start, so the child's id is the program's.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "taskset", "-c", &core.to_string()])
            .arg(program)
            .args(args)
            // Caddy keeps its last configuration there; the user's own is not ours to replace.
            .env("XDG_CONFIG_HOME", scratch)
            .env("XDG_DATA_HOME", scratch)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        let pid = child.id().with_context(|| format!("{name} ended at once"))?;
        Ok(Self { name: name.to_owned(), child, pid, log })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it answers a request with 200.
    pub(crate) async fn answers(&mut self, port: u16) -> Result<()> {
        self.until(async || {
            get(port).await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")).then_some(())
        })
        .await
    }

    /// Waits until it takes connections.
    pub(crate) async fn listens(&mut self, port: u16) -> Result<()> {
        self.until(async || TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop)).await
    }

    /// Waits for the first line it prints.
    pub(crate) async fn first_line(&mut self) -> Result<String> {
        let log = self.log.clone();
        self.until(async || {
            std::fs::read_to_string(&log).ok()?.split_once('\n').map(|(line, _)| line.to_owned())
        })
        .await
    }

    async fn until<T>(&mut self, ready: impl AsyncFn() -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(value) = ready().await {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it was ready:\n{}", self.name, self.log_end());
            }
            if start.elapsed() > READY_WITHIN {
                bail!("{} was not ready within {READY_WITHIN:?}:\n{}", self.name, self.log_end());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn log_end(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn ended_within(&mut self, limit: Duration) -> bool {
        let start = Instant::now();
        while start.elapsed() < limit {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            std::thread::sleep(POLL);
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        signal("-TERM", &[self.pid]);
        if !self.ended_within(END_WITHIN) {
            // Asked while the parent lives, so the ids are still theirs.
            let family = cpu::family(self.pid);
            signal("-KILL", &family);
            self.ended_within(END_WITHIN);
            let start = Instant::now();
            while start.elapsed() < END_WITHIN && family.iter().any(|&pid| cpu::runs(pid)) {
                std::thread::sleep(POLL);
            }
        }
    }
}

fn signal(kind: &str, pids: &[u32]) {
    let ids = pids.iter().map(u32::to_string);
    let sent = std::process::Command::new("kill").arg(kind).args(ids).stderr(Stdio::null()).status();
    if let Err(error) = sent {
        eprintln!("cannot send {kind} to {pids:?}: {error}");
    }
}

async fn get(port: u16) -> std::io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /ready-for-bench HTTP/1.1\r\nHost: bench\r\n\r\n").await?;
        let mut answer = vec![0; 64];
        let length = stream.read(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    tokio::time::timeout(Duration::from_secs(1), exchange).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_ends_with_its_guard_and_an_early_end_is_told() {
        let scratch = std::env::temp_dir().join(format!("ballast-process-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).unwrap();
        let shell = Path::new("sh");
        let mut obstinate = Process::start(
            "obstinate",
            0,
            shell,
            ["-c", "trap '' TERM; sleep 300 & echo up; wait"],
            &scratch,
        )
        .unwrap();
        assert_eq!(obstinate.first_line().await.unwrap(), "up");
        let family = cpu::family(obstinate.pid());
        assert_eq!(family.len(), 2);
        drop(obstinate);
        assert!(!family.into_iter().any(cpu::runs));
        let mut broken = Process::start("broken", 0, shell, ["-c", "echo no >&2; exit 3"], &scratch).unwrap();
        let error = broken.answers(1).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no"), "{error}");
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}
