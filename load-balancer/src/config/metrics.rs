//! How much is told about single backends.

/// What `/metrics` is allowed to cost.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Backends with series of their own, 1..=10,000; all further ones share `backend="overflow"`.
    pub backends: usize,
}
