//! What balancers get wrong on the wire: bodies, streams, trailers, upgrades, odd codes. For their tests.

pub(super) mod echo;
pub(super) mod socket;
pub(super) mod stream;
