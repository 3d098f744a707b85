//! EndpointSlices as an API server, or somebody who may write them, says them: the same backends in whatever order, each with
//! a name and an address of its own.

use std::sync::LazyLock;

use load_balancer::config::{Labels, Port};
use load_balancer::fuzzing::Slices;

use super::discovered::listed;
use super::input;

static LABELS: LazyLock<Labels> = LazyLock::new(|| Labels { region: "r".to_owned(), weight: "w".to_owned() });

/// The input's first byte says which port is wanted; the rest is a JSON array.
pub fn run(data: &[u8]) {
    let (choice, json) = input::byte(data);
    let Some(mut slices) = Slices::read(json) else { return };
    let port = match choice % 3 {
        0 => Port::Only,
        1 => Port::Name("http".to_owned()),
        _ => Port::Number(5_000),
    };
    let found = slices.found(&port, &LABELS);
    slices.turn();
    let turned = slices.found(&port, &LABELS);
    match (found, turned) {
        (Ok(found), Ok(turned)) => {
            assert_eq!(found, turned, "another order, another list");
            listed(&found);
            assert!(choice % 3 != 2 || found.iter().all(|one| one.address.to_string().ends_with(":5000")));
        }
        (Err(one), Err(other)) => {
            let fix = "discovery.kubernetes.port";
            assert!(choice % 3 == 0 && one.contains(fix) && other.contains(fix), "{one} / {other}");
        }
        (one, other) => panic!("{one:?} in one order, {other:?} in the other"),
    }
}
