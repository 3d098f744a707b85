//! Who gets how much: fair shares busy and idle, whatever the pool's order and size, and the same again from one seed.

use std::time::Duration;

use lb_core::Tick;

use crate::promises::{Promises, Share};
use crate::stats::{chi_square, expected, near};
use crate::world::{Arrivals, Law, Scenario, Server, Subject, run, server};

/// The demo's weights.
const WEIGHTS: [u32; 6] = [2, 3, 1, 3, 4, 2];
/// Time between requests that never meet: longer than any service time of the idle scenarios.
const APART: Arrivals = Arrivals::Every(Duration::from_millis(5));

fn weighted(mean_micros: u64, law: Law, slots_per_weight: usize) -> Vec<Server> {
    let one = |&w: &u32| server(mean_micros).law(law).weight(w).slots(w as usize * slots_per_weight);
    WEIGHTS.iter().map(one).collect()
}

/// With nothing in flight, every pick is a free choice: it must follow the weights (or their absence), draw by draw.
pub(crate) fn idle_shares(subject: &dyn Subject, promises: Promises) -> Result<(), String> {
    let scenario = Scenario::new(weighted(1_000, Law::Steady, 2), APART, Tick::from_millis(60_000));
    let record = run(subject, &scenario);
    let due = expected(promises.share, &scenario.servers);
    if promises.share == Share::OnRing {
        return near(&record.shares_from(Tick::ZERO), &due, 0.2);
    }
    chi_square(&record.counts(Tick::ZERO, scenario.end), &due)
}

/// The same where service times scatter: no backend may lose much to chance in its samples.
pub(crate) fn idle_shares_with_scatter(subject: &dyn Subject, promises: Promises) -> Result<(), String> {
    let servers: Vec<Server> = weighted(1_000, Law::Exponential, 2);
    let scenario =
        Scenario::new(servers, Arrivals::Every(Duration::from_millis(10)), Tick::from_millis(100_000));
    let shares = run(subject, &scenario).shares_from(Tick::ZERO);
    near(&shares, &expected(promises.share, &scenario.servers), 0.25)
}

/// At 70 % of a capacity that matches the weights, picks match them too: roughly, since a request more or less is a
/// larger step for a small backend, and a policy that minds the queue rightly favours the larger ones.
pub(crate) fn busy_shares(subject: &dyn Subject, promises: Promises) -> Result<(), String> {
    let servers = weighted(10_000, Law::Exponential, 6);
    let scenario = Scenario::new(servers, Arrivals::PerSecond(6_300.0), Tick::from_millis(6_000));
    let shares = run(subject, &scenario).shares_from(Tick::from_millis(1_000));
    near(&shares, &expected(promises.share, &scenario.servers), 0.3)
}

/// The order in which a pool lists its backends decides nothing: not idle, and not with a hung one anywhere in it.
pub(crate) fn order_decides_nothing(subject: &dyn Subject, promises: Promises) -> Result<(), String> {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let mut hung = vec![server(10_000), server(10_000), server(10_000)];
    hung[1] = server(10_000).hung();
    let even = vec![server(1_000).law(Law::Steady); 3];
    let scenarios = [
        ("with one hung", Scenario::new(hung, Arrivals::PerSecond(600.0), Tick::from_millis(5_000))),
        ("idle", Scenario::new(even, APART, Tick::from_millis(15_000))),
    ];
    for (what, scenario) in scenarios {
        let first = run(subject, &scenario).shares_from(Tick::ZERO);
        for order in &ORDERS[1..] {
            let again = run(subject, &scenario.clone().ordered(order)).shares_from(Tick::ZERO);
            if first.iter().zip(&again).any(|(a, b)| (a - b).abs() > 0.1) {
                return Err(format!(
                    "{what}: shares {first:.3?} listed in order, {again:.3?} listed as {order:?}"
                ));
            }
        }
        if what == "idle" && promises.share != Share::OnRing {
            near(&first, &[1.0 / 3.0; 3], 0.1)?;
        }
    }
    Ok(())
}

/// Beyond the size that is scanned in full, weights hold and a slow backend is still avoided.
pub(crate) fn large_pools(subject: &dyn Subject, promises: Promises) -> Result<(), String> {
    const SLOW: usize = 77;
    let one = |i: usize| {
        let weight = if i.is_multiple_of(2) { 1 } else { 3 };
        server(if i == SLOW { 100_000 } else { 10_000 }).weight(weight).slots(2 * weight as usize)
    };
    let servers: Vec<Server> = (0..200).map(one).collect();
    let heavy = |shares: &[f64]| shares.iter().skip(1).step_by(2).sum::<f64>();
    let due = expected(promises.share, &servers);
    let busy = Scenario::new(servers, Arrivals::PerSecond(32_000.0), Tick::from_millis(1_500));
    let shares = run(subject, &busy).shares_from(Tick::from_millis(300));
    near(&[heavy(&shares)], &[heavy(&due)], 0.1).map_err(|e| format!("busy, heavy half: {e}"))?;
    if promises.load_aware && shares[SLOW] > 0.5 * due[SLOW] {
        return Err(format!("a slow one of 200 kept {:.5} of the picks, due {:.5}", shares[SLOW], due[SLOW]));
    }
    let mut servers = busy.servers;
    servers.iter_mut().for_each(|s| (s.mean, s.law) = (Duration::from_millis(1), Law::Steady));
    let idle = run(subject, &Scenario::new(servers, APART, Tick::from_millis(50_000)));
    let shares = idle.shares_from(Tick::ZERO);
    near(&[heavy(&shares)], &[heavy(&due)], 0.05).map_err(|e| format!("idle, heavy half: {e}"))?;
    match promises.share {
        Share::OnRing => Ok(()),
        _ => chi_square(&idle.counts(Tick::ZERO, Tick::from_nanos(u64::MAX)), &due),
    }
}

/// The same seed gives the same picks, one by one.
pub(crate) fn replays(subject: &dyn Subject, _: Promises) -> Result<(), String> {
    let mut servers = weighted(10_000, Law::Exponential, 2);
    servers[0] = server(400).fails_in_micros(400);
    let scenario = Scenario::new(servers, Arrivals::PerSecond(1_500.0), Tick::from_millis(1_000));
    if run(subject, &scenario) == run(subject, &scenario) {
        return Ok(());
    }
    Err("one seed, two outcomes".into())
}
