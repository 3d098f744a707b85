//! What several threads share, in every order in which their steps can fall: not a sample, all of them.
//!
//! Every step here is one atomic operation of the code itself, or a call that makes a single one, so that an order of steps
//! is an order of operations. That is what loom would explore, too, without memory that lags: each of these words is read
//! and changed alone, by operations that see the latest value, so there is nothing to lag behind. Why not loom: ADR 36.

use std::cell::Cell;
use std::collections::BTreeSet;

use crate::rng::Rng;
use crate::tick::Tick;
use crate::trial::Trial;
use crate::turns::{BLOCK, Turns};
use crate::word::AtomicPair;
use crate::{Cause, Load, Outcome, PoolLoad, Ticket};

/// Every order of the steps of threads that have so many each: at each place the thread whose step it is.
pub(crate) fn orders(steps: &[usize]) -> Vec<Vec<usize>> {
    fn extend(left: &mut [usize], so_far: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if left.iter().all(|&left| left == 0) {
            all.push(so_far.clone());
        }
        for thread in 0..left.len() {
            if left[thread] > 0 {
                left[thread] -= 1;
                so_far.push(thread);
                extend(left, so_far, all);
                so_far.pop();
                left[thread] += 1;
            }
        }
    }
    let (mut left, mut all) = (steps.to_vec(), Vec::new());
    extend(&mut left, &mut Vec::new(), &mut all);
    all
}

#[test]
fn orders_are_all_and_each_once() {
    assert_eq!(orders(&[1, 1]), [[0, 1], [1, 0]]);
    let all = orders(&[3, 2, 2]);
    // 7! / (3! · 2! · 2!)
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (210, 210));
}

/// Three workers want the trial, one of them gives it back; the control side offers, asks, and offers again.
#[test]
fn a_trial_has_one_holder_and_each_verdict_is_read_once() {
    for order in orders(&[2, 2, 2, 5]) {
        let (trial, mut holds, mut control) = (Trial::new(), [None::<bool>; 3], 0);
        let (mut reported, mut read, mut offers) = (0, 0, 0);
        for &thread in &order {
            match (thread, holds.get(thread)) {
                (3, _) => {
                    match control {
                        0 | 3 => {
                            trial.offer();
                            offers += 1;
                        }
                        _ => read += u32::from(trial.verdict().is_some()),
                    }
                    control += 1;
                }
                (_, Some(None)) => holds[thread] = Some(trial.take()),
                (_, Some(Some(true))) => {
                    holds[thread] = Some(false);
                    if thread == 1 {
                        trial.give_back();
                    } else {
                        trial.report(thread == 0);
                        reported += 1;
                    }
                }
                _ => {}
            }
            let held = holds.iter().filter(|&&holds| holds == Some(true)).count();
            assert!(held <= 1 && !(held == 1 && trial.offered()), "{order:?}: {held} hold it");
            assert!(
                read <= reported && reported <= offers,
                "{order:?}: {read} read of {reported} of {offers}"
            );
        }
        read += u32::from(trial.verdict().is_some());
        assert_eq!((read, trial.verdict()), (reported, None), "{order:?}");
    }
}

/// Another thread changes the pair between the look and the change, once, twice, many times: nothing is lost.
#[test]
fn a_pair_loses_no_change() {
    fn add(pair: &AtomicPair, between: &Cell<u32>) {
        pair.update(|(a, b)| {
            // The function runs where another thread may come in: between the load and the exchange.
            if between.get() > 0 {
                between.set(between.get() - 1);
                add(pair, between);
            }
            (a + 1, b + 10)
        });
    }
    for others in 0..40 {
        let (pair, between) = (AtomicPair::new(0, 0), Cell::new(others));
        add(&pair, &between);
        assert_eq!(pair.get(), (others + 1, 10 * (others + 1)));
    }
}

/// Two draw across the end of a block while a third maps: no turn twice, and what is drawn alone has no gap.
#[test]
fn a_turn_is_drawn_once() {
    const FIRST: u64 = 1 << 20;
    // Steps: two draws of two (the number, what it maps to), two fills of two (where we are, what to map from there on).
    for order in orders(&[4, 4, 4]) {
        let (turns, own, mut free) = (Turns::default(), Cell::new(BLOCK - 2), FIRST);
        let (mut numbers, mut drawn) = ([None; 2], Vec::new());
        let mut seen = None;
        for &thread in &order {
            match thread {
                2 => match seen.take() {
                    None => seen = Some(own.get()),
                    Some(seen) => {
                        turns.fill(seen, free, 1);
                        free += 1;
                    }
                },
                _ => match numbers[thread].take() {
                    None => numbers[thread] = Some(own.replace(own.get() + 1)),
                    Some(number) => drawn.push(turns.resolve(number)),
                },
            }
        }
        let (alone, shared): (Vec<u64>, Vec<u64>) = drawn.iter().partition(|&&turn| turn < FIRST * BLOCK);
        let distinct: BTreeSet<u64> = shared.iter().copied().collect();
        assert_eq!(distinct.len(), shared.len(), "{order:?}: {drawn:?}");
        assert!(
            shared.iter().all(|turn| (FIRST * BLOCK..free * BLOCK).contains(turn)),
            "{order:?}: {drawn:?}"
        );
        let alone: BTreeSet<u64> = alone.into_iter().collect();
        assert!(alone.iter().copied().eq(0..turns.alone()), "{order:?}: {drawn:?}");
        assert_eq!(alone.len() + distinct.len(), 4, "{order:?}");
    }
}

/// Two requests, one that fails, and two ticks of the control side: what is counted in is counted out.
#[test]
fn loads_count_out_what_they_count_in() {
    for (i, order) in orders(&[3, 3, 2]).iter().enumerate() {
        let (load, pool) = (Load::new(), PoolLoad::default());
        let mut rng = Rng::seeded(i as u64);
        let (mut open, mut step) = ([None::<Ticket>; 2], [0; 2]);
        let mut now = Tick::ZERO;
        for &thread in order {
            now = now.after(std::time::Duration::from_micros(u64::from(rng.below(3_000))));
            match (thread, step.get(thread)) {
                (2, _) => {
                    pool.settle([&load].into_iter(), &mut Vec::new());
                    load.refresh(now, &pool);
                }
                (_, Some(0)) => open[thread] = Some(load.begin(now, &pool)),
                (_, Some(1)) => {
                    let outcome =
                        if thread == 0 { Outcome::Success } else { Outcome::Failure(Cause::Status) };
                    load.observe(now, open[thread].as_ref().unwrap(), outcome, &pool);
                }
                _ => load.end(open[thread].take().unwrap(), &pool),
            }
            step.iter_mut().skip(thread).take(1).for_each(|step| *step += 1);
            let held = open.iter().flatten().count() as u32;
            assert_eq!((load.in_flight(), pool.in_flight()), (held, held), "{order:?}");
            assert!(load.eta() >= 0.0 && load.price() > 0.0 && load.price().is_finite(), "{order:?}");
        }
        assert_eq!(load.expected_in_flight(), 0.0, "{order:?}");
        assert_eq!((load.tallies().good, load.tallies().bad), (1, 1), "{order:?}");
    }
}
