//! Seeing what happens: the metric catalogue, the registry made from it, and each worker's own buffers.
//!
//! A leaf: it knows the core's vocabulary and nothing of the proxy, so observing can never change what is observed.

pub mod catalog;
pub mod chronicle;
pub mod codes;
pub mod lane;
pub mod live;
pub mod local;
pub mod metrics;
pub mod regional;
pub mod runtime;
pub mod series;
pub mod zero;

pub use chronicle::Chronicle;
pub use lane::LaneMeters;
pub use local::WorkerMeters;
pub use metrics::Metrics;
pub use regional::RegionMeters;
pub use runtime::RuntimeMeters;
