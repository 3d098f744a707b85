//! From a run's records to requests for the simulator, and from what became of those to a run again.
//!
//! A request comes when it was sent, not when it was due: the client's own queue is the client's. Its work is what it took
//! at its backend, wait left out, times that backend's speed. A request that failed told nothing of its work: it brings
//! that of the good one before it.

use std::net::{IpAddr, Ipv4Addr};

use super::pool::Pool;
use crate::results::{Record, Run, Sending, Summary, VERSION};
use crate::sim::play::{Arrival, End, Played};

/// Nanoseconds in a second.
const SECOND: f64 = 1e9;
/// Who sent the requests, unless their keys are addresses: this machine.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Requests in the order in which they come, each with the number of its record.
#[derive(Debug)]
pub(super) struct Traffic {
    /// The requests.
    pub(super) arrivals: Vec<Arrival>,
    /// By request: which record it was.
    pub(super) records: Vec<usize>,
}

impl Traffic {
    /// Of a run that went to `pool`.
    pub(super) fn of(run: &Run, pool: &Pool) -> Self {
        let mut records: Vec<usize> = (0..run.records.len()).collect();
        let sent = |&at: &usize| run.records[at].req_snd_time;
        records.sort_by(|a, b| sent(a).total_cmp(&sent(b)));
        let first = records.first().map_or(0.0, sent);
        let mut work = typical(pool);
        let arrival = |&at: &usize| {
            let record = &run.records[at];
            if let Some((who, took)) = pool.own[at] {
                work = took * pool.servers[who].speed;
            } else if record.good() {
                // Nobody says where it was: its wait there cannot be left out.
                work = (record.service() - pool.way).max(0.0);
            }
            let key = record.key.as_deref();
            let address = key.and_then(|key| key.parse().ok()).unwrap_or(CLIENT);
            let region = record.region.as_ref().and_then(|name| pool.regions.iter().position(|n| n == name));
            Arrival {
                at: ((record.req_snd_time - first) * SECOND).round() as u64,
                work: work * SECOND,
                way: (pool.way / 2.0 * SECOND).round() as u64,
                // The balancer takes the client's address where a request has no key.
                key: key.map_or_else(|| address.to_string(), str::to_owned).into_bytes().into(),
                address,
                region: region.and_then(|at| u8::try_from(at).ok()),
            }
        };
        let arrivals = records.iter().map(arrival).collect();
        Traffic { arrivals, records }
    }

    /// A run of what became of them under `algorithm`, with the records in the order of `run`'s.
    pub(super) fn predicted(&self, run: &Run, pool: &Pool, algorithm: &str, played: &[Played]) -> Run {
        let mut records = run.records.clone();
        for (&at, played) in self.records.iter().zip(played) {
            let record = &mut records[at];
            let error = match played.end {
                End::Good(_) => None,
                End::Missed => Some("timeout"),
                End::Failed => Some("unavailable"),
            };
            *record = Record {
                instance: played.server.map(|at| pool.servers[at as usize].name.clone()),
                req_rcv_time: None,
                resp_snd_time: None,
                resp_rcv_time: record.req_snd_time + played.took as f64 / SECOND,
                status: error.is_none().then_some(200),
                error: error.map(str::to_owned),
                ..record.clone()
            };
        }
        Run {
            version: VERSION,
            id: format!("{}-replayed-{algorithm}", run.id),
            title: Some(format!("predicted: {algorithm} for the requests of {}", run.id)),
            sending: Sending { algorithm: Some(algorithm.to_owned()), ..run.sending.clone() },
            clock: None,
            summary: Summary::of(&records),
            records,
            ..run.clone()
        }
    }
}

/// Work (s) of a request before the first good one.
fn typical(pool: &Pool) -> f64 {
    pool.own.iter().flatten().next().map_or(0.0, |&(who, took)| took * pool.servers[who].speed)
}
