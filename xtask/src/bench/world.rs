//! What runs around a measurement: backends, a Redis where one is needed, and the proxies, each answering.
//!
//! How it fails: what does not start is an error with its log, and all that has started ends.

use anyhow::{Context as _, Result};

use super::options::Place;
use super::peer::Peer;
use super::process::Process;
use super::redis::Redis;
use super::site::{Doors, Site};

/// Backends in one process: each takes two descriptors, and a process may have no more than 20,000 in some containers.
const BACKENDS_MAX: usize = 5_000;

/// A proxy that is up.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) peer: Peer,
    pub(crate) process: Process,
    pub(crate) doors: Doors,
}

/// Everything that runs; fields end in their order, the proxies first.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) proxies: Vec<Proxy>,
    site: Site,
    pub(crate) backends: usize,
    _store: Option<Redis>,
    _backends: Vec<Process>,
}

impl World {
    /// Backends and store, without a proxy yet.
    pub(crate) async fn start(
        place: &Place,
        mut site: Site,
        peers: &[Peer],
        backends: usize,
    ) -> Result<Self> {
        let core = place.load_core;
        let mut processes = Vec::new();
        site.backends.clear();
        while site.backends.len() < backends {
            let count = (backends - site.backends.len()).min(BACKENDS_MAX);
            let args = ["bench-backends".to_owned(), count.to_string()];
            let name = format!("backends{}", processes.len());
            let mut process = Process::start(&name, core, &site.helper, args, &site.scratch)?;
            let line = process.first_line().await?;
            let addresses: Result<Vec<std::net::SocketAddr>, _> = line.split(' ').map(str::parse).collect();
            site.backends.extend(addresses.context("the backends' addresses")?);
            processes.push(process);
        }
        let mut store = None;
        if peers.contains(&Peer::Shared) {
            let redis = Redis::start(core, &site.scratch).await?;
            site.store = Some(redis.port);
            store = Some(redis);
        }
        Ok(Self { proxies: Vec::new(), site, backends, _store: store, _backends: processes })
    }

    /// Starts the proxies, or starts them anew.
    pub(crate) async fn proxies(&mut self, peers: &[Peer]) -> Result<()> {
        self.proxies.clear();
        for &peer in peers {
            let (mut process, doors) = peer.start(&self.site)?;
            process.answers(doors.plain).await?;
            self.proxies.push(Proxy { peer, process, doors });
        }
        Ok(())
    }
}
