//! The command line: serve, check, demo.

use std::process::ExitCode;

// Its huge pages are turned off in Cargo.toml: 12 MiB would be resident at rest where 3 are used.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    load_balancer::cli::run()
}
