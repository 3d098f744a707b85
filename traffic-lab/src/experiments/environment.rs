//! Machine and build of an experiment: what its figures depend on and a reader cannot see.

use serde::Serialize;

use crate::machine::Machine;

/// Machine and build.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    #[serde(flatten)]
    machine: Machine,
    build: &'static str,
}

impl Environment {
    /// Asks the machine.
    pub(crate) fn read() -> Self {
        let build = if cfg!(debug_assertions) { "development" } else { "release" };
        Self { machine: Machine::read(), build }
    }

    /// A line for people.
    pub(crate) fn line(&self) -> String {
        let Machine { cpu, cores, kernel, load_average, .. } = &self.machine;
        format!("{cores} cores of {cpu}, Linux {kernel}, load {load_average}, {} build", self.build)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_machine_has_cores() {
        let line = super::Environment::read().line();
        assert!(!line.starts_with('0') && line.contains("Linux"), "{line}");
    }
}
