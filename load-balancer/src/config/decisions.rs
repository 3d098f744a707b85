//! Which requests' decisions are recorded, and how many records are kept.

/// Decision records.
#[derive(Debug, Clone, PartialEq)]
pub struct Decisions {
    /// Share of requests that are recorded, 0..=1. Who may ask for reasons has every request recorded that asks.
    pub share: f64,
    /// Records that are kept, 1..=100,000.
    pub keep: usize,
}
