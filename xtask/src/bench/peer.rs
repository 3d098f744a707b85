//! The proxies that are measured: what each needs installed, how it is configured and started.
//!
//! Configurations are templates in `benches/peers/`, filled in and written to the scratch directory.
//! How it fails: a missing program is a [`Missing`], with the package that has it; nothing is skipped.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;

use super::process::Process;

/// A proxy to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    /// HAProxy, least connections, one thread
    Haproxy,
    /// nginx, least connections, one worker
    Nginx,
    /// The bare relay: the least a proxy can cost
    Relay,
    /// This project's load balancer, as a user runs it
    Ours,
    /// The same once more: what two alike differ by
    Twin,
    /// The same, writing an access log
    Logging,
    /// The same, tracing one request in a hundred
    Tracing,
    /// The same, meeting others in a Redis
    Shared,
}

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
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) scratch: PathBuf,
    pub(crate) core: usize,
    pub(crate) helper: PathBuf,
    pub(crate) ours: PathBuf,
    pub(crate) backends: Vec<u16>,
    /// Where the Redis is, if one is needed.
    pub(crate) store: Option<u16>,
}

impl Peer {
    /// Its name in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Relay => "relay",
            Self::Ours => "ballast",
            Self::Twin => "twin",
            Self::Logging => "logging",
            Self::Tracing => "tracing",
            Self::Shared => "shared",
        }
    }

    /// Whether it is this project's, to be held against `Ours`.
    pub(crate) const fn is_variant(self) -> bool {
        matches!(self, Self::Twin | Self::Logging | Self::Tracing | Self::Shared)
    }

    /// The program to run.
    pub(crate) fn program(self, site: &Site) -> Result<PathBuf> {
        match self {
            Self::Haproxy => installed("haproxy", "haproxy"),
            Self::Nginx => installed("nginx", "nginx-light"),
            Self::Relay => built(&site.helper, "cargo build --release -p xtask"),
            Self::Ours | Self::Twin | Self::Logging | Self::Tracing | Self::Shared => {
                built(&site.ours, "cargo build --release -p load-balancer, or name another with --ours")
            }
        }
    }

    /// How to ask the program for its version.
    pub(crate) fn version_flag(self) -> Option<&'static str> {
        match self {
            Self::Haproxy | Self::Nginx => Some("-v"),
            Self::Relay => None,
            Self::Ours | Self::Twin | Self::Logging | Self::Tracing | Self::Shared => Some("--version"),
        }
    }

    /// Starts it on a free port.
    pub(crate) fn start(self, site: &Site) -> Result<(Process, u16)> {
        let [port, admin] = free_ports()?;
        let config = site.scratch.join(format!("{}.conf", self.name()));
        if let Some(text) = self.config(site, port, admin) {
            std::fs::write(&config, text).with_context(|| format!("writing {}", config.display()))?;
        }
        let config = config.display().to_string();
        let addresses = || site.backends.iter().map(|port| format!("127.0.0.1:{port}"));
        let args: Vec<String> = match self {
            Self::Haproxy => vec!["-db".into(), "-f".into(), config],
            Self::Nginx => {
                let prefix = site.scratch.display().to_string();
                vec!["-p".into(), prefix, "-e".into(), "stderr".into(), "-c".into(), config]
            }
            Self::Relay => ["bench-relay".into(), port.to_string()].into_iter().chain(addresses()).collect(),
            Self::Ours | Self::Twin | Self::Logging | Self::Tracing | Self::Shared => {
                vec!["serve".into(), "--config".into(), config]
            }
        };
        Ok((Process::start(self.name(), site.core, &self.program(site)?, args, &site.scratch)?, port))
    }

    /// Its configuration, filled in; the relay has none.
    fn config(self, site: &Site, port: u16, admin: u16) -> Option<String> {
        let template = match self {
            Self::Haproxy => include_str!("../../../benches/peers/haproxy.cfg"),
            Self::Nginx => include_str!("../../../benches/peers/nginx.conf"),
            Self::Ours | Self::Twin => include_str!("../../../benches/peers/ballast.toml"),
            Self::Logging => concat!(
                include_str!("../../../benches/peers/ballast.toml"),
                include_str!("../../../benches/peers/logging.toml")
            ),
            Self::Tracing => concat!(
                include_str!("../../../benches/peers/ballast.toml"),
                include_str!("../../../benches/peers/tracing.toml")
            ),
            Self::Shared => concat!(
                include_str!("../../../benches/peers/ballast.toml"),
                include_str!("../../../benches/peers/shared.toml")
            ),
            Self::Relay => return None,
        };
        let backend = |(index, port): (usize, &u16)| {
            let name = format!("backend{}", index + 1);
            let address = format!("127.0.0.1:{port}");
            match self {
                Self::Haproxy => format!("    server {name} {address}\n"),
                Self::Nginx => format!("        server {address};\n"),
                _ => format!("\n[[pool.backend]]\nname = \"{name}\"\naddress = \"{address}\"\n"),
            }
        };
        let backends: String = site.backends.iter().enumerate().map(backend).collect();
        let filled = template
            .replace("{{port}}", &port.to_string())
            .replace("{{admin}}", &admin.to_string())
            .replace("{{scratch}}", &site.scratch.display().to_string());
        let receiver = site.backends.first().map(u16::to_string).unwrap_or_default();
        let store = site.store.as_ref().map(u16::to_string).unwrap_or_default();
        let filled = filled.replace("{{backends}}", &backends).replace("{{receiver}}", &receiver);
        Some(filled.replace("{{store}}", &store))
    }
}

/// A program on the path, or where Debian keeps daemons.
pub(crate) fn installed(program: &str, package: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let found =
        std::env::split_paths(&path).chain(daemons).map(|dir| dir.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| Missing(format!("{program} is not installed: apt-get install {package}")).into())
}

fn built(file: &Path, how: &str) -> Result<PathBuf> {
    let found = file.is_file().then(|| file.to_path_buf());
    let name = file.file_name().unwrap_or_default().display();
    found.ok_or_else(|| Missing(format!("{name} is not built: {how}")).into())
}

/// Two ports nobody listens on; held together, so that they differ.
pub(crate) fn free_ports() -> Result<[u16; 2]> {
    let listeners =
        [std::net::TcpListener::bind("127.0.0.1:0")?, std::net::TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_filled_in() {
        let site = Site {
            scratch: "scratch".into(),
            core: 0,
            helper: "no-such-helper".into(),
            ours: "no-such-binary".into(),
            backends: vec![6001, 6002],
            store: Some(6379),
        };
        for peer in
            [Peer::Haproxy, Peer::Nginx, Peer::Ours, Peer::Twin, Peer::Logging, Peer::Tracing, Peer::Shared]
        {
            let text = peer.config(&site, 5000, 9901).unwrap();
            assert!(text.contains("127.0.0.1:5000") && text.contains("127.0.0.1:6002"), "{text}");
            assert!(!text.contains("{{"), "{text}");
        }
        for peer in [Peer::Relay, Peer::Ours] {
            assert!(peer.program(&site).unwrap_err().downcast_ref::<Missing>().is_some());
        }
    }

    #[test]
    fn a_program_that_is_not_installed_is_missing_with_its_package() {
        let error = installed("no-such-program", "its-package").unwrap_err();
        assert!(error.downcast_ref::<Missing>().unwrap().0.contains("apt-get install its-package"));
    }
}
