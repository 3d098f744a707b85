//! Capacities held against servers whose true ones are known, and against reports that are late, frozen, lies or garbage.

use super::*;
use crate::rng::Rng;

/// Half of the median, beyond what counts as noise.
const HALF: f64 = 0.5 * (1.0 + DEAD_BAND);

/// A backend that does `rate` good answers a second at full use and gets `share` of that.
struct Server {
    rate: f64,
    share: f64,
    /// What it reports instead of its utilisation, as a factor.
    lie: f64,
    good: f64,
    meter: Meter,
    latency: f64,
}

impl Server {
    fn new(rate: f64) -> Self {
        Server { rate, share: 0.5, lie: 1.0, good: 0.0, meter: Meter::default(), latency: 1.0 }
    }
}

/// Seconds `from..to`, one report a second; what the last one made of them.
fn run(servers: &mut [Server], from: u64, to: u64, report: bool) -> Vec<Standing> {
    let rules = Rules { interval: Duration::from_secs(1), ..Rules::default() };
    let mut standings = Vec::new();
    for second in from..to {
        let now = Tick::from_millis(second * 1_000);
        for (i, s) in servers.iter_mut().enumerate() {
            s.good += s.rate * s.share;
            // Digits move, as those of a real exporter do.
            let wobble = 1.0 + 0.001 * ((second * 7 + i as u64) % 5) as f64;
            let cpu = Some(s.share * s.lie * wobble);
            if report {
                let _ = s.meter.scraped(now, &Report { cpu, ..Report::default() }, s.good as u32);
            } else {
                s.meter.missed();
            }
        }
        let mut pool: Vec<Candidate<'_>> = servers
            .iter_mut()
            .map(|s| Candidate { meter: &mut s.meter, latency: s.latency, good: s.good as u32, ready: true })
            .collect();
        standings = stand(now, &rules, &mut pool);
    }
    standings
}

fn close(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < 0.03
}

#[test]
fn capacity_is_what_was_done_over_how_busy_it_made() {
    let mut servers: Vec<Server> = [100.0, 200.0, 400.0].map(Server::new).into();
    (servers[0].share, servers[2].share) = (0.9, 0.3);
    let seen = run(&mut servers, 1, 60, true);
    let capacities: Vec<f64> = seen.iter().map(|s| s.capacity).collect();
    assert!(close(capacities[0], HALF) && close(capacities[1], 1.0), "{capacities:?}");
    assert!(close(capacities[2], 1.0 / HALF) && seen.iter().all(|s| s.mode == Mode::Fresh), "{seen:?}");
}

#[test]
fn the_ladder_goes_down_rung_by_rung() {
    let mut servers: Vec<Server> = [100.0, 200.0, 200.0].map(Server::new).into();
    run(&mut servers, 1, 60, true);
    let at = |servers: &mut [Server], second| run(servers, second, second + 1, false)[0];
    assert_eq!(at(&mut servers, 60).mode, Mode::Fresh, "one that is on its way is not late");
    let held = at(&mut servers, 62);
    assert_eq!(held.mode, Mode::Held);
    assert!(close(held.measured, HALF));
    let aged = at(&mut servers, 59 + 3 + 60);
    assert_eq!(aged.mode, Mode::Aged);
    assert!(close(aged.measured, 1.0 - (1.0 - HALF) / std::f64::consts::E), "{aged:?}");
    let gone = at(&mut servers, 59 + 181);
    assert_eq!((gone.mode, gone.measured), (Mode::LatencyOnly, 1.0));
    assert!(close(run(&mut servers, 300, 340, true)[0].capacity, HALF), "and it comes back");
}

#[test]
fn too_few_known_are_as_good_as_none() {
    let mut servers: Vec<Server> = [100.0, 200.0, 300.0].map(Server::new).into();
    (servers[1].share, servers[2].share) = (0.0, 0.0);
    let seen = run(&mut servers, 1, 30, true);
    assert!(seen.iter().all(|s| s.capacity == 1.0 && s.mode == Mode::LatencyOnly), "{seen:?}");
}

#[test]
fn a_liar_is_bounded_and_then_not_believed() {
    let mut servers: Vec<Server> = [100.0; 5].map(Server::new).into();
    servers[0].lie = 0.2;
    let seen = run(&mut servers, 1, 40, true);
    assert_eq!(seen[0].measured, 4.0, "claims five times as much");
    assert!(close(seen[0].capacity, 4.0), "nothing speaks against it yet");
    servers[0].latency = 2.0;
    assert!(close(run(&mut servers, 40, 46, true)[0].capacity, 1.0), "its requests wait");
    servers[0].latency = 1.0;
    assert!(run(&mut servers, 46, 56, true)[0].capacity < 1.3, "and it is not forgiven at once");
    let mut servers: Vec<Server> = [100.0; 5].map(Server::new).into();
    (servers[0].lie, servers[0].latency) = (8.0, 0.6);
    assert!(close(run(&mut servers, 1, 40, true)[0].capacity, 1.0), "too modest");
}

#[test]
fn a_frozen_exporter_counts_as_silent() {
    let mut servers: Vec<Server> = [100.0, 200.0, 200.0].map(Server::new).into();
    run(&mut servers, 1, 30, true);
    let rules = Rules { interval: Duration::from_secs(1), ..Rules::default() };
    let frozen = Report { cpu: Some(0.5), ..Report::default() };
    for second in 30..60u64 {
        let s = &mut servers[0];
        s.good += 50.0;
        s.meter.reported(Tick::from_millis(second * 1_000), &frozen, s.good as u32);
    }
    let (mode, age) = servers[0].meter.mode(Tick::from_millis(60_000), &rules);
    assert_eq!(mode, Mode::Aged);
    assert!(age.unwrap() > Duration::from_secs(15), "{age:?}");
    let idle = &mut servers[1];
    for second in 30..60u64 {
        idle.meter.reported(Tick::from_millis(second * 1_000), &frozen, idle.good as u32);
    }
    assert_eq!(idle.meter.mode(Tick::from_millis(60_000), &rules).0, Mode::Fresh, "idle is not frozen");
}

#[test]
fn what_repeats_is_no_news() {
    let mut meter = Meter::default();
    let mut news = |second: u64, report: &Report, good: u32| {
        meter.scraped(Tick::from_millis(second * 1_000), report, good)
    };
    let counted = Report { cpu: Some(0.5), in_flight: Some(9.0), good: Some(70.0), ..Report::default() };
    assert!(news(1, &counted, 10));
    assert!(news(2, &counted, 10), "nothing has come from it: nothing has changed");
    assert!(!news(3, &counted, 11), "an answer that it has not counted");
    assert!(news(4, &Report { good: Some(71.0), ..counted }, 12));
    let uncounted = Report { good: None, ..counted };
    let heard = (5..20).take_while(|&second| news(second, &uncounted, second as u32 * 10)).count();
    assert_eq!(heard, FROZEN as usize, "digits alone may repeat by chance");
    assert!(!news(20, &Report::default(), 500), "nothing is nothing new");
}

#[test]
fn memory_and_connections_close_a_gate_and_open_it_with_slack() {
    let mut meter = Meter::default();
    let mut gate = |memory: f64| {
        let report = Report { memory: Some(memory), ..Report::default() };
        meter.reported(Tick::ZERO, &report, 0);
        let mut pool = [Candidate { meter: &mut meter, latency: 1.0, good: 0, ready: true }];
        stand(Tick::ZERO, &Rules::default(), &mut pool)[0].capacity
    };
    assert_eq!(gate(0.84), 1.0);
    assert!(close(gate(0.91), 0.55));
    assert!(close(gate(0.87), 0.55), "fell by less than the slack");
    assert!(close(gate(0.99), 0.1));
    assert_eq!(gate(0.75), 1.0);
}

#[test]
fn what_closed_a_gate_is_forgotten_with_age_and_not_by_what_is_not_said() {
    let rules = Rules { interval: Duration::from_secs(1), ..Rules::default() };
    let mut meter = Meter::default();
    let full = Report { memory: Some(0.99), cpu: Some(0.5), ..Report::default() };
    assert!(meter.scraped(Tick::ZERO, &full, 0));
    let silent = Report { cpu: Some(0.5), ..Report::default() };
    assert!(meter.scraped(Tick::from_millis(1_000), &silent, 0));
    let mut gate = |second: u64| {
        let mut pool = [Candidate { meter: &mut meter, latency: 1.0, good: 0, ready: true }];
        stand(Tick::from_millis(second * 1_000), &rules, &mut pool)[0].gate
    };
    assert!(close(gate(2), GATE_LEAST) && close(gate(4), GATE_LEAST), "it said nothing new of its memory");
    assert!(close(gate(64), 1.0 - (1.0 - GATE_LEAST) / std::f64::consts::E));
    assert_eq!(
        gate(200),
        1.0,
        "an exporter that died saying so must not cost the backend its share for ever"
    );
}

#[test]
fn who_is_not_there_does_not_count_for_the_median() {
    let mut servers: Vec<Server> = [100.0, 200.0, 400.0].map(Server::new).into();
    run(&mut servers, 1, 60, true);
    let rules = Rules { interval: Duration::from_secs(1), ..Rules::default() };
    let mut pool: Vec<Candidate<'_>> = servers
        .iter_mut()
        .enumerate()
        .map(|(at, s)| Candidate { meter: &mut s.meter, latency: 1.0, good: 0, ready: at == 0 })
        .collect();
    assert_eq!(stand(Tick::from_millis(60_000), &rules, &mut pool)[0].measured, 1.0, "it is the pool");
}

#[test]
fn silence_and_no_good_answer_make_a_suspect() {
    let mut servers: Vec<Server> = [100.0, 100.0].map(Server::new).into();
    run(&mut servers, 1, 30, true);
    assert!(run(&mut servers, 30, 33, false)[0].capacity > 0.9, "it still answers");
    servers.iter_mut().for_each(|s| s.share = 0.0);
    servers[0].good = f64::from(servers[0].meter.good_at_last_report);
    assert!(close(run(&mut servers, 33, 34, false)[0].capacity, 0.5));
}

/// Whatever is reported, a capacity is finite, above zero and within its bounds.
#[test]
fn garbage_stays_within_bounds() {
    let mut rng = Rng::seeded(11);
    let rules = Rules::default();
    let mut meters = vec![Meter::default(); 4];
    let mut good = [0u32; 4];
    for step in 0..20_000u64 {
        let now = Tick::from_millis(step * u64::from(rng.below(900)));
        let mut wild = || match rng.below(10) {
            0 => None,
            1 => Some(f64::NAN),
            2 => Some(f64::INFINITY),
            3 => Some(-rng.unit()),
            4 => Some(rng.unit() * 1e12),
            5 => Some(1.7e308),
            _ => Some(rng.unit()),
        };
        let report = Report {
            utilization: wild(),
            cpu: wild(),
            memory: wild(),
            connections: wild(),
            in_flight: wild(),
            good: wild(),
        };
        let at = rng.below(4) as usize;
        good[at] = good[at].wrapping_add(rng.below(1 << 20));
        meters[at].reported(now, &report, good[at]);
        let mut pool: Vec<Candidate<'_>> = meters
            .iter_mut()
            .zip(good)
            .map(|(meter, good)| Candidate { meter, latency: rng.unit() * 3.0, good, ready: true })
            .collect();
        for standing in stand(now, &rules, &mut pool) {
            let least = GATE_LEAST * SUSPECT / rules.most;
            assert!((least..=rules.most).contains(&standing.capacity), "{step}: {standing:?}");
        }
    }
}

/// What others have measured is where a new balancer begins; its own measurements take it from there, and only these are
/// told on.
#[test]
fn a_new_balancer_begins_with_what_others_know() {
    let mut meter = Meter::default();
    meter.seed(Tick::ZERO, []);
    assert_eq!(meter.rate, None);
    meter.seed(Tick::ZERO, [(100.0, 1), (200.0, 3), (f64::NAN, 9), (-1.0, 9), (5.0, 0), (1e308, u32::MAX)]);
    assert_eq!((meter.rate, meter.estimate()), (Some(175.0), None));
    meter.seed(Tick::ZERO, [(9.0, 9)]);
    assert_eq!(meter.rate, Some(175.0), "once");
    for second in 0..40u64 {
        let report = Report { cpu: Some(0.5), good: Some(second as f64 * 100.0), ..Report::default() };
        meter.reported(Tick::from_millis(second * 1_000), &report, 0);
    }
    let (rate, samples) = meter.estimate().unwrap();
    assert!((176.0..=200.5).contains(&rate) && samples > 2, "{rate} of {samples}");
    let mut own = Meter::default();
    for second in 0..40u32 {
        let report = Report { cpu: Some(0.5 + f64::from(second % 2) / 100.0), ..Report::default() };
        own.reported(Tick::from_millis(u64::from(second) * 1_000), &report, second * 100);
    }
    assert!(own.rate.is_some() && own.estimate().is_none(), "of one balancer's answers alone");
}
