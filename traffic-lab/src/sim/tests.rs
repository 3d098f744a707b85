//! The simulator as a whole: it repeats itself, is fair to policies, and the scenario files are sound.

use std::path::Path;

use super::bars::judge;
use super::cell::{Cell, cells};
use super::metric::Metric;
use super::policies::POLICIES;
use super::scenario::Scenario;
use super::world::run;
use super::{SCENARIOS, policies, runs, stored};

const SMALL: &str = "
    about = 'small'
    seconds = 6
    warm_up_s = 2
    focus_s = [4, 5]
    fault_s = 3
    faulty = '0..1'
    retries = 1
    servers = [{ count = 6, cores = 2, limit = 60 }]
    faults = [
        { kind = 'fail', servers = '0..1', share = 0.5, from_s = 3, to_s = 4 },
        { kind = 'crash', servers = '1..2', from_s = 3, to_s = 3.5 },
        { kind = 'pause', servers = '2..3', for_ms = [50, 90], every_s = 1 },
        { kind = 'join', servers = '5..6', at_s = 2.5, cold_s = 1, cold_factor = 0.5 },
        { kind = 'restart', servers = '3..5', from_s = 1, gap_s = 1, down_s = 0.2, cold_s = 0.3, cold_factor = 0.5 },
        { kind = 'antagonist', servers = '4..5', factor = [0.3, 0.6], for_s = [0.1, 0.3], busy = 0.4 },
        { kind = 'vanish', servers = '2..3', from_s = 4.5, gap_s = 9, down_s = 0.2, cold_s = 0.3, cold_factor = 0.5 },
        { kind = 'swing', by = 0.2, period_s = 2 },
    ]
    bars = [
        { metric = 'p99', at_most = 1.0, times = 'haproxy-leastconn', policy = 'peer-random', reason = 'r' },
        { metric = 'error_share', at_least = -1.0, policy = 'peer-random', reason = 'r', balancers = [2] },
        { metric = 'p99', at_most = 1.0, times = 'jiq-slots', policy = 'peer-random', reason = 'r' },
        { metric = 'p50', at_most = 0.5, times = 'peer-random', policy = 'peer-random', reason = 'r' },
    ]
    cells = [{ name = 'a', rho = [0.6], balancers = [2] }]
";

fn small() -> (Scenario, Cell) {
    let scenario = Scenario::parse("small", SMALL).unwrap();
    let cell = cells(&scenario).remove(0);
    (scenario, cell)
}

/// Every policy, in a world where everything goes wrong: the same log twice, and the same traffic for all.
#[test]
fn runs_repeat_and_all_meet_the_same_traffic() {
    let (_, cell) = small();
    let reference = run(&cell, policies::find("peer-random").unwrap(), 7).unwrap();
    for policy in POLICIES {
        let (a, b) = (run(&cell, policy, 7).unwrap(), run(&cell, policy, 7).unwrap());
        assert_eq!(a.log, b.log, "{}", policy.name);
        assert_eq!((a.traffic, a.requests), (reference.traffic, reference.requests), "{}", policy.name);
        assert_ne!(a.log, run(&cell, policy, 8).unwrap().log, "{}", policy.name);
        assert!(a.numbers.get(Metric::P99) > 20.0, "{}", policy.name);
        assert!(a.numbers.get(Metric::ErrorShare) < 0.5, "{}", policy.name);
    }
}

#[test]
fn bars_say_what_missed_and_by_how_much() {
    let (scenario, cell) = small();
    let chosen = ["peer-random", "haproxy-leastconn"].map(|name| policies::find(name).unwrap());
    let ran = runs::all(&[cell], &chosen, &[1, 2, 3]).unwrap();
    let judged = judge(&scenario.bars, &ran[0], &ran);
    let found = judged.verdicts;
    assert_eq!(judged.left_out.len(), 1);
    assert_eq!(judged.left_out[0].1, "jiq-slots");
    assert_eq!(found.iter().map(|v| v.passed).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(found[0].against, "1 × haproxy-leastconn");
    assert!(found[0].excess() > 0.0 && (found[2].excess() - 1.0).abs() < 1e-9);
    assert!((1..=3).contains(&found[0].worst_seed));
}

#[test]
fn stored_scenarios_are_sound() {
    let files = stored(Path::new(SCENARIOS)).unwrap();
    assert!(files.len() >= 20, "{}", files.len());
    for file in files {
        let scenario = Scenario::read(&file).unwrap_or_else(|e| panic!("{e:#}"));
        assert!(!cells(&scenario).is_empty());
    }
}
