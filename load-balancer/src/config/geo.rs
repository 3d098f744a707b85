//! What to do about where clients are: see [`crate::geo`].

use std::sync::Arc;

use crate::geo::{Origin, Regions};

/// Where clients are, and how much that matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Geo {
    /// The database of countries.
    pub database: Origin,
    /// The regions, and the countries of each.
    pub regions: Arc<Regions>,
    /// The region of addresses that nobody can place; `None` leaves them without one.
    pub default_region: Option<u8>,
    /// How many times dearer a backend of another region is, 1..=10; at 1 regions are only counted.
    pub cost: f32,
}
