//! cargo, called by a program that cargo runs.

use std::process::Command;

/// What cargo tells a program about its package begins so.
const ABOUT_US: [&str; 2] = ["CARGO_MANIFEST_", "CARGO_PKG_"];

/// A call that does what a user's own would do. With what cargo has told us about ourselves in the environment, build scripts that
/// look at it (ring's) would run again, and what depends on them be compiled again, at each turn from a user's call to ours.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        if ABOUT_US.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            cargo.env_remove(name);
        }
    }
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_about_us_is_passed_on_and_all_else_is() {
        let removed: Vec<_> =
            cargo().get_envs().map(|(name, value)| (name.to_owned(), value.is_none())).collect();
        assert!(removed.contains(&("CARGO_MANIFEST_DIR".into(), true)), "{removed:?}");
        assert!(removed.contains(&("CARGO_PKG_VERSION".into(), true)), "{removed:?}");
        assert!(removed.iter().all(|(name, _)| name != "CARGO_HOME" && name != "PATH"), "{removed:?}");
    }
}
