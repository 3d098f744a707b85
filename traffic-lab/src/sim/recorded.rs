//! Requests that were made once, to be made again in the simulator: when they came, whose they were, how much work each
//! was. In place of drawn traffic; everything else of a run stays as it is.

use std::net::IpAddr;

use super::balancer::Client;
use super::tally::End;

/// A server as its pool's configuration names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    /// Hash of its name: its place on rings.
    pub(crate) name_hash: u64,
    /// Configured weight, 1 or more.
    pub(crate) weight: u32,
}

impl Identity {
    /// That of a server without name and weight.
    pub(crate) fn plain(number: u64) -> Self {
        Identity { name_hash: number, weight: 1 }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrival {
    /// When it comes (ns).
    pub(crate) at: u64,
    /// How much work it is (core-ns at speed 1).
    pub(crate) work: f64,
    /// How long it travels to its server, and its answer back (ns).
    pub(crate) way: u64,
    /// What `consistent_hash` chooses by.
    pub(crate) key: Box<[u8]>,
    /// Its client's address.
    pub(crate) address: IpAddr,
    /// Its client's region.
    pub(crate) region: Option<u8>,
}

impl Arrival {
    /// Whose it is.
    pub(crate) fn client(&self) -> Client<'_> {
        Client { region: self.region, address: self.address, key: &self.key }
    }
}

/// All of them, in the order in which they come, and the servers' names.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// The requests.
    pub(crate) arrivals: Vec<Arrival>,
    /// The servers.
    pub(crate) identities: Vec<Identity>,
    /// How long clients wait (ns).
    pub(crate) deadline: u64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Played {
    /// Where it was sent last.
    pub(crate) server: Option<u32>,
    /// From its arrival to its end (ns).
    pub(crate) took: u64,
    /// How it ended.
    pub(crate) end: End,
}

impl Played {
    /// Before it has come.
    pub(crate) const NOTHING: Played = Played { server: None, took: 0, end: End::Failed };
}
