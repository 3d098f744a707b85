//! The figures that the repository keeps, and how much more is too much.
//!
//! They are of one compiler and one kind of processor: both choose instructions. How it fails: a file that cannot be read is an
//! error, not an empty baseline.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::workspace;

/// Where they are kept.
pub(super) const PATH: &str = "benches/instructions.json";
/// Percent more that passes: counts of one build differ by less than one.
const SLACK: u64 = 5;

/// Kept figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Baseline {
    what: String,
    /// Why they are as they are: what made them change.
    reason: String,
    date: String,
    compiler: String,
    processor: String,
    instructions_per_request: BTreeMap<String, u64>,
}

impl Baseline {
    /// What is kept, if anything is.
    pub(super) fn read(root: &Path) -> Result<Option<Self>> {
        match std::fs::read_to_string(root.join(PATH)) {
            Ok(text) => serde_json::from_str(&text).map(Some).context(PATH),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(PATH),
        }
    }

    /// Without figures: where and by what these are counted.
    pub(super) fn here(root: &Path) -> Result<Self> {
        Ok(Self {
            what: "user-space instructions of the balancer for one proxied request, by callgrind: `cargo xtask instructions`"
                .to_owned(),
            reason: String::new(),
            date: workspace::output_of(root, "date", &["+%Y-%m-%d"])?,
            compiler: workspace::output_of(root, "rustc", &["--version"])?,
            processor: std::env::consts::ARCH.to_owned(),
            instructions_per_request: BTreeMap::new(),
        })
    }

    /// With them.
    pub(super) fn with(self, reason: String, counted: BTreeMap<String, u64>) -> Self {
        Self { reason, instructions_per_request: counted, ..self }
    }

    /// Writes it where it is kept.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(root.join(PATH), text).context(PATH)
    }

    /// Whether figures of both may be compared.
    pub(super) fn fits(&self, other: &Self) -> bool {
        (&self.compiler, &self.processor) == (&other.compiler, &other.processor)
    }

    /// Compiler and processor.
    pub(super) fn made_by(&self) -> String {
        format!("{} on {}", self.compiler, self.processor)
    }

    /// The figure of a scenario.
    pub(super) fn of(&self, scenario: &str) -> Option<u64> {
        self.instructions_per_request.get(scenario).copied()
    }
}

/// Whether `now` is more than `before` allows.
pub(super) fn is_dearer(now: u64, before: u64) -> bool {
    now.saturating_mul(100) > before.saturating_mul(100 + SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_pass_and_more_does_not() {
        assert!(!is_dearer(100_000, 100_000) && !is_dearer(105_000, 100_000) && !is_dearer(50_000, 100_000));
        assert!(is_dearer(105_001, 100_000));
    }

    /// The file of the repository is read, has every scenario, and says why.
    #[test]
    fn the_kept_figures_are_whole() {
        use clap::ValueEnum as _;
        let kept = Baseline::read(&workspace::root().unwrap()).unwrap().unwrap();
        assert!(kept.reason.len() > 10 && kept.date.len() == 10, "{kept:?}");
        for scenario in super::super::scenario::Scenario::value_variants() {
            assert!(kept.of(&scenario.name()).is_some_and(|figure| figure > 10_000), "{scenario:?}");
        }
    }

    #[test]
    fn other_compilers_do_not_fit() {
        let here = Baseline::here(&workspace::root().unwrap()).unwrap();
        assert!(here.fits(&here.clone().with("so".into(), BTreeMap::new())));
        assert!(!here.fits(&Baseline { compiler: "rustc 1.0.0".into(), ..here.clone() }));
        assert!(!here.fits(&Baseline { processor: "abacus".into(), ..here.clone() }));
    }
}
