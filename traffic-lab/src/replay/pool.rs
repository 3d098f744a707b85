//! The backends that a run's requests are played to: as its records show them, or as somebody says they were.
//!
//! How it fails: a run in which nobody says who answered, and a file that is no pool, are refused with what is missing.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::slots::{self, Found, Visit};
use crate::results::{Record, Run};
use crate::sim::play::Server;

/// A difference in speed within so many of its own standard errors is chance.
const CHANCE: f64 = 2.5;
/// The standard error of a median, in those of a mean (of a normal law).
const OF_MEDIAN: f64 = 1.2533;
/// Requests below which a backend's speed is not told.
const TOLD_MIN: usize = 20;

/// The backends, and how long each request took at its own one, without its wait there.
#[derive(Debug)]
pub(super) struct Pool {
    /// In the order of their names, or of the file.
    pub(super) servers: Vec<Server>,
    /// How the slots of each were found.
    pub(super) found: Vec<Found>,
    /// Names of regions, by their numbers.
    pub(super) regions: Vec<String>,
    /// By record: the position of who answered, and the seconds; `None` where there was no good answer.
    pub(super) own: Vec<Option<(usize, f64)>>,
    /// Between client and backend, there and back (s): what backends' own times leave of an answer's time where nobody
    /// waits. 0 where they tell none: then it is part of the work.
    pub(super) way: f64,
}

/// What somebody says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Of single backends.
    pub(super) backends: Vec<Given>,
    /// Slots of all others.
    pub(super) slots: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    backend: Vec<Given>,
}

/// One backend in a file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) slots: Option<u32>,
    pub(super) speed: Option<f64>,
    pub(super) weight: Option<u32>,
    pub(super) region: Option<String>,
}

/// Reads `[[backend]]` tables.
pub(super) fn read(path: &Path) -> Result<Vec<Given>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file: File = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
    for given in &file.backend {
        let good = given.slots != Some(0)
            && given.weight != Some(0)
            && given.speed.is_none_or(|speed| speed.is_finite() && speed > 0.0);
        ensure!(good, "in {}: slots, speed and weight of `{}` are above 0", path.display(), given.name);
    }
    Ok(file.backend)
}

impl Pool {
    /// Of a run and what is said beside it.
    ///
    /// # Errors
    /// If no backend is named anywhere.
    pub(super) fn of(run: &Run, said: &Said) -> Result<Self> {
        let mut names: Vec<String> = said.backends.iter().map(|given| given.name.clone()).collect();
        for name in run.summary.instances.keys() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        ensure!(
            !names.is_empty(),
            "no record of run {} says who answered: name the backends in a file and give it by --pool",
            run.id
        );
        let placed = |name: &String| said.backends.iter().any(|b| b.name == *name && b.region.is_some());
        let homeless = names.iter().find(|name| !placed(name));
        ensure!(
            homeless.is_none() || said.backends.iter().all(|given| given.region.is_none()),
            "the pool gives some backends a region and `{}` none: give one to all or to none",
            homeless.map_or("", String::as_str)
        );
        let way = way(run);
        let visits = visits(run, &names, way);
        let (mut servers, mut found, mut regions) = (Vec::new(), Vec::new(), regions(run));
        let mut own = vec![None; run.records.len()];
        for (at, name) in names.iter().enumerate() {
            let given = said.backends.iter().find(|given| given.name == *name).cloned().unwrap_or_default();
            let times: Vec<Visit> = visits[at].iter().map(|&(_, visit)| visit).collect();
            let (slots, how) = match given.slots.or(said.slots) {
                Some(slots) => (slots, Found::Given),
                None => slots::slots(&times),
            };
            for (&(record, _), took) in visits[at].iter().zip(slots::own(&times, slots)) {
                own[record] = Some((at, took));
            }
            let region = given.region.map_or(0, |region| number(&mut regions, &region));
            let (speed, weight) = (given.speed.unwrap_or(f64::NAN), given.weight.unwrap_or(1));
            servers.push(Server { name: name.clone(), slots, speed, weight, region });
            found.push(how);
        }
        speeds(&mut servers, &own);
        Ok(Pool { servers, found, regions, own, way })
    }
}

/// The shortest tenth of what answers took beside their backends' own times. Not each its own: a wait before the backend's
/// clock starts would be taken for a way that it has under every algorithm.
fn way(run: &Run) -> f64 {
    let rest = |record: &Record| Some((record.service() - record.processing()?).max(0.0));
    let mut all: Vec<f64> = run.records.iter().filter(|record| record.good()).filter_map(rest).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 10).copied().unwrap_or(0.0)
}

/// When requests came to each backend and left it by the client's clock, half the way later and earlier; in order, with the
/// number of the record; good answers only.
fn visits(run: &Run, names: &[String], way: f64) -> Vec<Vec<(usize, Visit)>> {
    let mut visits = vec![Vec::new(); names.len()];
    let times = |record: &Record| {
        let came = record.req_snd_time + way / 2.0;
        (came, (record.resp_rcv_time - way / 2.0).max(came))
    };
    for (at, record) in run.records.iter().enumerate().filter(|(_, record)| record.good()) {
        let who = record.instance.as_ref().and_then(|name| names.iter().position(|other| other == name));
        if let Some(who) = who {
            visits[who].push((at, times(record)));
        }
    }
    visits.iter_mut().for_each(|visits| visits.sort_by(|a, b| a.1.0.total_cmp(&b.1.0)));
    visits
}

/// Regions that clients named.
fn regions(run: &Run) -> Vec<String> {
    let named: BTreeMap<&str, ()> =
        run.records.iter().filter_map(|record| Some((record.region.as_deref()?, ()))).collect();
    named.into_keys().map(str::to_owned).collect()
}

fn number(regions: &mut Vec<String>, name: &str) -> u8 {
    let at = regions.iter().position(|region| region == name).unwrap_or_else(|| {
        regions.push(name.to_owned());
        regions.len() - 1
    });
    u8::try_from(at).unwrap_or(u8::MAX)
}

/// Fills in speeds that nobody gave: the median of all over the backend's own, where that is more than chance.
fn speeds(servers: &mut [Server], own: &[Option<(usize, f64)>]) {
    let mut all: Vec<f64> = own.iter().flatten().map(|&(_, took)| took).filter(|&took| took > 0.0).collect();
    let typical = median(&mut all);
    for (at, server) in servers.iter_mut().enumerate().filter(|(_, server)| server.speed.is_nan()) {
        let mut took: Vec<f64> = own
            .iter()
            .flatten()
            .filter(|&&(who, took)| who == at && took > 0.0)
            .map(|&(_, took)| took)
            .collect();
        let ratio = typical / median(&mut took);
        let error = OF_MEDIAN * spread(&took) / (took.len() as f64).sqrt();
        let told = took.len() >= TOLD_MIN && ratio.ln().abs() > CHANCE * error;
        server.speed = if told { ratio } else { 1.0 };
    }
}

fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let at = values.len() / 2;
    *values.select_nth_unstable_by(at, f64::total_cmp).1
}

/// The standard deviation of the logarithms.
fn spread(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let (sum, squares) = values.iter().fold((0.0, 0.0), |(s, q), v| (s + v.ln(), q + v.ln() * v.ln()));
    (squares / n - (sum / n) * (sum / n)).max(0.0).sqrt()
}
