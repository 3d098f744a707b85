//! What a scenario says: the backends, the load, what goes wrong and when, and the bar that the result is held to.
//!
//! The built-in ones are TOML files beside the source, compiled in; a path names one of your own. Times are scenario
//! time: 0 is the first measured request, the warm-up lies before it.
//! How it fails: an unknown key, name or number out of range is an error that says where.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use super::run::FIGURES;
use super::timeline::GAP_SPREAD;

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
    /// Who takes part unless told otherwise; the usual where absent.
    pub(crate) policies: Option<Vec<String>>,
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

/// Whom a bar may be against beside a policy: other balancers as they come, those and the same told to watch traffic,
/// and whoever else took part.
pub(crate) const GROUPS: [&str; 3] = [PEERS, ALL_PEERS, OTHERS];
/// Other balancers as they come.
pub(crate) const PEERS: &str = "peers";
/// Other balancers, with those told to watch traffic.
pub(crate) const ALL_PEERS: &str = "all_peers";
/// Whoever else took part.
pub(crate) const OTHERS: &str = "others";

/// What a result is held to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bar {
    /// Whose result.
    pub(crate) of: String,
    /// A figure of the report.
    pub(crate) figure: String,
    /// A policy, or one of [`GROUPS`], of which the best counts.
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
        for (field, value) in [("rho", scenario.rho), ("service_ms", scenario.service_ms)] {
            ensure!(is_above_0(value), "{name}: {field} = {value} is not above 0");
        }
        if let Some(policies) = &scenario.policies {
            ensure!(!policies.is_empty(), "{name}: policies names nobody");
            for (index, policy) in policies.iter().enumerate() {
                Policy::named(policy).with_context(|| format!("{name}: in policies"))?;
                ensure!(!policies[..index].contains(policy), "{name}: policies names {policy} twice");
            }
        }
        for fault in &scenario.fault {
            let known = fault.backend.is_none_or(|backend| (1..=scenario.slots.len()).contains(&backend));
            ensure!(known, "{name}: there is no backend {:?}", fault.backend);
            fault.check().with_context(|| format!("{name}: {:?}", fault.kind))?;
        }
        for bar in &scenario.bar {
            bar.check().with_context(|| format!("{name}: in a bar"))?;
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

    /// Refuses numbers that make no sense, by the field's name.
    fn check(&self) -> Result<()> {
        for (field, value) in [("from_s", self.from_s), ("until_s", self.until_s)] {
            ensure!(value.is_none_or(f64::is_finite), "{field} is no time; leave it out for always");
        }
        let (from, until) = self.span();
        ensure!(from < until, "until_s = {until} is not after from_s = {from}");
        self.kind.check()
    }

    /// From when to when.
    pub(crate) fn span(&self) -> (f64, f64) {
        (self.from_s.unwrap_or(f64::NEG_INFINITY), self.until_s.unwrap_or(f64::INFINITY))
    }
}

impl Kind {
    /// Refuses numbers that make no sense, by the field's name. What is no number is out of every range.
    fn check(&self) -> Result<()> {
        let above_0: &[(&str, f64)] = match *self {
            Self::Slow { factor } | Self::MetricsLie { factor } => &[("factor", factor)],
            Self::Pauses { shortest_ms, longest_ms, every_s } => {
                &[("shortest_ms", shortest_ms), ("longest_ms", longest_ms), ("every_s", every_s)]
            }
            Self::Restarts { every_s, down_s, cold_factor, .. } => {
                &[("every_s", every_s), ("down_s", down_s), ("cold_factor", cold_factor)]
            }
            Self::Errors { .. } | Self::MetricsOff | Self::MetricsFrozen | Self::MetricsGarbage => &[],
        };
        for (field, value) in above_0 {
            ensure!(is_above_0(*value), "{field} = {value} is not above 0");
        }
        match *self {
            Self::Errors { share } => {
                ensure!((0.0..=1.0).contains(&share), "share = {share} is not from 0 to 1");
            }
            Self::Pauses { shortest_ms, longest_ms, every_s } => {
                ensure!(
                    longest_ms >= shortest_ms,
                    "longest_ms = {longest_ms} is below shortest_ms = {shortest_ms}"
                );
                let gap_ms = every_s * (1.0 - GAP_SPREAD) * 1e3;
                ensure!(
                    gap_ms > longest_ms,
                    "every_s = {every_s}: the next pause may begin after {gap_ms} ms, within one of longest_ms = {longest_ms}"
                );
            }
            Self::Restarts { first_s, cold_s, .. } => {
                ensure!(first_s.is_finite(), "first_s = {first_s} is no time");
                ensure!(cold_s.is_finite() && cold_s >= 0.0, "cold_s = {cold_s} is below 0, or endless");
            }
            Self::Slow { .. }
            | Self::MetricsOff
            | Self::MetricsFrozen
            | Self::MetricsGarbage
            | Self::MetricsLie { .. } => (),
        }
        Ok(())
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

impl Bar {
    /// Whether it asks for a win, rather than that nothing is lost.
    pub(crate) fn asks_for_a_win(&self) -> bool {
        self.at_most < 1.0
    }

    /// Refuses names that nothing has: such a bar would never be judged.
    fn check(&self) -> Result<()> {
        let Self { of, figure, against, at_most, .. } = self;
        Policy::named(of).context("of")?;
        ensure!(FIGURES.contains(&figure.as_str()), "figure: there is no {figure}");
        if !GROUPS.contains(&against.as_str()) {
            Policy::named(against).with_context(|| format!("against: none of {}", GROUPS.join(", ")))?;
        }
        ensure!(is_above_0(*at_most), "at_most = {at_most} is not above 0");
        Ok(())
    }
}

fn is_above_0(value: f64) -> bool {
    value.is_finite() && value > 0.0
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
        let restarts = "[[fault]]\nkind='restarts'\nevery_s=9\ndown_s=1\ncold_factor=2";
        for (more, field) in [
            ("bogus=1".to_owned(), "bogus"),
            ("[[fault]]\nkind='slow'\nfactor=0".to_owned(), "factor"),
            ("[[fault]]\nkind='slow'\nfactor=nan".to_owned(), "factor"),
            ("[[fault]]\nkind='slow'\nfactor=2\nfrom_s=nan".to_owned(), "from_s"),
            ("[[fault]]\nkind='slow'\nfactor=2\nfrom_s=3\nuntil_s=2".to_owned(), "until_s"),
            ("[[fault]]\nkind='errors'\nshare=nan".to_owned(), "share"),
            (format!("{restarts}\nfirst_s=nan\ncold_s=1"), "first_s"),
            (format!("{restarts}\nfirst_s=1\ncold_s=nan"), "cold_s"),
            ("[[fault]]\nkind='metrics_off'\nbackend=2".to_owned(), "backend"),
            ("[[fault]]\nkind='pauses'\nshortest_ms=100\nlongest_ms=400\nevery_s=0.8".to_owned(), "every_s"),
        ] {
            let error = Scenario::parse(&format!("{base}{more}")).unwrap_err();
            assert!(format!("{error:#}").contains(field), "{more}: {error:#}");
        }
        let nan = Scenario::parse(&base.replace("0.7", "nan")).unwrap_err();
        assert!(nan.to_string().contains("rho"), "{nan}");
    }

    #[test]
    fn names_that_nothing_has_are_refused() {
        let base = "name='x'\ntitle='x'\nrho=0.7\nslots=[4]\nservice_ms=20\n";
        let policies = |list: &str| Scenario::parse(&format!("{base}policies={list}"));
        assert!(policies("['adaptive','nginx-random2']").is_ok());
        assert!(policies("[]").is_err() && policies("['magic']").is_err());
        assert!(policies("['adaptive','adaptive']").is_err());
        let bar = |of: &str, figure: &str, against: &str| {
            let bar = format!("of='{of}'\nfigure='{figure}'\nagainst='{against}'\nat_most=1\nreason=''");
            Scenario::parse(&format!("{base}[[bar]]\n{bar}"))
        };
        for against in GROUPS.into_iter().chain(["haproxy-leastconn"]) {
            assert!(bar("adaptive", "p99_ms", against).is_ok(), "{against}");
        }
        assert!(bar("adaptiv", "p99_ms", "peers").is_err());
        assert!(bar("adaptive", "p99", "peers").is_err());
        assert!(bar("adaptive", "p99_ms", "peer").is_err());
    }
}
