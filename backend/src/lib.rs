//! The replica service that Ballast is shown and tested with: one server that speaks the endpoints of all five
//! systems the balancer stands in for, can be made slow, broken or stuck on demand, and tells how it feels.
//!
//! The binary is a thin shell around [`start`]; tests start as many as they like in their own process:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), backend::StartError> {
//! let server = backend::start(backend::Config { name: "S1".to_owned(), ..Default::default() }).await?;
//! println!("http://{}/home", server.address());
//! assert!(server.stop().await);
//! # Ok(())
//! # }
//! ```
//!
//! A request's way: `server` accepts, `front` counts, times and applies the `fault`s, `routes` answers.

pub mod app;
pub mod clock;
pub mod config;
mod conn;
pub mod cpu;
pub mod fault;
mod front;
mod health;
pub mod meters;
pub mod prime;
mod register;
mod reply;
mod routes;
mod server;
pub mod usage;

pub use config::{Args, Config, Register};
pub use health::health;
pub use server::{Running, STOP_WITHIN, StartError, start};
