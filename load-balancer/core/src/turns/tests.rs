//! Several balancers drawing from one order, in every interleaving that chance brings: each turn once, shares within the bound.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use super::*;
use crate::rng::Rng;

/// A balancer with its own count of turns.
#[derive(Default)]
struct One {
    turns: Turns,
    own: u64,
    before: u64,
}

impl One {
    fn draw(&mut self) -> (u64, bool) {
        let alone = self.turns.alone();
        let turn = self.turns.resolve(self.own);
        self.own += 1;
        (turn, self.turns.alone() > alone)
    }

    /// What a round with the others does.
    fn round(&mut self, free: &mut u64) {
        let demand = self.own - self.before;
        self.before = self.own;
        let n = self.turns.want(self.own, demand);
        self.turns.fill(self.own, *free, n);
        *free += n;
    }
}

/// Pieces of turns below the highest that were not drawn.
fn pieces(drawn: &BTreeSet<u64>) -> u64 {
    let mut next = 0;
    drawn.iter().filter(|&&turn| turn != std::mem::replace(&mut next, turn + 1)).count() as u64
}

/// The largest difference of shares for a pool of up to nine, each held against `bound`.
fn hold(drawn: &(impl Iterator<Item = u64> + Clone), bound: u64, what: &str) {
    for n in 1..10u64 {
        let mut shares = vec![0u64; n as usize];
        drawn.clone().for_each(|turn| shares[(turn % n) as usize] += 1);
        let difference = shares.iter().max().unwrap() - shares.iter().min().unwrap();
        assert!(difference <= bound, "{what}: {shares:?} differ by more than {bound}");
    }
}

#[test]
fn alone_with_a_store_of_its_own_a_balancer_counts_as_ever() {
    let (mut one, mut free) = (One::default(), 0);
    one.round(&mut free);
    for turn in 0..1_000_000 {
        if turn % 10_000 == 0 {
            one.round(&mut free);
        }
        assert_eq!(one.draw(), (turn, false));
    }
}

#[test]
fn shares_stay_within_two_a_balancer_and_one() {
    for seed in 0..12 {
        let mut rng = Rng::seeded(seed);
        let m = 1 + rng.below(5) as usize;
        let mut all: Vec<One> = (0..m).map(|_| One::default()).collect();
        let (mut free, mut drawn) = (rng.below(1_000).into(), BTreeSet::new());
        let start = free * BLOCK;
        all.iter_mut().for_each(|one| one.round(&mut free));
        // Different rates, the same from round to round.
        let rates: Vec<u32> = (0..m).map(|_| 1 + rng.below(4_000)).collect();
        for _ in 0..12 {
            let mut due: Vec<u32> = rates.clone();
            while due.iter().any(|&left| left > 0) {
                let at = rng.below(m as u32) as usize;
                let burst = due[at].min(1 + rng.below(300));
                for _ in 0..burst {
                    let (turn, alone) = all[at].draw();
                    assert!(!alone && drawn.insert(turn - start), "{turn} twice or alone");
                }
                due[at] -= burst;
            }
            all.iter_mut().for_each(|one| one.round(&mut free));
            assert!(pieces(&drawn) <= 2 * m as u64, "{} pieces of {m}", pieces(&drawn));
            hold(&drawn.iter().map(|turn| turn + start), 2 * m as u64 + 1, &format!("seed {seed}"));
        }
    }
}

#[test]
fn whoever_runs_dry_goes_on_alone_and_the_pieces_still_bound_the_shares() {
    for seed in 0..12 {
        let mut rng = Rng::seeded(1_000 + seed);
        let m = 1 + rng.below(4) as usize;
        let mut all: Vec<One> = (0..m).map(|_| One::default()).collect();
        let (mut free, mut drawn, mut lone) = (0, BTreeSet::new(), vec![Vec::new(); m]);
        for _ in 0..1_500 {
            let at = rng.below(m as u32) as usize;
            if rng.below(60) == 0 {
                all[at].round(&mut free);
            }
            for _ in 0..rng.below(400) {
                match all[at].draw() {
                    (turn, true) => lone[at].push(turn),
                    (turn, false) => assert!(drawn.insert(turn), "{turn} twice"),
                }
            }
        }
        assert!(lone.iter().any(|turns| !turns.is_empty()), "nobody ran dry");
        for (one, turns) in all.iter().zip(&lone) {
            assert!(turns.iter().copied().eq(0..one.turns.alone()), "an order of its own without a gap");
        }
        let bound = 1 + pieces(&drawn) + m as u64;
        hold(&drawn.iter().chain(lone.iter().flatten()).copied(), bound, &format!("seed {seed}"));
    }
}

/// Threads that draw while another one maps: no turn twice, none lost but those nobody drew.
#[test]
fn threads_draw_each_turn_once() {
    // Far above whatever is drawn alone, so that the two can be told apart.
    const FIRST: u64 = 1 << 20;
    let (turns, own) = (Turns::default(), AtomicU64::new(0));
    turns.fill(0, FIRST, 512);
    let drawn: Vec<u64> = std::thread::scope(|scope| {
        let draw = || (0..100_000).map(|_| turns.resolve(own.fetch_add(1, Relaxed))).collect::<Vec<_>>();
        let drawers: Vec<_> = (0..3).map(|_| scope.spawn(draw)).collect();
        let mut free = FIRST + 512;
        while own.load(Relaxed) < 300_000 {
            let now = own.load(Relaxed);
            let n = turns.want(now, 60_000);
            turns.fill(now, free, n);
            free += n;
            std::thread::yield_now();
        }
        drawers.into_iter().flat_map(|drawer| drawer.join().unwrap()).collect()
    });
    let (alone, shared): (Vec<u64>, Vec<u64>) = drawn.iter().partition(|&&turn| turn < FIRST * BLOCK);
    let distinct: BTreeSet<u64> = shared.iter().copied().collect();
    assert_eq!((distinct.len() + alone.len(), alone.len() as u64), (300_000, turns.alone()));
    assert!(shared.len() > 100_000, "{} of 300,000", shared.len());
    let lone: BTreeSet<u64> = alone.into_iter().collect();
    assert!(lone.iter().copied().eq(0..turns.alone()), "an order of its own without a gap");
}

#[test]
fn a_slot_of_another_lap_is_no_turn() {
    let turns = Turns::default();
    turns.fill(0, 7, 1);
    assert_eq!(turns.resolve(3), 7 * BLOCK + 3);
    assert_eq!(turns.resolve(SLOTS * BLOCK), 0, "the same slot, a lap later");
    turns.fill(SLOTS * BLOCK, 900, SLOTS + 5);
    assert_eq!((turns.lead(SLOTS * BLOCK), turns.resolve(SLOTS * BLOCK)), (SLOTS, 900 * BLOCK));
    assert_eq!(turns.alone(), 1);
}
