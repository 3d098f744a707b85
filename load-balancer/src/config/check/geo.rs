//! The geo section: whether it is on, its regions, and a database that can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use toml::Value;

use super::super::{Backend, Discovery, Geo, raw};
use super::{Checker, NAME_MOST, quoted};
use crate::geo::{Database, MOST, Origin, Regions, countries};
use crate::observe::regional::UNKNOWN;

/// The value of `geo.database` for the one inside this program.
const BUNDLED: &str = "bundled";

impl Checker {
    /// `None` where it is off. On by itself where backends are in two regions or more, or discovered ones may be: below that
    /// there is nothing to choose.
    pub(super) fn geo(
        &mut self,
        raw: &raw::Geo,
        backends: &[Backend],
        replicas: &raw::Replicas,
        discovery: &Discovery,
    ) -> Option<Geo> {
        self.unknown("geo", &raw.unknown, raw::Geo::KEYS);
        let regions = self.regions(raw.regions.as_ref());
        let default_region = self.default_region(raw.default_region.as_ref(), &regions);
        let cost = self.float("geo.cost", raw.cost.as_ref(), 1.5, 1.0, 10.0) as f32;
        let database = match self.text("geo.database", raw.database.as_ref(), BUNDLED).as_str() {
            BUNDLED => Origin::Bundled,
            path => Origin::File(PathBuf::from(path)),
        };
        let translated = discovery.regions.values().filter(|_| discovery.finder.is_some());
        let present: BTreeSet<u8> = backends
            .iter()
            .map(|b| &b.region)
            .chain(translated.clone())
            .filter_map(|region| regions.number(region))
            .collect();
        match self.one_of("geo.enabled", raw.enabled.as_ref(), &["auto", "on", "off"]) {
            0 if present.len() < 2 => return None,
            2 => return None,
            _ => {}
        }
        for (i, backend) in backends.iter().enumerate() {
            self.inhabited(&format!("pool.backend[{i}].region"), &backend.region, &regions);
        }
        for region in translated {
            self.inhabited("discovery.regions", region, &regions);
        }
        let started = replicas.region.as_ref().and_then(Value::as_str).unwrap_or_default();
        self.inhabited("replicas.region", started, &regions);
        if let Err(reason) = Database::open(&database) {
            let remedy = format!(
                "{reason}: name a country database in MaxMind's format (GeoLite2-Country.mmdb), or write \"{BUNDLED}\""
            );
            self.faults.add("geo.database", &quoted(&database.to_string()), remedy);
        }
        Some(Geo { database, regions: Arc::new(regions), default_region, cost })
    }

    /// A backend in a region without countries is near nobody.
    fn inhabited(&mut self, field: &str, region: &str, regions: &Regions) {
        if !region.is_empty() && regions.number(region).is_none() {
            let remedy = format!(
                "is no region that countries are in ({}): use one, name its countries in geo.regions, or set geo.enabled = \
                 \"off\"",
                regions.names().join(", ")
            );
            self.faults.add(field, &quoted(region), remedy);
        }
    }

    fn default_region(&mut self, value: Option<&Value>, regions: &Regions) -> Option<u8> {
        let name = self.text("geo.default_region", value, "");
        let number = regions.number(&name);
        if number.is_none() && !name.is_empty() {
            let remedy =
                format!("is no region; use one of: {}; or \"\" for none", regions.names().join(", "));
            self.faults.add("geo.default_region", &quoted(&name), remedy);
        }
        number
    }

    /// The default table with the file's laid over it.
    fn regions(&mut self, value: Option<&Value>) -> Regions {
        let mut own: BTreeMap<String, String> = BTreeMap::new();
        match value {
            None => {}
            Some(Value::Table(table)) => {
                for (region, codes) in table {
                    let field = format!("geo.regions.{region}");
                    self.region_name(&field, region);
                    let none = codes.as_array().is_some_and(Vec::is_empty);
                    let codes = self.texts(&field, Some(codes), &[]);
                    if none {
                        self.faults.add(
                            &field,
                            "[]",
                            "has no country: list some, as [\"DE\", \"FR\"], or take it out",
                        );
                    }
                    for code in codes {
                        self.country(&field, region, code, &mut own);
                    }
                }
            }
            Some(other) => {
                let remedy = "must be a table of regions: [geo.regions] and below it EU = [\"DE\", \"FR\"]";
                self.faults.add("geo.regions", &other.to_string(), remedy);
            }
        }
        let regions: BTreeSet<&String> = own.values().collect();
        let most = MOST - Regions::default().names().len();
        if regions.len() > most {
            let remedy = format!("are too many regions: at most {most}");
            self.faults.add("geo.regions", &regions.len().to_string(), remedy);
        }
        Regions::new(&own)
    }

    fn country(&mut self, field: &str, region: &str, code: String, own: &mut BTreeMap<String, String>) {
        if !countries::is_known(&code) {
            let remedy = "is no country: use ISO 3166-1 alpha-2 codes in capitals, as \"DE\"";
            self.faults.add(field, &quoted(&code), remedy);
        } else if let Some(other) = own.get(&code) {
            let remedy = format!("is listed already, in geo.regions.{other}: a country is in one region");
            self.faults.add(field, &quoted(&code), remedy);
        } else {
            own.insert(code, region.to_owned());
        }
    }

    fn region_name(&mut self, field: &str, region: &str) {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if region.is_empty() || region.len() > NAME_MOST || !region.chars().all(fits) || region == UNKNOWN {
            let remedy =
                format!("must be named with 1 to {NAME_MOST} of a-z A-Z 0-9 - _ ., and not \"{UNKNOWN}\"");
            self.faults.add(field, &quoted(region), remedy);
        }
    }
}

#[cfg(test)]
mod tests;
