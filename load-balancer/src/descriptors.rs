//! File descriptors: how many there may be, and so how many clients can be served at once.
//!
//! A client connection may need one to a backend, so it counts for two. What health checks, the admin listener, the store and
//! logs need is kept back: a balancer that has taken all it can still answers its operators and knows its backends. Where the
//! system allows more than is allowed now (the soft limit), more is asked for; where it does not, fewer clients are served than
//! `limits.connections` says, and the log says so: as a warning, where it is more than a tenth less. Who does not get in waits in the kernel's queue.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Kept back for the admin listener, the store, logs, spans, look-ups of names and replicas' pipes.
const RESERVED: usize = 48;
/// Of a runtime: what it polls with, and what wakes it.
const RUNTIME: usize = 4;
/// Backends that are asked how they are at the same moment, at most: by checks, and by scrapes.
const ASKED: usize = 256;

/// How many client connections can be served at once, under the limits of the process and of `config`.
pub(crate) fn connections(config: &Config) -> usize {
    let backends = config.pool.backends.len().clamp(8, ASKED);
    let reserve = open() + RESERVED + (config.workers + 1) * RUNTIME + config.workers + 2 * backends;
    let wanted = config.limits.connections;
    let needed = reserve.saturating_add(wanted.saturating_mul(2));
    let Some(limit) = raised(needed) else { return wanted };
    let most = places(limit, reserve).min(wanted);
    if is_short(most, wanted) {
        tracing::warn!(
            wanted,
            most,
            limit,
            needed,
            "there are too few file descriptors for limits.connections: more clients wait; raise the limit (ulimit -n, \
             LimitNOFILE=) or lower limits.connections"
        );
    } else if most < wanted {
        tracing::info!(wanted, most, limit, needed, "limits.connections is what file descriptors allow");
    }
    most
}

/// Whether somebody should know: a hard limit of 20,000 is 49 short of the default's 10,000 connections, and nobody would
/// notice.
fn is_short(most: usize, wanted: usize) -> bool {
    most < wanted - wanted / 10
}

fn places(limit: usize, reserve: usize) -> usize {
    (limit.saturating_sub(reserve) / 2).max(1)
}

/// The limit after as much of `needed` was asked for as may be; `None` for no limit.
fn raised(needed: usize) -> Option<usize> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current?;
    let more = (needed as u64).min(maximum.unwrap_or(u64::MAX));
    if more > current && setrlimit(Resource::Nofile, Rlimit { current: Some(more), maximum }).is_ok() {
        tracing::debug!(from = current, to = more, "the limit of file descriptors is raised");
        return Some(more as usize);
    }
    Some(current as usize)
}

/// Descriptors that are open now; where the system does not tell, few.
fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(16, Iterator::count)
}

/// Whether this is what the system says when there is none left: to this process, or to all.
pub(crate) fn exhausted(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_counts_twice_and_somebody_is_always_served() {
        assert_eq!((places(1_024, 100), places(256, 150), places(64, 150)), (462, 53, 1));
    }

    #[test]
    fn a_few_connections_less_are_no_reason_to_warn() {
        let short = |limit| is_short(places(limit, 98).min(10_000), 10_000);
        assert!(!short(1 << 20) && !short(20_098) && !short(20_000) && !short(18_098));
        assert!(short(18_000) && short(4_096) && short(1_024));
        assert!(is_short(1, 2) && !is_short(2, 2) && !is_short(1, 1));
    }

    #[test]
    fn only_a_want_of_descriptors_is_one() {
        assert!(exhausted(&Errno::MFILE.into()) && exhausted(&Errno::NFILE.into()));
        assert!(!exhausted(&Errno::CONNREFUSED.into()) && !exhausted(&std::io::ErrorKind::NotFound.into()));
    }
}
