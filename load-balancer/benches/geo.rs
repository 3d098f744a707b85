//! Nanoseconds a look-up of a client: `cargo bench -p load-balancer --bench geo`.
//!
//! One thread, warm caches, ten thousand addresses in rotation; the least of many repeats, since other work on the machine
//! can only add time.

#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use lb_core::Rng;
use load_balancer::geo::{Database, Geo, Origin, Regions};

#[allow(dead_code, clippy::unwrap_used, reason = "a helper of the tests, which use all of it")]
#[path = "../tests/it/support/mmdb.rs"]
mod mmdb;

/// Addresses in rotation.
const ADDRESSES: u32 = 10_000;
/// Rounds over all of them, of which the quickest counts.
const REPEATS: usize = 60;

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn measure(name: &str, geo: &Geo, addresses: &[IpAddr]) {
    let mut best = f64::MAX;
    for _ in 0..REPEATS {
        let before = Instant::now();
        for ip in addresses {
            black_box(geo.find(black_box(*ip)));
        }
        best = best.min(before.elapsed().as_secs_f64());
    }
    println!("{name:<32} {:>6.0} ns", best * 1e9 / addresses.len() as f64);
}

fn main() -> Result<(), String> {
    let mut rng = Rng::seeded(17);
    let geo = |database| Geo {
        number: 1,
        database: Arc::new(database),
        regions: Arc::new(Regions::default()),
        default: None,
    };
    let bundled = geo(Database::open(&Origin::Bundled)?);
    let file = mmdb::mmdb("GeoLite2-Country", 1, &[("2.0.0.0/8", mmdb::geolite("FR"))]);
    let geolite = geo(Database::verified(file)?);
    let v4: Vec<IpAddr> =
        (0..ADDRESSES).map(|_| IpAddr::from((0x0b00_0000 + rng.below(0x7000_0000)).to_be_bytes())).collect();
    let v6: Vec<IpAddr> = (0..ADDRESSES)
        .map(|_| {
            Ipv6Addr::from(
                (0x2a00_u128 + u128::from(rng.below(16))) << 112 | u128::from(rng.below(u32::MAX)) << 80,
            )
            .into()
        })
        .collect();
    let french: Vec<IpAddr> = (0..ADDRESSES).map(|i| IpAddr::from((0x0200_0000 + i).to_be_bytes())).collect();
    let private: Vec<IpAddr> =
        (0..ADDRESSES).map(|i| IpAddr::from((0x0a00_0000 + i).to_be_bytes())).collect();
    measure("bundled, any IPv4", &bundled, &v4);
    measure("bundled, IPv6 of Europe", &bundled, &v6);
    measure("a record as GeoLite2 has it", &geolite, &french);
    measure("private", &bundled, &private);
    Ok(())
}
