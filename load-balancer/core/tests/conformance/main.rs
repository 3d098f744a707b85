//! One suite for every policy: what a load balancer's algorithm must do, whatever it is called.
//!
//! Each property is a function of a policy and its promises, so the same property that the product passes can be shown
//! to fail for a known bug (`doubles`). Everything is seeded and runs in virtual time: a failure repeats exactly.

mod doubles;
mod picks;
mod promises;
mod shares;
mod stats;
mod trouble;
mod world;

use lb_core::Algorithm;

use promises::Promises;
use world::Subject;

type Property = fn(&dyn Subject, Promises) -> Result<(), String>;

/// The suite, by the name under which a failure is reported.
const SUITE: [(&str, Property); 15] = [
    ("excludes", picks::excludes),
    ("says why not", picks::says_why_not),
    ("moves few keys", picks::moves_few_keys),
    ("starts slowly", picks::starts_slowly),
    ("idle shares", shares::idle_shares),
    ("idle shares with scatter", shares::idle_shares_with_scatter),
    ("busy shares", shares::busy_shares),
    ("order decides nothing", shares::order_decides_nothing),
    ("large pools", shares::large_pools),
    ("replays", shares::replays),
    ("starves the hung", trouble::starves_the_hung),
    ("failing fast does not pay", trouble::failing_fast_does_not_pay),
    ("unknown is not best", trouble::unknown_is_not_best),
    ("forgives a stall", trouble::forgives_a_stall),
    ("sees fractions of a millisecond", trouble::sees_fractions_of_a_millisecond),
];

fn conforms(algorithm: Algorithm) {
    let promises = promises::of(algorithm);
    let failure = |(name, property): &(_, Property)| Some((*name, property(&algorithm, promises).err()?));
    let failures: Vec<(&str, String)> = SUITE.iter().filter_map(failure).collect();
    assert!(failures.is_empty(), "{algorithm}: {failures:#?}");
}

/// One test an algorithm, so that they run side by side and a failure names its own.
macro_rules! conformance {
    ($($name:ident => $algorithm:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            conforms(Algorithm::$algorithm);
        })*

        /// No algorithm can be added without being tested.
        #[test]
        fn every_algorithm_is_here() {
            let tested = [$(Algorithm::$algorithm),*];
            assert!(Algorithm::ALL.iter().all(|a| tested.contains(a)));
        }
    };
}

conformance! {
    round_robin => RoundRobin,
    weighted_round_robin => WeightedRoundRobin,
    least_connections => LeastConnections,
    ip_hash => IpHash,
    power_of_two => PowerOfTwo,
    consistent_hash => ConsistentHash,
    adaptive => Adaptive,
    least_response_time => LeastResponseTime,
    min_eta => MinEta,
    random => Random,
}
