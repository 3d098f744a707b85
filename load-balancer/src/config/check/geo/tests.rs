//! The geo section as its users meet it.

use super::super::super::{Config, Fault, Faults};
use super::*;

/// Backends `b0`, `b1` … in these regions.
fn pool(regions: &[&str]) -> String {
    let backend = |(i, region): (usize, &&str)| {
        format!("[[pool.backend]]\nname = \"b{i}\"\naddress = \"127.0.0.1:1\"\nregion = \"{region}\"\n")
    };
    regions.iter().enumerate().map(backend).collect()
}

fn parse(text: &str) -> Result<Config, Faults> {
    Config::parse(text, std::iter::empty())
}

fn geo(section: &str, regions: &[&str]) -> Option<Geo> {
    parse(&format!("{section}\n{}", pool(regions))).unwrap().geo
}

fn faults(section: &str, regions: &[&str]) -> Vec<Fault> {
    parse(&format!("{section}\n{}", pool(regions))).unwrap_err().0
}

#[test]
fn two_regions_turn_it_on_by_itself() {
    assert_eq!(geo("", &["", ""]), None);
    assert_eq!(geo("", &["EU", "EU", ""]), None);
    assert_eq!(geo("", &["rack-1", "rack-2"]), None, "labels that no country is in mean nothing here");
    let found = geo("", &["EU", "US", ""]).unwrap();
    assert_eq!((found.cost, found.default_region, &found.database), (1.5, None, &Origin::Bundled));
    assert_eq!(found.regions.names(), ["APAC", "EU", "US"]);
    assert_eq!(geo("[geo]\nenabled = \"off\"", &["EU", "US"]), None);
    assert_eq!(geo("[geo]\nenabled = \"on\"", &[""]).unwrap(), found);
    let own = "[geo]\ndefault_region = \"eu-w3\"\ncost = 1\n[geo.regions]\neu-w3 = [\"DE\", \"CH\"]\neu-w1 = [\"BE\"]";
    let found = geo(own, &["eu-w3", "eu-w1"]).unwrap();
    assert_eq!((found.regions.of("CH"), found.default_region, found.cost), (Some(4), Some(4), 1.0));
    assert_eq!(found.regions.names(), ["APAC", "EU", "US", "eu-w1", "eu-w3"]);
}

/// With geo on, so that the values are seen.
#[test]
fn the_commented_example_shows_the_defaults() {
    let example = include_str!("../../../../examples/ballast.toml");
    let on = example.replace("enabled = \"auto\"", "enabled = \"on\"");
    assert_ne!(on, example);
    assert_eq!(parse(&on).unwrap().geo, geo("[geo]\nenabled = \"on\"", &[""]));
}

#[test]
fn every_fault_names_field_value_and_remedy() {
    let section = "[geo]\nenabled = true\ndatabase = 7\ncost = 11\ndefault_region = \"Mars\"\nspeed = 1\n\
                   [geo.regions]\nEU = [\"DE\", \"DE\"]\nx = [\"XX\", \"de\"]\nempty = []\n\"a b\" = [\"FR\"]\n\
                   unknown = [\"IT\"]\ny = \"ES\"\nz = [\"DE\"]";
    let found = faults(section, &["EU", "US", "rack-1"]);
    let fields: Vec<&str> = found.iter().map(|f| f.field.as_str()).collect();
    let expected = [
        "geo.speed",
        "geo.regions.EU",
        "geo.regions.a b",
        "geo.regions.empty",
        "geo.regions.unknown",
        "geo.regions.x",
        "geo.regions.x",
        "geo.regions.y",
        "geo.regions.z",
        "geo.default_region",
        "geo.cost",
        "geo.database",
        "geo.enabled",
        "pool.backend[2].region",
    ];
    assert_eq!(fields, expected);
    let text = Faults(found).to_string();
    for said in [
        "geo.regions.x = \"XX\": is no country: use ISO 3166-1",
        "geo.regions.z = \"DE\": is listed already, in geo.regions.EU",
        "geo.regions.empty = []: has no country",
        "geo.default_region = \"Mars\": is no region; use one of: APAC, EU, US",
        "geo.enabled = true: must be a string",
        "pool.backend[2].region = \"rack-1\": is no region that countries are in",
    ] {
        assert!(text.contains(said), "{said}\n{text}");
    }
    let found = faults("[replicas]\nregion = \"eu\"", &["EU", "US"]);
    assert_eq!((found.len(), found[0].field.as_str()), (1, "replicas.region"));
    assert!(faults("[geo]\nregions = [\"EU\"]", &[])[0].remedy.contains("[geo.regions]"));
    let many: String = (0..countries::all().count().min(70))
        .zip(countries::all())
        .map(|(i, (country, _))| format!("r{i} = [\"{country}\"]\n"))
        .collect();
    assert!(faults(&format!("[geo.regions]\n{many}"), &[""])[0].remedy.contains("at most 61"));
}

#[test]
fn a_database_that_cannot_be_used_is_a_fault_only_where_it_is_used() {
    let section = "[geo]\ndatabase = \"/nowhere/GeoLite2-Country.mmdb\"";
    assert_eq!(geo(section, &["", ""]), None);
    let found = faults(section, &["EU", "US"]);
    assert_eq!((found.len(), found[0].field.as_str()), (1, "geo.database"));
    assert!(
        found[0].value.contains("/nowhere/") && found[0].remedy.contains("write \"bundled\""),
        "{found:?}"
    );
    let this = format!("[geo]\ndatabase = \"{}/Cargo.toml\"", env!("CARGO_MANIFEST_DIR"));
    assert!(faults(&this, &["EU", "US"])[0].remedy.contains("is no MaxMind database"));
}
