//! What a policy does when a backend hangs, refuses, stalls, is slow or is new.

use lb_core::Tick;

use crate::promises::{Promises, Share};
use crate::stats::{expected, near};
use crate::world::{Arrivals, Law, Scenario, Server, Subject, run, server};

fn at(ms: u64) -> Tick {
    Tick::from_millis(ms)
}

/// A backend that takes requests and never answers gets next to nothing once it holds a few: two choices must differ,
/// or the busiest of two is handed a quarter of the picks for ever.
pub(crate) fn starves_the_hung(subject: &dyn Subject, promises: Promises) -> Result<(), String> {
    if !promises.load_aware {
        return Ok(());
    }
    for count in [2, 3] {
        for law in [Law::Steady, Law::Exponential] {
            let mut servers = vec![server(10_000).law(law); count];
            servers[count - 1] = server(10_000).hung();
            let scenario = Scenario::new(servers, Arrivals::PerSecond(300.0 * count as f64), at(15_000));
            let share = run(subject, &scenario).shares_from(at(1_000))[count - 1];
            if share > 0.02 {
                return Err(format!("{law:?}: the hung one of {count} got {:.1} %", share * 100.0));
            }
        }
    }
    Ok(())
}

/// A backend that answers 500 in 0.4 ms among peers that take 20 ms looks idle and quick. It must not profit: below 5 %
/// for a policy that sees load, no more than a fair share for one that does not.
pub(crate) fn failing_fast_does_not_pay(subject: &dyn Subject, promises: Promises) -> Result<(), String> {
    for (count, rate) in [(2, 100.0), (3, 300.0), (3, 60.0), (3, 2_000.0), (6, 1_500.0)] {
        let mut servers = vec![server(20_000); count];
        servers[0] = server(20_000).fails_in_micros(400);
        let scenario = Scenario::new(servers, Arrivals::PerSecond(rate), at(20_000));
        let share = run(subject, &scenario).shares_from(at(2_000))[0];
        let most = if promises.load_aware { 0.05 } else { 1.15 / count as f64 };
        if share > most {
            let (share, most) = (share * 100.0, most * 100.0);
            return Err(format!(
                "one of {count} at {rate}/s got {share:.1} % of the picks, allowed {most:.1} %"
            ));
        }
    }
    Ok(())
}

/// A backend nobody has measured is not the best one: while it says nothing it gets at most twice its fair share.
pub(crate) fn unknown_is_not_best(subject: &dyn Subject, _: Promises) -> Result<(), String> {
    // Answers begin early and end late, so a price of the first byte alone would undersell the newcomer.
    let settled = || server(20_000).first_byte(0.02);
    let newcomers: [(&str, Server); 2] =
        [("an equal", settled()), ("a silent one", server(400_000).law(Law::Fixed))];
    for (what, newcomer) in newcomers {
        let servers = vec![settled(), settled(), settled(), newcomer.joins(at(3_010))];
        let scenario = Scenario::new(servers, Arrivals::PerSecond(1_500.0), at(3_500));
        let share = run(subject, &scenario).shares(at(3_010), at(3_310))[3];
        if share > 0.5 {
            return Err(format!("{what} that joined got {:.0} % of the picks, fair is 25 %", share * 100.0));
        }
    }
    Ok(())
}

/// One stall of three seconds is not a life sentence: half a minute later the backend has its share back.
pub(crate) fn forgives_a_stall(subject: &dyn Subject, promises: Promises) -> Result<(), String> {
    let mut servers = vec![server(10_000); 3];
    servers[1] = server(10_000).stalls(at(4_000), at(7_000));
    for rate in [300.0, 60.0] {
        let scenario = Scenario::new(servers.clone(), Arrivals::PerSecond(rate), at(67_000));
        let shares = run(subject, &scenario).shares_from(at(37_000));
        let due = expected(promises.share, &servers);
        near(&shares[1..2], &due[1..2], 0.3).map_err(|e| format!("at {rate}/s, 30 s after: {e}"))?;
    }
    Ok(())
}

/// 0.2 ms and 0.9 ms are different latencies.
pub(crate) fn sees_fractions_of_a_millisecond(
    subject: &dyn Subject,
    promises: Promises,
) -> Result<(), String> {
    if !promises.latency_aware || promises.share == Share::Equal {
        return Ok(());
    }
    let servers = vec![server(900).law(Law::Steady), server(200).law(Law::Steady)];
    for rate in [8_000.0, 15_000.0] {
        let scenario = Scenario::new(servers.clone(), Arrivals::PerSecond(rate), at(2_000));
        let shares = run(subject, &scenario).shares_from(at(500));
        if shares[1] < 0.8 {
            return Err(format!("at {rate}/s the quicker of two got {:.0} %", shares[1] * 100.0));
        }
    }
    Ok(())
}
