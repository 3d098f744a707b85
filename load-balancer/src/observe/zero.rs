//! Series that are there before anything has happened: a rate from nothing to one is no rate, so an alert would not see the
//! first failure.
//!
//! What cannot be known beforehand begins on first use: a status beyond the usual ones, a method other than GET, an algorithm
//! that a client chooses. All of them at once would be more series than everything else together.

use lb_core::Algorithm;
use lb_core::breaker::Reason;
use lb_core::capacity;
use lb_core::fact::Fact;

use super::metrics::Metrics;
use super::series::Series;

/// Statuses that rules and dashboards ask for first.
const CODES: [&str; 5] = ["200", "500", "502", "503", "504"];
/// What can come of an attempt that failed.
const OUTCOMES: [&str; 4] = ["success", "failure", "over_budget", "no_backend"];

/// The pool's own: `aborts` and `retries` are the reasons there are for either, `sources` where backends are known from.
pub fn pool(metrics: &Metrics, aborts: &[&str], retries: &[&str], sources: &[&str]) {
    let pool = metrics.pool.as_str();
    for reason in aborts {
        metrics.aborts.with_label_values(&[pool, reason]);
    }
    for reason in retries {
        for outcome in OUTCOMES {
            metrics.retries.with_label_values(&[pool, reason, outcome]);
        }
    }
    for source in sources {
        for event in ["joined", "left"] {
            metrics.discovery_events.with_label_values(&[source, event]);
        }
    }
    for kind in Fact::KINDS {
        metrics.facts.with_label_values(&[pool, kind]);
    }
    for algorithm in Algorithm::ALL {
        metrics.algorithm_switches.with_label_values(&[pool, algorithm.name(), "reload"]);
    }
    for update in capacity::Update::ALL {
        metrics.weight_updates.with_label_values(&[pool, update.name()]);
    }
    metrics.weight_updated.with_label_values(&[pool]).set(0.0);
}

/// Connections refused, by reason.
pub fn connections(metrics: &Metrics, refusals: &[&str]) {
    for reason in refusals {
        metrics.connections_refused.with_label_values(&["traffic", reason]);
    }
}

/// `algorithm` is in force where a request chooses none.
pub fn algorithm(metrics: &Metrics, algorithm: Algorithm) {
    let pool = metrics.pool.as_str();
    for each in Algorithm::ALL {
        metrics.algorithm_active.with_label_values(&[pool, each.name()]).set(i64::from(each == algorithm));
    }
    for code in CODES {
        metrics.requests.with_label_values(&[pool, algorithm.name(), "GET", code]);
    }
}

/// A listener's that speaks TLS: `results` are what may come of a handshake, the good one first.
pub fn handshakes(metrics: &Metrics, listener: &str, results: &[&str]) {
    for (i, result) in results.iter().enumerate() {
        for version in if i == 0 { &["1.2", "1.3"][..] } else { &["none"] } {
            metrics.tls_handshakes.with_label_values(&[listener, version, result]);
        }
    }
}

/// A backend's own, from when it joins; `secure` where TLS is spoken with it.
pub fn backend(metrics: &Metrics, series: &Series, secure: bool) {
    let (pool, backend) = (metrics.pool.as_str(), series.label());
    for result in ["pass", "fail"] {
        metrics.health_checks.with_label_values(&[pool, backend, result]);
    }
    for reason in Reason::NAMES {
        metrics.ejections.with_label_values(&[pool, backend, reason]);
    }
    for code in CODES.into_iter().chain(["error"]) {
        metrics.upstream_requests.with_label_values(&[pool, backend, code]);
    }
    for result in ["ok", "refused", "timeout"].into_iter().chain(secure.then_some("tls")) {
        metrics.connects.with_label_values(&[pool, backend, result]);
    }
    for algorithm in Algorithm::ALL {
        metrics.decisions.with_label_values(&[pool, algorithm.name(), backend]);
    }
}
