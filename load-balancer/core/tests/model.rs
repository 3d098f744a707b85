//! Random operations against models too simple to be wrong. Every run is seeded; a failure names its seed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lb_core::alias::Alias;
use lb_core::hash::{hash64, mix64};
use lb_core::retry::RetryBudget;
use lb_core::ring::Ring;
use lb_core::{Cause, Load, Outcome, PoolLoad, Rng, Tick, Ticket};

/// One request in flight, as the model knows it.
struct Open {
    load: usize,
    ticket: Ticket,
    /// What it added to its load's eta (µs).
    added: f32,
}

/// Counts follow the model through any interleaving, every number stays sane, and nothing is left when all is over.
#[test]
fn loads_never_drift() {
    for seed in 0..60 {
        let mut rng = Rng::seeded(seed);
        let pool = PoolLoad::default();
        let loads: Vec<Load> = (0..1 + rng.below(4)).map(|_| Load::new()).collect();
        let mut open: Vec<Open> = Vec::new();
        let mut now = Tick::ZERO;
        for step in 0..600 {
            now = now.after(Duration::from_micros(u64::from(rng.below(40_000))));
            match rng.below(10) {
                0..4 => {
                    let load = rng.below(loads.len() as u32) as usize;
                    let before = loads[load].eta();
                    let ticket = loads[load].begin(now, &pool);
                    open.push(Open { load, ticket, added: loads[load].eta() - before });
                }
                4..8 if !open.is_empty() => {
                    let Open { load, ticket, added } =
                        open.swap_remove(rng.below(open.len() as u32) as usize);
                    let load = &loads[load];
                    match rng.below(4) {
                        0 => load.observe(now, &ticket, Outcome::Failure(Cause::Status), &pool),
                        1 => {} // the client went away: nothing is learned
                        _ => {
                            load.observe(now, &ticket, Outcome::Success, &pool);
                            load.complete(now.after(Duration::from_millis(1)), &ticket);
                        }
                    }
                    let before = load.eta();
                    load.end(ticket, &pool);
                    let freed = before - load.eta();
                    assert!((freed - added).abs() <= 1.0 + before / 1e5, "seed {seed}: {freed} for {added}");
                }
                _ => {
                    pool.settle(loads.iter(), &mut Vec::new());
                    loads.iter().for_each(|load| load.refresh(now, &pool));
                }
            }
            check(&loads, &open, &pool, now, &format!("seed {seed}, step {step}"));
        }
        for Open { load, ticket, .. } in open.drain(..) {
            loads[load].end(ticket, &pool);
        }
        let later = now.after(Duration::from_secs(60));
        for load in &loads {
            load.refresh(later, &pool);
            assert_eq!((load.in_flight(), load.eta(), load.failure_debt()), (0, 0.0, 0.0), "seed {seed}");
        }
        assert_eq!(pool.in_flight(), 0, "seed {seed}");
    }
}

fn check(loads: &[Load], open: &[Open], pool: &PoolLoad, now: Tick, at: &str) {
    assert_eq!(pool.in_flight() as usize, open.len(), "{at}");
    for (i, load) in loads.iter().enumerate() {
        let (held, added) = open
            .iter()
            .filter(|o| o.load == i)
            .fold((0, 0.0), |(held, added), o| (held + 1, added + o.added));
        assert_eq!(load.in_flight(), held, "{at}");
        assert!(load.eta() >= added * 0.999 - 1.0, "{at}: eta {} below {added}", load.eta());
        let ranges = [
            ("eta", load.eta(), 0.0, 1e12),
            ("debt", load.failure_debt(), 0.0, 1e4),
            ("latency", load.latency(), 0.0, 1e9),
            ("price", load.price(), 1e-3, 1e6),
            ("success", load.success(now), 0.02, 1.0),
        ];
        for (what, value, low, high) in ranges {
            assert!((low..=high).contains(&value), "{at}: {what} is {value}");
        }
    }
}

/// The same from several threads at once: whatever races there are, the counts come back to zero.
#[test]
fn loads_balance_across_threads() {
    let (load, pool) = (Arc::new(Load::new()), Arc::new(PoolLoad::default()));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (load, pool) = (Arc::clone(&load), Arc::clone(&pool));
            scope.spawn(move || {
                let mut rng = Rng::seeded(thread);
                let mut open = Vec::new();
                for ms in 0..20_000 {
                    let now = Tick::from_millis(ms);
                    open.push(load.begin(now, &pool));
                    if rng.below(3) == 0 {
                        for ticket in open.drain(..) {
                            load.observe(now, &ticket, Outcome::Success, &pool);
                            load.end(ticket, &pool);
                        }
                    }
                    if thread == 0 {
                        load.refresh(now, &pool);
                    }
                }
                open.into_iter().for_each(|ticket| load.end(ticket, &pool));
            });
        }
    });
    assert_eq!((load.in_flight(), load.eta(), pool.in_flight()), (0, 0.0, 0));
}

/// In no stretch of time are more retries granted than the reserve, the share of its requests and its seconds allow;
/// and after a refusal, waiting for one token's time is enough.
#[test]
fn retries_stay_within_every_window() {
    for seed in 0..40 {
        let mut rng = Rng::seeded(seed);
        let (ratio, per_second) = (f64::from(rng.below(5)) / 10.0, f64::from(rng.below(4)));
        let mut budget = RetryBudget::new(ratio, per_second);
        let reserve = 10.0 * per_second;
        let mut now = Tick::ZERO;
        // Per event: when, requests so far, retries granted so far.
        let mut history = vec![(now, 0.0, 0.0)];
        for _ in 0..300 {
            now = now.after(Duration::from_millis(u64::from(rng.below(300))));
            let &(_, mut requests, mut granted) = history.last().unwrap();
            if rng.below(2) == 0 {
                budget.deposit(now);
                requests += 1.0;
            } else if budget.withdraw(now) {
                granted += 1.0;
            } else if per_second > 0.0 {
                now = now.after(Duration::from_secs_f64(1.001 / per_second));
                assert!(budget.withdraw(now), "seed {seed}: a token's time has passed");
                granted += 1.0;
            }
            for &(then, _, granted_then) in &history {
                let seconds = now.since(then).as_secs_f64();
                // What requests earned up to ten seconds before `then` may still be there.
                let old = history.iter().rev().find(|(at, ..)| then.since(*at) > Duration::from_secs(10));
                let earned = ratio * (requests - old.map_or(0.0, |&(_, requests, _)| requests));
                let allowed = reserve + earned + per_second * seconds + 1e-6;
                // Up to the event before `then`, time not yet credited counts too: one event's worth.
                let slack = 0.3 * per_second + 1.0;
                assert!(granted - granted_then <= allowed + slack, "seed {seed}");
            }
            history.push((now, requests, granted));
        }
    }
}

/// Draws follow any weights, and what weighs nothing is never drawn.
#[test]
fn alias_tables_follow_their_weights() {
    for seed in 0..25 {
        let mut rng = Rng::seeded(seed);
        let weights: Vec<u32> = (0..1 + rng.below(20)).map(|_| rng.below(5) * (1 + rng.below(50))).collect();
        let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        let table = Alias::new(&weights);
        let mut seen = vec![0u32; weights.len()];
        for _ in 0..20_000 {
            match table.draw(&mut rng) {
                Some(i) => seen[i as usize] += 1,
                None => assert_eq!(total, 0.0, "seed {seed}"),
            }
        }
        for (&n, &w) in seen.iter().zip(&weights).filter(|_| total > 0.0) {
            let due = 20_000.0 * f64::from(w) / total;
            let off = (f64::from(n) - due).abs();
            assert!(off <= 5.0 * due.sqrt() && (w > 0 || n == 0), "seed {seed}: {seen:?} for {weights:?}");
        }
    }
}

/// A walk is a search of the sorted circle for the next point, and the next, whoever is left out of it.
#[test]
fn ring_walks_match_a_search() {
    for seed in 0..60 {
        let mut rng = Rng::seeded(seed);
        let per_weight = 1 + rng.below(30);
        let members: Vec<(u64, u32)> =
            (0..1 + rng.below(8)).map(|i| (hash64(format!("{seed}/{i}").as_bytes()), rng.below(4))).collect();
        let ring = Ring::new(members.iter().copied(), per_weight);
        let mut circle: BTreeMap<(u64, u32), ()> = BTreeMap::new();
        for (i, &(name, weight)) in members.iter().enumerate() {
            for j in 0..u64::from(weight * per_weight) {
                circle.insert((mix64(name ^ mix64(j + 1)) >> 32, i as u32), ());
            }
        }
        for _ in 0..100 {
            let (hash, left_out) = (rng.next_u64(), rng.below(256));
            let usable = |i: &u32| left_out & (1 << i) == 0;
            let from = (hash >> 32, 0);
            let searched: Vec<u32> = circle
                .range(from..)
                .chain(circle.range(..from))
                .map(|(&(_, i), ())| i)
                .filter(usable)
                .collect();
            let walked: Vec<u32> = ring.walk(hash).filter(usable).collect();
            assert_eq!(walked, searched, "seed {seed}");
        }
    }
}
