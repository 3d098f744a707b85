//! One backend's numbers, moment by moment: what they come to, what is forgotten and when.

use super::*;

fn at(ms: u64) -> Tick {
    Tick::from_millis(ms)
}

#[test]
fn tickets_balance() {
    let (load, pool) = (Load::new(), PoolLoad::default());
    let tickets: Vec<_> = (0..5).map(|ms| load.begin(at(ms), &pool)).collect();
    assert_eq!((load.in_flight(), pool.in_flight()), (5, 5));
    for t in tickets {
        load.end(t, &pool);
    }
    assert_eq!((load.in_flight(), pool.in_flight()), (0, 0));
    assert_eq!(load.eta(), 0.0);
}

#[test]
fn a_failure_weighs_like_a_request_and_is_forgotten() {
    let (load, pool) = (Load::new(), PoolLoad::default());
    let t = load.begin(at(0), &pool);
    load.observe(at(1), &t, Outcome::Failure(Cause::Status), &pool);
    load.end(t, &pool);
    assert_eq!(load.pressure(), 1.0);
    load.refresh(at(1_001), &pool);
    assert!((0.3..0.4).contains(&load.pressure()));
    load.refresh(at(4_000), &pool);
    assert_eq!(load.pressure(), 0.0);
}

#[test]
fn the_pool_knows_at_once_whether_failures_weigh() {
    let (load, other, pool) = (Load::new(), Load::new(), PoolLoad::default());
    let both = || [&other, &load].into_iter();
    let t = load.begin(at(0), &pool);
    assert!(!pool.indebted());
    load.observe(at(1), &t, Outcome::Failure(Cause::Status), &pool);
    load.end(t, &pool);
    assert!(pool.indebted());
    for (ms, left) in [(1_001, true), (4_000, false)] {
        both().for_each(|load| load.refresh(at(ms), &pool));
        pool.settle_debts(&both());
        assert_eq!(pool.indebted(), left, "after {ms} ms");
    }
}

#[test]
fn a_new_server_starts_with_a_clean_name() {
    let (load, pool) = (Load::new(), PoolLoad::default());
    let held = load.begin(at(0), &pool);
    for ms in 0..50 {
        let t = load.begin(at(ms), &pool);
        load.observe(at(ms), &t, Outcome::Failure(Cause::Status), &pool);
        load.end(t, &pool);
    }
    assert!(load.price() > 50.0 && load.failure_debt() > 10.0);
    load.forget(at(60), &pool);
    assert_eq!((load.price(), load.failure_debt(), load.in_flight()), (1.0, 0.0, 1));
    load.end(held, &pool);
}

#[test]
fn runs_end_with_an_answer() {
    let (load, pool) = (Load::new(), PoolLoad::default());
    let tell = |ms, outcome| {
        let t = load.begin(at(ms), &pool);
        load.observe(at(ms), &t, outcome, &pool);
        load.end(t, &pool);
        load.tallies()
    };
    tell(0, Outcome::Failure(Cause::Connect));
    let seen = tell(1, Outcome::Failure(Cause::Connect));
    assert_eq!((seen.run, seen.connects, seen.cause), (2, 2, Some(Cause::Connect)));
    let seen = tell(2, Outcome::Failure(Cause::Reset));
    assert_eq!((seen.run, seen.connects, seen.cause), (3, 0, Some(Cause::Reset)));
    let seen = tell(3, Outcome::Success);
    assert_eq!((seen.good, seen.bad, seen.run), (1, 3, 0));
}

#[test]
fn a_full_backend_is_held_after_a_few_such_answers() {
    let (load, pool) = (Load::new(), PoolLoad::default());
    let tell = |ms, outcome| {
        let t = load.begin(at(ms), &pool);
        load.observe(at(ms), &t, outcome, &pool);
        load.end(t, &pool);
    };
    let full = Outcome::Saturated(Duration::from_secs(2));
    for (ms, outcome) in (0u64..).zip([full, full, Outcome::Success, full, full]) {
        tell(ms, outcome);
    }
    assert_eq!(load.held(at(5)), None);
    tell(5, full);
    assert_eq!(load.held(at(1_005)), Some(Duration::from_secs(1)));
    assert_eq!(load.held(at(2_005)), None);
    assert_eq!((load.tallies().bad, load.tallies().run), (0, 0), "full is not broken");
}

/// Stamps repeat after 49.7 days and look younger than they are for half of that: nothing forgotten may come back.
#[test]
fn what_is_over_does_not_return_after_weeks() {
    let (load, pool) = (Load::new(), PoolLoad::default());
    for outcome in [Outcome::Failure(Cause::Status), Outcome::Saturated(Duration::from_secs(1))] {
        for _ in 0..tally::SATURATED_RUN {
            let t = load.begin(at(0), &pool);
            load.observe(at(0), &t, outcome, &pool);
            load.end(t, &pool);
        }
    }
    assert!(load.held(at(1)).is_some() && load.failure_debt() > 0.0);
    for hour in 0..(80 * 24) {
        let now = at(10_000 + hour * 3_600_000);
        load.refresh(now, &pool);
        assert_eq!((load.held(now), load.failure_debt()), (None, 0.0), "hour {hour}");
    }
}

#[test]
fn a_stall_shows_before_anything_returns() {
    let (load, pool) = (Load::new(), PoolLoad::default());
    for ms in 0..20 {
        let t = load.begin(at(ms), &pool);
        load.observe(at(ms + 1), &t, Outcome::Success, &pool);
        load.end(t, &pool);
    }
    pool.settle(std::iter::once(&load), &mut Vec::new());
    let stuck: Vec<_> = (0..4).map(|_| load.begin(at(30), &pool)).collect();
    load.refresh(at(31), &pool);
    assert!(load.price() < 1.5, "too early to tell");
    load.refresh(at(130), &pool);
    assert!(load.price() > 50.0, "{}", load.price());
    for t in stuck {
        load.end(t, &pool);
    }
}

/// Failures are priced by the pool's latency; it must not be priced by them in turn.
#[test]
fn an_outage_does_not_spiral() {
    let (load, pool) = (Load::new(), PoolLoad::default());
    let run = |from: std::ops::Range<u64>, outcome| {
        for ms in from {
            let t = load.begin(at(ms), &pool);
            load.observe(at(ms + 2), &t, outcome, &pool);
            load.end(t, &pool);
            pool.settle(std::iter::once(&load), &mut Vec::new());
            load.refresh(at(ms + 2), &pool);
        }
    };
    run(0..1_000, Outcome::Success);
    run(1_000..60_000, Outcome::Failure(Cause::Status));
    assert_eq!(pool.latency(), 2_000.0);
    assert!((9_000.0..11_000.0).contains(&load.latency()), "{}", load.latency());
    run(60_000..65_000, Outcome::Success);
    assert!((1_900.0..2_200.0).contains(&load.latency()), "{}", load.latency());
}

#[test]
fn the_window_forgets() {
    let (load, pool) = (Load::new(), PoolLoad::default());
    let run = |from: u64, took: u64| {
        let t = load.begin(at(from), &pool);
        load.complete(at(from + took), &t);
        load.end(t, &pool);
        load.refresh(at(from + took), &pool);
    };
    (0..100).for_each(|i| run(i * 100, 50));
    assert!((49_000.0..51_000.0).contains(&load.mean_duration.get()));
    (100..300).for_each(|i| run(i * 100, 5));
    assert!((4_000.0..6_000.0).contains(&load.mean_duration.get()), "{}", load.mean_duration.get());
    (30_000..41_000).step_by(20).for_each(|ms| load.refresh(at(ms), &pool));
    assert_eq!(load.mean_duration.get(), 0.0, "without traffic too");
}

#[test]
fn the_pool_is_its_median() {
    let pool = PoolLoad::default();
    let loads: Vec<Load> = [1u64, 2, 3, 400]
        .iter()
        .map(|&ms| {
            let load = Load::new();
            let t = load.begin(at(0), &pool);
            load.observe(at(ms), &t, Outcome::Success, &pool);
            load.end(t, &pool);
            load
        })
        .collect();
    pool.settle(loads.iter(), &mut Vec::new());
    assert_eq!(pool.latency(), 2_000.0);
}

/// A backend that nobody has measured is priced like its pool, wherever it is: the way there is not its fault, nor its merit.
#[test]
fn an_unknown_backend_near_or_far_is_an_ordinary_one() {
    let pool = PoolLoad::default();
    let loads: Vec<Load> = (0..6).map(|_| Load::new()).collect();
    for (n, load) in loads.iter().enumerate() {
        let far = n >= 2;
        load.rate(1.0, if far { 60_000.0 } else { 0.0 });
        if n == 0 || n == 5 {
            continue;
        }
        let t = load.begin(at(0), &pool);
        load.observe(at(if far { 80 } else { 20 }), &t, Outcome::Success, &pool);
        load.end(t, &pool);
    }
    pool.settle(loads.iter(), &mut Vec::new());
    for load in &loads {
        load.refresh(at(100), &pool);
        assert!((load.price() - 1.0).abs() < 0.05, "{}", load.price());
    }
}

/// A count that somebody reported weeks ago must not look new when stamps repeat.
#[test]
fn what_others_had_is_forgotten_for_good() {
    let (load, pool) = (Load::new(), PoolLoad::default());
    let report = Report { in_flight: Some(40.0), ..Report::default() };
    load.scraped(at(10), &report);
    assert_eq!(load.others(), 40.0);
    for hour in 0..(60 * 24) {
        load.refresh(at(300_000 + hour * 3_600_000), &pool);
        assert_eq!(load.others(), 0.0, "hour {hour}");
    }
}
