//! What is asserted of bytes that others send, target by target: a function takes any bytes and panics where a promise is
//! broken.
//!
//! Two programs run them: `fuzz_targets/` under a coverage-guided fuzzer, and the workspace's own tests over the committed
//! corpora (`tests/it/corpus.rs` takes this file in by its path). So a property cannot hold in one and rot in the other.
//! Each says more than "does not crash": a second, simpler reading of the same bytes comes to the same end.
//!
//! It fails by what it does not know: the second reading is ours as well, and wrong where we misunderstand the protocol.

pub mod config;
pub mod control;
pub mod discovered;
pub mod exposition;
pub mod forwarded;
pub mod frames;
pub mod gate;
pub mod head;
mod input;
pub mod log;
pub mod message;
pub mod orca;
pub mod paths;
pub mod proxy;
pub mod response;
pub mod slices;
