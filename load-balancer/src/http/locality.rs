//! Where the client is: asked of the database only where regions matter, and once for as long as a connection brings
//! requests of one address.

use std::net::IpAddr;

use crate::listener::{Client, Place};
use crate::worker::Scene;

/// The region of `ip`, which the trust rules say the client has.
pub(super) fn region(scene: &Scene, client: &Client, ip: IpAddr) -> Option<u8> {
    let (geo, meters) = (scene.snapshot.geo.as_ref()?, scene.regional.as_ref()?);
    if let Some(known) = client.place.get().filter(|known| known.ip == ip && known.by == geo.number) {
        return known.region;
    }
    let found = geo.find(ip);
    meters.looked_up(found.outcome);
    client.place.set(Some(Place { ip, by: geo.number, region: found.region }));
    found.region
}
