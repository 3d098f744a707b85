//! What a scenario says: the backends, the load, what goes wrong and when, and the bar that the result is held to.
//!
//! The built-in ones are TOML files beside the source, compiled in; a path names one of your own. Times are scenario
//! time: 0 is the first measured request, the warm-up lies before it.
//! How it fails: an unknown key, name or number out of range is an error that says where.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// The scenarios that come with the program.
const BUILT_IN: [&str; 11] = [
    include_str!("../../scenarios/sockets/s1.toml"),
    include_str!("../../scenarios/sockets/s2b.toml"),
    include_str!("../../scenarios/sockets/s3.toml"),
    include_str!("../../scenarios/sockets/s4.toml"),
    include_str!("../../scenarios/sockets/s6.toml"),
    include_str!("../../scenarios/sockets/s7.toml"),
    include_str!("../../scenarios/sockets/s13-off.toml"),
    include_str!("../../scenarios/sockets/s13-frozen.toml"),
    include_str!("../../scenarios/sockets/s13-tenth.toml"),
    include_str!("../../scenarios/sockets/s13-tenfold.toml"),
    include_str!("../../scenarios/sockets/s13-garbage.toml"),
];

/// One scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// Its name, as on the command line.
    pub(crate) name: String,
    /// What happens in it, in one line.
    pub(crate) title: String,
    /// The load, as a share of what the backends can serve while their lasting faults last.
    pub(crate) rho: f64,
    /// Slots of each backend; their number is the number of backends.
    pub(crate) slots: Vec<usize>,
    /// Mean of the exponential service time, in milliseconds.
    pub(crate) service_ms: f64,
    /// What goes wrong.
    #[serde(default)]
    pub(crate) fault: Vec<Fault>,
    /// What the result is held to.
    #[serde(default)]
    pub(crate) bar: Vec<Bar>,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// Which backend, from 1; all where absent.
    pub(crate) backend: Option<usize>,
    /// Scenario time at which it begins; from the beginning where absent.
    pub(crate) from_s: Option<f64>,
    /// Scenario time at which it ends; never where absent.
    pub(crate) until_s: Option<f64>,
    /// What it is.
    #[serde(flatten)]
    pub(crate) kind: Kind,
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Kind {
    /// Service takes `factor` times as long.
    Slow { factor: f64 },
    /// This share of the requests is answered 500 at once, without work.
    Errors { share: f64 },
    /// Nothing moves for a while, again and again, each backend by its own dice.
    Pauses { shortest_ms: f64, longest_ms: f64, every_s: f64 },
    /// Backend after backend stops gracefully, is away, and comes back cold.
    Restarts { first_s: f64, every_s: f64, down_s: f64, cold_s: f64, cold_factor: f64 },
    /// `/metrics` answers 404.
    MetricsOff,
    /// `/metrics` repeats what it said when this began.
    MetricsFrozen,
    /// `/metrics` answers 200 with what is no metric.
    MetricsGarbage,
    /// `/metrics` shows CPU and memory times `factor`.
    MetricsLie { factor: f64 },
}

/// What a result is held to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bar {
    /// Whose result.
    pub(crate) of: String,
    /// A figure of the report.
    pub(crate) figure: String,
    /// `peers` (the best of those that are not this project's), `others` (the best of all others), or a policy.
    pub(crate) against: String,
    /// How much of the other's figure is allowed.
    pub(crate) at_most: f64,
    /// Why this much.
    pub(crate) reason: String,
}

impl Scenario {
    /// Reads one, and refuses what makes no sense.
    fn parse(text: &str) -> Result<Self> {
        let scenario: Self = toml::from_str(text)?;
        let name = &scenario.name;
        ensure!(
            !scenario.slots.is_empty() && !scenario.slots.contains(&0),
            "{name}: a backend without slots"
        );
        ensure!(
            scenario.rho > 0.0 && scenario.service_ms > 0.0,
            "{name}: rho and service_ms must be above 0"
        );
        for fault in &scenario.fault {
            let known = fault.backend.is_none_or(|backend| (1..=scenario.slots.len()).contains(&backend));
            ensure!(known, "{name}: there is no backend {:?}", fault.backend);
            ensure!(fault.kind.is_sensible(), "{name}: out of range: {:?}", fault.kind);
        }
        Ok(scenario)
    }

    /// Requests per second that make `rho`.
    pub(crate) fn rate(&self) -> f64 {
        let capacity = |(index, slots): (usize, &usize)| {
            let lasting = self
                .fault
                .iter()
                .filter(|fault| fault.strikes(index) && fault.from_s.is_none() && fault.until_s.is_none());
            lasting.fold(*slots as f64, |capacity, fault| capacity * fault.kind.capacity())
        };
        let slots: f64 = self.slots.iter().enumerate().map(capacity).sum();
        self.rho * slots * 1e3 / self.service_ms
    }

    /// The backends, from 0, that a fault singles out.
    pub(crate) fn faulty(&self) -> Vec<usize> {
        let mut faulty: Vec<usize> = self.fault.iter().filter_map(|fault| Some(fault.backend? - 1)).collect();
        faulty.sort_unstable();
        faulty.dedup();
        faulty
    }
}

impl Fault {
    /// Whether it concerns a backend, counted from 0.
    pub(crate) fn strikes(&self, index: usize) -> bool {
        self.backend.is_none_or(|backend| backend == index + 1)
    }

    /// From when to when.
    pub(crate) fn span(&self) -> (f64, f64) {
        (self.from_s.unwrap_or(f64::NEG_INFINITY), self.until_s.unwrap_or(f64::INFINITY))
    }
}

impl Kind {
    fn is_sensible(&self) -> bool {
        match self {
            Self::Slow { factor } | Self::MetricsLie { factor } => *factor > 0.0,
            Self::Errors { share } => (0.0..=1.0).contains(share),
            Self::Pauses { shortest_ms, longest_ms, every_s } => {
                *shortest_ms > 0.0 && longest_ms >= shortest_ms && *every_s > 0.0
            }
            Self::Restarts { every_s, down_s, cold_s, cold_factor, .. } => {
                *every_s > 0.0 && *down_s > 0.0 && *cold_s >= 0.0 && *cold_factor > 0.0
            }
            Self::MetricsOff | Self::MetricsFrozen | Self::MetricsGarbage => true,
        }
    }

    /// What it leaves of a backend's capacity while it lasts.
    fn capacity(&self) -> f64 {
        match self {
            Self::Slow { factor } => 1.0 / factor,
            Self::Errors { share } => 1.0 - share,
            _ => 1.0,
        }
    }
}

/// Every built-in scenario.
pub(crate) fn built_in() -> Result<Vec<Scenario>> {
    BUILT_IN.iter().map(|text| Scenario::parse(text)).collect()
}

/// The scenarios of the names: a built-in one, all of a family (`S13` is every `S13-…`), or a file.
pub(crate) fn named(names: &[String]) -> Result<Vec<Scenario>> {
    let known = built_in()?;
    let mut found = Vec::new();
    for name in names {
        if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
            let text = std::fs::read_to_string(name).with_context(|| format!("reading {name}"))?;
            found.push(Scenario::parse(&text).with_context(|| format!("in {name}"))?);
            continue;
        }
        let family = format!("{}-", name.to_lowercase());
        let matches = |scenario: &&Scenario| {
            scenario.name.eq_ignore_ascii_case(name) || scenario.name.to_lowercase().starts_with(&family)
        };
        let before = found.len();
        found.extend(known.iter().filter(matches).cloned());
        if found.len() == before {
            bail!("there is no scenario {name}: see --list, or name a .toml file");
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_scenarios_are_sound_and_six_wide() {
        let all = built_in().unwrap();
        assert!(all.iter().all(|scenario| scenario.slots.len() == 6 && !scenario.bar.is_empty()));
        assert_eq!(named(&["S13".to_owned(), "s1".to_owned()]).unwrap().len(), 6);
        assert!(named(&["S99".to_owned()]).is_err());
    }

    #[test]
    fn the_rate_makes_rho_of_what_can_be_served() {
        let rate = |name: &str| named(&[name.to_owned()]).unwrap()[0].rate().round();
        assert_eq!([rate("S1"), rate("S3"), rate("S4")], [840.0, 714.0, 700.0]);
    }

    #[test]
    fn nonsense_is_refused() {
        let base = "name='x'\ntitle='x'\nrho=0.7\nslots=[4]\nservice_ms=20\n";
        assert!(Scenario::parse(base).is_ok());
        for more in
            ["bogus=1", "[[fault]]\nkind='slow'\nfactor=0", "[[fault]]\nkind='metrics_off'\nbackend=2"]
        {
            assert!(Scenario::parse(&format!("{base}{more}")).is_err(), "{more}");
        }
    }
}
