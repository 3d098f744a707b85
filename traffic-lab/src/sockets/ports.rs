//! Ports to listen on, below those the system hands out to outgoing connections.
//!
//! Why not port 0: a backend that restarts must get its port again, and among thousands of connections on one address
//! a port of the system's own range may be somebody's by then.
//! How it fails: where every port of the range is taken, it says so.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};

/// Where to look: above the well-known services, below Linux's ephemeral range (from 32768).
const RANGE: std::ops::Range<u16> = 20_000..32_000;
/// How far apart processes begin to look, so that two at once seldom meet.
const STRIDE: u32 = 37;
/// How many such steps those of one process are apart: tests are threads of one, and a port is only probed, not held.
const APART: u32 = 101;

/// How many this process has made.
static MADE: AtomicU32 = AtomicU32::new(0);

/// Hands out free ports, each once.
#[derive(Debug)]
pub(crate) struct Ports {
    next: u16,
    tried: usize,
}

impl Default for Ports {
    fn default() -> Self {
        let room = u32::from(RANGE.end - RANGE.start);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_add(made.wrapping_mul(APART)).wrapping_mul(STRIDE) % room;
        Self { next: RANGE.start + u16::try_from(offset).unwrap_or(0), tried: 0 }
    }
}

impl Ports {
    /// A port nobody listens on.
    pub(crate) fn free(&mut self) -> Result<u16> {
        while self.tried < RANGE.len() {
            let port = self.next;
            self.tried += 1;
            self.next = if port + 1 == RANGE.end { RANGE.start } else { port + 1 };
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return Ok(port);
            }
        }
        bail!("no free port in {RANGE:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_taken_ones_are_left_out() {
        let mut ports = Ports::default();
        let first = ports.free().unwrap();
        let second = ports.free().unwrap();
        assert_ne!(first, second);
        let _taken = TcpListener::bind(("127.0.0.1", second)).unwrap();
        let mut again = Ports { next: second, tried: 0 };
        assert_ne!(again.free().unwrap(), second);
        assert!(Ports { next: second, tried: RANGE.len() }.free().is_err());
    }
}
