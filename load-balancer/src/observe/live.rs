//! Gauges that are read off the live numbers when somebody looks: before each scrape, not on each request.

use lb_core::signal::Report;
use lb_core::{Load, PoolLoad, Tick};
use prometheus::GaugeVec;

use super::metrics::Metrics;

/// What the deciding code has about one backend at this moment.
#[derive(Debug, Clone, Copy)]
pub struct Live<'a> {
    /// Its live numbers.
    pub load: &'a Load,
    /// Those of its pool.
    pub pool: &'a PoolLoad,
    /// Its weight relative to the mean of the pool's.
    pub weight: f64,
    /// The share of it that it is given.
    pub warmth: f64,
}

/// Writes what a backend's live numbers say at this moment.
pub fn publish_load(metrics: &Metrics, backend: &str, live: &Live<'_>, now: Tick) {
    let (load, labels) = (live.load, [metrics.pool.as_str(), backend]);
    metrics.upstream_in_flight.with_label_values(&labels).set(i64::from(load.in_flight()));
    metrics.backend_latency.with_label_values(&labels).set(f64::from(load.latency()) / 1e6);
    metrics.backend_errors.with_label_values(&labels).set(f64::from(1.0 - load.success(now)));
    let (price, terms) = (f64::from(load.price()), load.terms(now, live.pool));
    metrics.latency_ratio.with_label_values(&labels).set(f64::from(terms.anomaly));
    metrics.error_factor.with_label_values(&labels).set(f64::from(terms.errors));
    metrics.price.with_label_values(&labels).set(price);
    metrics.others_in_flight.with_label_values(&labels).set(f64::from(terms.others));
    for (component, factor) in components(live, price, f64::from(terms.capacity), f64::from(terms.errors)) {
        metrics.score_component.with_label_values(&[labels[0], backend, component]).set(factor);
    }
}

/// The factors of a backend's score; their product is weight × warmth ÷ price. Picks read the price as it was last written:
/// latency is what of it capacity and errors do not explain, so that the product is what they use.
fn components(live: &Live<'_>, price: f64, capacity: f64, errors: f64) -> [(&'static str, f64); 5] {
    [
        ("weight", live.weight),
        ("warmth", live.warmth),
        ("capacity", capacity),
        ("latency", errors / (price * capacity)),
        ("error", 1.0 / errors),
    ]
}

/// Writes what a backend last said about itself; what it did not say is taken away.
pub fn publish_report(metrics: &Metrics, backend: &str, report: &Report) {
    let pool = metrics.pool.as_str();
    let shares = [report.cpu, report.memory, report.connections, report.utilization];
    for (family, share) in metrics.reported().into_iter().zip(shares) {
        set_or_forget(family, &[pool, backend], share);
    }
    set_or_forget(&metrics.backend_reported_in_flight, &[pool, backend], report.in_flight);
}

/// Sets a gauge, or takes it away where there is nothing to tell.
pub fn set_or_forget(family: &GaugeVec, labels: &[&str], value: Option<f64>) {
    match value {
        Some(value) => family.with_label_values(labels).set(value),
        // It was not there: so much the better.
        None => drop(family.remove_label_values(labels)),
    }
}

/// Writes how old a backend's word is: `scraped` is when it came, in nanoseconds, or 0 where nobody asks.
pub fn publish_age(metrics: &Metrics, backend: &str, scraped: u64, now: Tick) {
    if scraped > 0 {
        let age = now.since(Tick::from_nanos(scraped)).as_secs_f64();
        metrics.scrape_age.with_label_values(&[metrics.pool.as_str(), backend]).set(age);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lb_core::{Cause, Outcome};

    use super::*;

    #[test]
    fn the_components_multiply_to_the_share_that_picks_use() {
        let (slow, quick, pool) = (Load::new(), Load::new(), PoolLoad::default());
        slow.rate(1.5, 0.0);
        for n in 0..400_u64 {
            let now = Tick::from_millis(10 * n);
            for (load, took) in [(&slow, 40), (&quick, 4), (&quick, 5)] {
                let ticket = load.begin(now, &pool);
                let fails = took == 40 && n % 10 == 0;
                let outcome = if fails { Outcome::Failure(Cause::Status) } else { Outcome::Success };
                load.observe(now.after(Duration::from_millis(took)), &ticket, outcome, &pool);
                load.end(ticket, &pool);
            }
            pool.settle([&quick, &slow].into_iter(), &mut Vec::new());
            [&slow, &quick].into_iter().for_each(|load| load.refresh(now, &pool));
        }
        let now = Tick::from_millis(4_000);
        let live = Live { load: &slow, pool: &pool, weight: 2.0, warmth: 0.3 };
        let metrics = Metrics::new("p").unwrap();
        publish_load(&metrics, "b1", &live, now);
        let factor = |name: &str| metrics.score_component.with_label_values(&["p", "b1", name]).get();
        let all = ["weight", "warmth", "capacity", "latency", "error"].map(factor);
        let share = 2.0 * 0.3 / f64::from(slow.price());
        assert!((all.iter().product::<f64>() / share - 1.0).abs() < 1e-9, "{all:?} is not {share}");
        assert!(all[3] < 0.5 && all[4] < 0.99, "it is slow and fails: {all:?}");
        let terms = slow.terms(now, &pool);
        assert!((all[3] * f64::from(terms.anomaly) - 1.0).abs() < 0.01, "{} of {terms:?}", all[3]);
        assert!((all[2] - 1.5).abs() < 1e-6);
    }
}
