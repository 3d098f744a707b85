//! A Redis of a measurement's own: it keeps nothing, and ends with the measurement.

use std::path::Path;

use anyhow::Result;

use super::process::Process;
use super::site::{free_ports, installed};

/// A running Redis, and its port.
#[derive(Debug)]
pub(crate) struct Redis {
    pub(crate) port: u16,
    /// Ends it when dropped.
    _process: Process,
}

impl Redis {
    /// Starts one on `core` and waits until it takes connections.
    ///
    /// # Errors
    /// Where it is not installed, or does not listen.
    pub(crate) async fn start(core: usize, scratch: &Path) -> Result<Self> {
        let program = installed("redis-server", "redis-server")?;
        let [port] = free_ports()?;
        let number = port.to_string();
        let flags = ["--bind", "127.0.0.1", "--port", &number, "--save", "", "--appendonly", "no"];
        let mut process = Process::start("redis", core, &program, flags, scratch)?;
        process.listens(port).await?;
        Ok(Self { port, _process: process })
    }
}
