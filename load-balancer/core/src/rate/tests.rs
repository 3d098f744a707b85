//! What holds for every sequence of requests, tried with drawn ones.

use super::*;
use crate::rng::Rng;

const MILLI: u64 = 1_000_000;

fn allowed(debtors: &mut Debtors, rate: &Rate, key: u64, now: Tick) -> bool {
    debtors.take(rate, key, now) == Verdict::Allowed
}

#[test]
fn a_burst_and_then_the_rate() {
    let (rate, mut one) = (Rate::new(10.0, 5), Debtors::new(1));
    assert_eq!((0..20).filter(|_| allowed(&mut one, &rate, 7, Tick::ZERO)).count(), 5);
    assert_eq!(one.take(&rate, 7, Tick::from_millis(60)), Verdict::Limited(Duration::from_millis(40)));
    assert!(allowed(&mut one, &rate, 7, Tick::from_millis(100)));
    // A request that is refused costs nothing, so whoever insists is served at the rate.
    let served = (101..=10_100).filter(|&ms| allowed(&mut one, &rate, 7, Tick::from_millis(ms))).count();
    assert_eq!(served, 100);
    assert_eq!(rate.window(), Duration::from_millis(500));
    assert_eq!(rate.most_within(Duration::from_secs(2)), 25);
}

#[test]
fn waiting_as_long_as_told_is_enough() {
    let mut rng = Rng::seeded(1);
    for _ in 0..1_000 {
        let rate = Rate::new(0.1 + rng.unit() * 1e4, 1 + rng.below(50));
        let (mut one, mut now) = (Debtors::new(1), Tick::from_nanos(rng.next_u64() >> 20));
        for _ in 0..200 {
            match one.take(&rate, 7, now) {
                Verdict::Allowed => now = now.after(Duration::from_nanos(rng.next_u64() >> 44)),
                Verdict::Limited(wait) => {
                    assert!(!wait.is_zero() && wait <= rate.window());
                    now = now.after(wait);
                    assert!(allowed(&mut one, &rate, 7, now), "{rate:?}");
                }
            }
        }
    }
}

/// Whatever else goes on in a table, however small: no key gets more in any span of time than its rate allows.
#[test]
fn nobody_gets_more_by_flooding_the_table() {
    let mut rng = Rng::seeded(2);
    for round in 0..150 {
        let rate = Rate::new(1.0 + rng.unit() * 200.0, 1 + rng.below(20));
        let mut table = Debtors::new(8 << rng.below(3));
        let keys: Vec<u64> = (0..table.room() * 4).map(|_| rng.next_u64()).collect();
        let (mut now, mut granted) = (0, vec![Vec::new(); keys.len()]);
        for _ in 0..4_000 {
            now += rng.next_u64() % (4 * MILLI);
            // Some are asked about far more often than others.
            let at = (rng.below(keys.len() as u32) as usize).min(rng.below(keys.len() as u32) as usize);
            if allowed(&mut table, &rate, keys[at], Tick::from_nanos(now)) {
                granted[at].push(now);
            }
        }
        for times in granted {
            for (i, &from) in times.iter().enumerate() {
                for (j, &to) in times.iter().enumerate().skip(i) {
                    let most = rate.most_within(Duration::from_nanos(to - from));
                    let got = (j - i + 1) as u64;
                    assert!(got <= most, "round {round}: {got} in {} ns, {most} allowed", to - from);
                }
            }
        }
    }
}

#[test]
fn one_who_floods_shuts_nobody_out_for_long() {
    let (rate, mut table) = (Rate::new(10.0, 10), Debtors::new(1_024));
    let mut rng = Rng::seeded(3);
    // Four times as many keys as there is room for, each with its whole burst.
    for _ in 0..table.room() * 4 {
        let key = rng.next_u64();
        for _ in 0..10 {
            table.take(&rate, key, Tick::ZERO);
        }
    }
    let served = |table: &mut Debtors, key: u64, ms: u64| {
        (0..10).filter(|_| allowed(table, &rate, key, Tick::from_millis(ms))).count()
    };
    let newcomers: Vec<u64> = (0..50).map(|_| rng.next_u64()).collect();
    assert!(newcomers.iter().all(|&key| served(&mut table, key, 0) == 0), "the table is full of debts");
    let served: usize = newcomers.iter().map(|&key| served(&mut table, key, 1_000)).sum();
    assert_eq!(served, 500, "after the time of one burst all is as it was");
}

#[test]
fn a_table_has_the_room_that_was_asked_for_and_keeps_that_many() {
    for keys in [1, 8, 9, 1_000] {
        assert!(Debtors::new(keys).room() >= keys);
    }
    let (rate, mut table) = (Rate::new(1.0, 1), Debtors::new(4_096));
    let mut rng = Rng::seeded(4);
    let keys: Vec<u64> = (0..1_024).map(|_| rng.next_u64()).collect();
    keys.iter().for_each(|&key| assert!(allowed(&mut table, &rate, key, Tick::ZERO), "a quarter full"));
    keys.iter().for_each(|&key| assert!(!allowed(&mut table, &rate, key, Tick::ZERO)));
}

/// Balancers that each enforce the whole limit and charge each other's use a while later: the bound of
/// `docs/SHARED-STATE.md` holds for every rate, delay and way in which requests are spread over them.
#[test]
fn what_is_charged_late_is_over_by_no_more_than_the_bound() {
    let mut rng = Rng::seeded(5);
    for round in 0..200 {
        let rate = Rate::new(1.0 + rng.unit() * 300.0, 1 + rng.below(40));
        let count = 2 + rng.below(4) as usize;
        let mut tables: Vec<Debtors> = (0..count).map(|_| Debtors::new(8)).collect();
        let every = (100 + u64::from(rng.below(1_000))) * MILLI;
        let (mut pending, mut told) = (vec![0_u32; count], vec![0; count]);
        let (mut now, mut granted) = (0, Vec::new());
        let steady = rng.below(2) == 0;
        while now < 20_000 * MILLI {
            now += 1 + rng.next_u64() % (3 * MILLI);
            let tick = Tick::from_nanos(now);
            let at = if steady {
                rng.below(count as u32) as usize
            } else {
                (now / (700 * MILLI)) as usize % count
            };
            if allowed(&mut tables[at], &rate, 7, tick) {
                granted.push(now);
                pending[at] += 1;
            }
            for who in 0..count {
                if now - told[who] >= every {
                    told[who] = now;
                    let used = std::mem::take(&mut pending[who]);
                    for (other, table) in tables.iter_mut().enumerate().filter(|(other, _)| *other != who) {
                        assert_ne!(other, who);
                        table.charge(&rate, 7, tick, used);
                    }
                }
            }
        }
        let late = rate.most_within(Duration::from_nanos(every + 3 * MILLI));
        for (i, &from) in granted.iter().enumerate().step_by(17) {
            for (j, &to) in granted.iter().enumerate().skip(i).step_by(13) {
                let most = rate.most_within(Duration::from_nanos(to - from)) + (count as u64 - 1) * late;
                let got = (j - i + 1) as u64;
                assert!(got <= most, "round {round}: {got} in {} ns, {most} allowed", to - from);
            }
        }
        // It is no free pass either: over a long time the rate holds.
        let most = rate.most_within(Duration::from_nanos(now)) + (count as u64 - 1) * late;
        assert!(granted.len() as u64 <= most);
    }
}
