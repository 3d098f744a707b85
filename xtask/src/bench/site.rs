//! Where things are in a run: programs, ports, the certificate; and how many files its processes may open.
//!
//! How it fails: a missing program is a [`Missing`], with how to get it; nothing is skipped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Client connections that a proxy is configured for at least.
const CLIENTS_LEAST: usize = 2048;
/// And how many more than come.
const CLIENTS_MORE: usize = 100;

/// A program that is not installed, and how to get it; exit code 2.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Missing(pub(crate) String);

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// Where things are in this run.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) scratch: PathBuf,
    pub(crate) core: usize,
    pub(crate) helper: PathBuf,
    pub(crate) ours: PathBuf,
    /// Where peers are that no package of the system has.
    pub(crate) peers: PathBuf,
    pub(crate) backends: Vec<SocketAddr>,
    /// Where the Redis is, if one is needed.
    pub(crate) store: Option<u16>,
    /// Whether proxies serve TLS, too; `certificate` has been called then.
    pub(crate) tls: bool,
    /// Client connections that proxies are configured for.
    pub(crate) clients: usize,
}

impl Site {
    /// What is enough for so many clients.
    pub(crate) fn clients_for(connections: usize) -> usize {
        (connections + CLIENTS_MORE).max(CLIENTS_LEAST)
    }

    /// Makes the certificate that every proxy shows: `cert.pem`, `key.pem`, and `both.pem` for HAProxy.
    pub(crate) fn certificate(&self) -> Result<()> {
        let openssl = installed("openssl", "openssl")?.display().to_string();
        let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
                       -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out cert.pem";
        let words: Vec<&str> = request.split_whitespace().collect();
        workspace::output_of(&self.scratch, &openssl, &words)?;
        let read = |name: &str| std::fs::read_to_string(self.scratch.join(name));
        std::fs::write(self.scratch.join("both.pem"), read("cert.pem")? + &read("key.pem")?)?;
        Ok(())
    }
}

/// The ports of a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doors {
    pub(crate) plain: u16,
    pub(crate) h2c: u16,
    pub(crate) tls: u16,
    pub(crate) admin: u16,
}

impl Doors {
    /// Ports nobody listens on.
    pub(crate) fn free() -> Result<Self> {
        let [plain, h2c, tls, admin] = free_ports()?;
        Ok(Self { plain, h2c, tls, admin })
    }
}

/// Ports nobody listens on; held together, so that they differ.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// A program on the path, or where Debian keeps daemons.
pub(crate) fn installed(program: &str, package: &str) -> Result<PathBuf> {
    on_path(program).ok_or_else(|| {
        Missing(format!("{program} is not installed: apt-get install {package}, or `make tools`")).into()
    })
}

/// The same, where its absence is no error.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(daemons).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A program that is built here.
pub(crate) fn built(file: &Path, how: &str) -> Result<PathBuf> {
    let found = file.is_file().then(|| file.to_path_buf());
    let name = file.file_name().unwrap_or_default().display();
    found.ok_or_else(|| Missing(format!("{name} is not built: {how}")).into())
}

/// Lets this process, and what it starts, open as many files as the system allows; how many those are.
pub(crate) fn open_files() -> Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").context("reading the limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1)).context("no limit of open files")?;
    // Some programs make a table of all they may open.
    let files = hard.parse().unwrap_or(usize::MAX).min(1 << 18);
    let status = Command::new(installed("prlimit", "util-linux")?)
        .args(["--pid", &std::process::id().to_string(), &format!("--nofile={files}:")])
        .status()?;
    if !status.success() {
        bail!("prlimit cannot set the limit of open files to {files}");
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_installed_is_missing_with_its_package() {
        let error = installed("no-such-program", "its-package").unwrap_err();
        assert!(error.downcast_ref::<Missing>().unwrap().0.contains("apt-get install its-package"));
    }

    #[test]
    fn ports_differ_and_there_is_room_for_the_clients() {
        let [a, b, c] = free_ports().unwrap();
        assert!(a != b && b != c && a != c);
        assert_eq!((Site::clients_for(64), Site::clients_for(10_000)), (2048, 10_100));
    }
}
