//! Files of discovery: all faults in one line, or a list whose names and addresses are its own.

use std::collections::BTreeSet;

use load_balancer::config::{Address, found};
use load_balancer::discovery::Found;

use super::config::told;

/// The input is a file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match found(text) {
        Ok(all) => listed(&all),
        Err(faults) => told(&faults, text),
    }
}

/// What a list of any source promises ([`Found`]).
pub fn listed(all: &[Found]) {
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for one in all {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        assert!((1..=63).contains(&one.name.len()) && one.name.bytes().all(plain), "{one:?}");
        assert!((1..=1_000).contains(&one.weight), "{one:?}");
        let port = match &one.address {
            Address::Ip(address) => address.port(),
            Address::Name(host, port) => {
                assert!(!host.is_empty(), "{one:?}");
                *port
            }
        };
        assert!(port > 0 && names.insert(&one.name) && addresses.insert(one.address.to_string()), "{one:?}");
        assert_eq!(Address::parse(&one.address.to_string()).as_ref(), Some(&one.address));
    }
}
