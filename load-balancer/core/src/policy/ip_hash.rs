//! One backend per client address, as long as it is there. Walks the ring over all members, so a change of membership
//! moves only the clients of the backend that changed. IPv6 clients count by their /64, which is what one site holds.

use std::net::IpAddr;

use super::Pick;
use crate::hash::hash64;
use crate::view::View;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>) -> Option<u32> {
    let hash = match pick.client.to_canonical() {
        IpAddr::V4(ip) => hash64(&ip.octets()),
        IpAddr::V6(ip) => hash64(&ip.octets()[..8]),
    };
    if view.eligible().is_empty() {
        return None;
    }
    view.ring().walk(hash).find(|&i| view.usable(i, pick.tried))
}
