//! From a client's address to its region: address → country (a database) → region (the configuration's table).
//!
//! Everything is looked up in memory: the database is opened once and shared, a country is two letters that index a table,
//! and a region is a small number that orders nothing and means nothing outside of its [`Regions`]. How it fails: an
//! address that nobody can place has the configured default region, or none; a request is never refused for it.

use std::net::IpAddr;
use std::sync::Arc;

mod addresses;
pub mod countries;
mod database;
mod places;
mod regions;

pub use database::{Database, Origin};
pub use places::{Places, Resident};
pub use regions::{MOST, Regions};

use crate::observe::regional::Outcome;

/// Everything that places a client: immutable, replaced whole when database or table change.
#[derive(Debug, Clone)]
pub struct Geo {
    /// Never reused within the process: who remembers an answer remembers whose it was.
    pub number: u64,
    /// Address → country.
    pub database: Arc<Database>,
    /// Country → region.
    pub regions: Arc<Regions>,
    /// Of addresses that nobody can place.
    pub default: Option<u8>,
}

/// Where a client is, and how that came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// A position in [`Regions::names`].
    pub region: Option<u8>,
    /// For the metrics.
    pub outcome: Outcome,
}

impl Geo {
    /// Places an address. Does not allocate; a few hundred nanoseconds.
    #[must_use]
    pub fn find(&self, ip: IpAddr) -> Found {
        let ip = ip.to_canonical();
        if addresses::is_private(ip) {
            return Found { region: self.default, outcome: Outcome::Private };
        }
        match self.database.country(ip) {
            Ok(Some(country)) => match self.regions.of(country) {
                Some(region) => Found { region: Some(region), outcome: Outcome::Hit },
                None => Found { region: self.default, outcome: Outcome::Miss },
            },
            Ok(None) => Found { region: self.default, outcome: Outcome::Miss },
            Err(_) => Found { region: self.default, outcome: Outcome::Error },
        }
    }
}

#[cfg(test)]
mod tests;
