//! Seeing what happens: the metric catalogue, the registry made from it, and each worker's own buffers.
//!
//! A leaf: it knows the core's vocabulary and nothing of the proxy, so observing can never change what is observed.

pub mod access;
pub mod catalog;
pub mod chronicle;
pub mod codes;
pub mod http2;
pub mod lane;
pub mod live;
pub mod local;
pub mod metrics;
pub mod regional;
pub mod runtime;
mod seldom;
pub mod series;
pub mod trace;
pub mod trail;
pub mod zero;

pub use access::{AccessLog, Lines};
pub use chronicle::Chronicle;
pub use http2::LIBRARY;
pub use lane::LaneMeters;
pub use local::WorkerMeters;
pub use metrics::Metrics;
pub use regional::RegionMeters;
pub use runtime::RuntimeMeters;
pub use trace::Traces;
pub use trail::Trail;
