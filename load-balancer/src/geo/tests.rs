//! Both layouts, every kind of outcome, and databases that are broken on purpose.

use std::hint::black_box;
use std::net::Ipv6Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use lb_core::Rng;

use super::*;

#[path = "../../tests/it/support/mmdb.rs"]
mod mmdb;

use mmdb::{flat, geolite, mmdb as written, registered};

/// Broken files that are tried.
const BROKEN: u32 = 3_000;

fn over(database: Database, default: Option<u8>) -> Geo {
    Geo { number: 1, database: Arc::new(database), regions: Arc::default(), default }
}

fn bundled() -> Geo {
    over(Database::open(&Origin::Bundled).unwrap(), None)
}

fn small() -> Vec<u8> {
    written(
        "GeoLite2-Country",
        1_700_000_000,
        &[
            ("2.0.0.0/12", geolite("FR")),
            ("3.0.0.0/8", flat("US")),
            ("4.0.0.0/8", registered("JP")),
            ("5.0.0.0/8", geolite("ZZ")),
            ("10.0.0.0/8", flat("DE")),
            ("2a00::/12", geolite("DE")),
        ],
    )
}

fn found(geo: &Geo, ip: &str) -> (&'static str, Option<String>) {
    let found = geo.find(ip.parse().unwrap());
    let name = found.region.map(|at| geo.regions.names()[usize::from(at)].clone());
    (Outcome::NAMES[found.outcome as usize], name)
}

#[test]
fn the_bundled_database_places_the_world() {
    let geo = bundled();
    for (ip, region) in [
        ("8.8.8.8", "US"),
        ("200.160.2.3", "US"),
        ("193.0.6.139", "EU"),
        ("196.216.2.1", "EU"),
        ("202.12.29.205", "APAC"),
        ("::ffff:202.12.29.205", "APAC"),
        ("2001:4860:4860::8888", "US"),
        ("2001:67c:2e8:22::c100:68b", "EU"),
        ("2001:dc0:2001:11::194", "APAC"),
    ] {
        assert_eq!(found(&geo, ip), ("hit", Some(region.to_owned())), "{ip}");
    }
    for ip in ["10.1.2.3", "::1", "fd00::1", "::ffff:192.168.0.1", "100.64.1.1"] {
        assert_eq!(found(&geo, ip), ("private", None), "{ip}");
    }
    assert!(geo.database.built() > 1_700_000_000);
}

#[test]
fn every_country_of_the_bundled_database_has_a_region() {
    let bytes = include_bytes!("../../geo/countries.mmdb");
    let database = Database::verified(bytes.to_vec()).unwrap();
    let regions = Regions::default();
    let mut seen = std::collections::BTreeSet::new();
    for block in 1..224 {
        for ip in (0..4_096_u32).map(|at| std::net::Ipv4Addr::from(block << 24 | at << 12)) {
            seen.extend(database.country(ip.into()).unwrap().map(str::to_owned));
        }
    }
    assert!(seen.len() > 200, "{seen:?}");
    assert!(seen.iter().all(|country| regions.of(country).is_some()), "{seen:?}");
}

#[test]
fn both_layouts_are_read_record_by_record() {
    let geo = over(Database::verified(small()).unwrap(), None);
    for (ip, expected) in [
        ("2.1.2.3", ("hit", Some("EU"))),
        ("3.1.2.3", ("hit", Some("US"))),
        ("4.1.2.3", ("hit", Some("APAC"))),
        ("2a01::1", ("hit", Some("EU"))),
        ("5.1.2.3", ("miss", None)),
        ("6.1.2.3", ("miss", None)),
        ("2b00::", ("miss", None)),
        ("10.1.2.3", ("private", None)),
    ] {
        let (outcome, region) = found(&geo, ip);
        assert_eq!((outcome, region.as_deref()), expected, "{ip}");
    }
    let geo = over(Database::verified(small()).unwrap(), Some(2));
    for (ip, outcome) in [("5.1.2.3", "miss"), ("6.1.2.3", "miss"), ("10.1.2.3", "private")] {
        assert_eq!(found(&geo, ip), (outcome, Some("US".to_owned())), "the default region");
    }
}

#[test]
fn what_is_no_database_of_countries_is_refused_in_words() {
    let refused = |bytes: Vec<u8>| Database::verified(bytes).map(|_| ()).unwrap_err();
    assert!(refused(Vec::new()).contains("no MaxMind database"));
    assert!(refused(b"<html>not found</html>".to_vec()).contains("no MaxMind database"));
    let asn = written("GeoLite2-ASN", 1, &[("1.0.0.0/8", flat("DE"))]);
    assert!(refused(asn).contains("\"GeoLite2-ASN\", not of countries"));
    let empty = written("X-Country", 1, &[("1.0.0.0/8", vec![0xe0])]);
    assert!(refused(empty).contains("no country"));
    let file = |path: &str| Database::open(&Origin::File(path.into())).map(|_| ()).unwrap_err();
    assert!(file("/nowhere/x.mmdb").contains("cannot be read"));
    assert!(file("/dev/null").contains("must be a file") && file("/").contains("must be a file"));
}

/// Any address, the strange ones often.
fn any_ip(rng: &mut Rng) -> IpAddr {
    let word = rng.below(u32::MAX);
    match rng.below(3) {
        0 => IpAddr::from(word.to_be_bytes()),
        1 => Ipv6Addr::from(u128::from(word) << 96 | u128::from(rng.below(u32::MAX))).into(),
        _ => Ipv6Addr::from(u128::from(word)).into(),
    }
}

/// Cut off, bits flipped, pieces overwritten, in the tree, the data and the head.
fn broken(rng: &mut Rng, whole: &[u8]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    let at = rng.below(bytes.len() as u32) as usize;
    match rng.below(4) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..bytes.len().min(at + 1 + rng.below(64) as usize))),
        2 => (0..1 + rng.below(40)).for_each(|_| {
            let at = rng.below(whole.len() as u32) as usize;
            bytes[at] = rng.below(256) as u8;
        }),
        _ => {
            // The last part: data and head.
            let at = whole.len() - 1 - rng.below(400.min(whole.len() as u32)) as usize;
            bytes[at] ^= 1 << rng.below(8);
        }
    }
    bytes
}

#[test]
fn a_broken_database_is_refused_or_answers_but_never_panics() {
    let mut rng = Rng::seeded(15);
    let whole = small();
    let (mut refused, mut errors) = (0, 0);
    for i in 0..BROKEN {
        let bytes = broken(&mut rng, &whole);
        let mut ips =
            vec!["2.1.2.3".parse().unwrap(), "3.1.2.3".parse().unwrap(), "2a01::1".parse().unwrap()];
        ips.extend((0..20).map(|_| any_ip(&mut rng)));
        let tried = catch_unwind(AssertUnwindSafe(|| {
            refused += u32::from(Database::verified(bytes.clone()).is_err());
            // One that rots after it was opened.
            let Ok(rotten) = Database::parse(bytes) else { return 0 };
            let geo = over(rotten, None);
            ips.iter().filter(|ip| geo.find(**ip).outcome == Outcome::Error).count()
        }));
        errors += tried.unwrap_or_else(|_| panic!("broken file {i}"));
    }
    assert!(refused > BROKEN / 2 && errors > 0, "{refused} refused, {errors} errors");
}

/// The same for the real one, which is too large to be walked through each time.
#[test]
fn a_look_up_into_a_large_broken_database_never_panics() {
    let mut rng = Rng::seeded(16);
    let whole = include_bytes!("../../geo/countries.mmdb");
    for _ in 0..30 {
        let Ok(rotten) = Database::parse(broken(&mut rng, whole)) else { continue };
        let geo = over(rotten, None);
        for _ in 0..2_000 {
            black_box(geo.find(any_ip(&mut rng)));
        }
    }
}
