//! Once a second: each backend's state, share of the weight, requests in flight, and what it was sent and failed since the
//! last look. Rates are differences of counters; one that has fallen belongs to another process and begins anew.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::exposition::{Sample, samples};

/// What the metrics say about one backend.
#[derive(Clone, Debug, Default, Serialize)]
struct Backend {
    name: String,
    state: String,
    /// It may be picked.
    eligible: bool,
    region: String,
    address: String,
    /// Share of what the balancer would give it now, by weight, warmth and price; sums to 1.
    share: f64,
    /// Share of the configured weights.
    weight: f64,
    warmth: f64,
    price: f64,
    capacity: f64,
    in_flight: f64,
    latency_ms: f64,
    /// Attempts a second since the last look.
    rate: f64,
    /// Of those, attempts without an answer or with one of 500 and above.
    failing: f64,
}

/// Counters at the last look.
#[derive(Debug, Default)]
pub(super) struct Figures {
    then: Option<(Instant, Counters)>,
}

#[derive(Debug, Default)]
struct Counters {
    /// Attempts by backend: all, and failed ones.
    attempts: BTreeMap<String, (f64, f64)>,
    requests: f64,
    failed: f64,
}

impl Figures {
    /// What the page of metrics says at `now`.
    pub(super) fn tick(&mut self, text: &str, now: Instant) -> Value {
        let (mut backends, mut counters) = (BTreeMap::<String, Backend>::new(), Counters::default());
        let (mut in_flight, mut algorithm) = (0.0, String::new());
        for sample in samples(text) {
            match sample.name {
                "lb_requests_in_flight" => in_flight += sample.value,
                "lb_algorithm_active" if sample.value > 0.0 => {
                    algorithm = sample.label("algorithm").to_owned();
                }
                "lb_requests_total" => {
                    counters.requests += sample.value;
                    counters.failed += if is_failure(sample.label("code")) { sample.value } else { 0.0 };
                }
                "lb_upstream_requests_total" => {
                    let counted = counters.attempts.entry(sample.label("backend").to_owned()).or_default();
                    counted.0 += sample.value;
                    counted.1 += if is_failure(sample.label("code")) { sample.value } else { 0.0 };
                }
                _ => about(&sample, &mut backends),
            }
        }
        // Who is folded into others, or has left, has counters and no state.
        backends.retain(|_, backend| !backend.state.is_empty());
        let then = self.then.as_ref();
        let seconds = then.map_or(0.0, |(at, _)| (now - *at).as_secs_f64());
        let rate =
            |now: f64, then: f64| if seconds > 0.0 && now >= then { (now - then) / seconds } else { 0.0 };
        let sum: f64 = backends.values().map(Backend::pull).sum();
        for (name, backend) in &mut backends {
            let now = counters.attempts.get(name).copied().unwrap_or_default();
            let then = then.and_then(|(_, then)| then.attempts.get(name)).copied();
            // A backend's first attempts count from none, where there has been a look before.
            let then = then.unwrap_or_default();
            (backend.rate, backend.failing) = (rate(now.0, then.0), rate(now.1, then.1));
            backend.share = if sum > 0.0 { backend.pull() / sum } else { 0.0 };
        }
        let before = then.map_or((0.0, 0.0), |(_, then)| (then.requests, then.failed));
        let mut list: Vec<&Backend> = backends.values().collect();
        list.sort_by(|a, b| super::super::charts::naturally(&a.name, &b.name));
        let tick = json!({
            "backends": list,
            "algorithm": algorithm,
            "in_flight": in_flight,
            "requests": counters.requests,
            "rate": rate(counters.requests, before.0),
            "failing": rate(counters.failed, before.1),
        });
        self.then = Some((now, counters));
        tick
    }
}

impl Backend {
    /// How strongly it draws requests: nothing where it may not be picked.
    fn pull(&self) -> f64 {
        let price = if self.price > 0.0 { self.price } else { 1.0 };
        if self.eligible { self.weight * self.warmth / price } else { 0.0 }
    }
}

fn about(sample: &Sample<'_>, backends: &mut BTreeMap<String, Backend>) {
    let (name, value) = (sample.label("backend"), sample.value);
    if name.is_empty() || !value.is_finite() {
        return;
    }
    let backend = backends.entry(name.to_owned()).or_insert_with(|| Backend {
        name: name.to_owned(),
        warmth: 1.0,
        capacity: 1.0,
        ..Backend::default()
    });
    match sample.name {
        "lb_backend_state" if value > 0.0 => backend.state = sample.label("state").to_owned(),
        "lb_backend_healthy" => backend.eligible = value > 0.0,
        "lb_backend_info" => {
            backend.region = sample.label("region").to_owned();
            backend.address = sample.label("address").to_owned();
        }
        "lb_backend_weight_ratio" => backend.weight = value,
        "lb_backend_warmth_ratio" => backend.warmth = value,
        "lb_backend_price" => backend.price = value,
        "lb_backend_capacity_ratio" => backend.capacity = value,
        "lb_upstream_requests_in_flight" => backend.in_flight = value,
        "lb_backend_latency_ewma_seconds" => backend.latency_ms = value * 1e3,
        _ => {}
    }
}

fn is_failure(code: &str) -> bool {
    code == "error" || code.starts_with('5')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn page(served: u64, failed: u64, price: f64) -> String {
        let mut text = format!(
            "lb_requests_total{{code=\"200\"}} {served}\nlb_requests_total{{code=\"502\"}} {failed}\n\
             lb_upstream_requests_total{{backend=\"b2\",code=\"200\"}} {served}\n\
             lb_upstream_requests_total{{backend=\"b2\",code=\"error\"}} {failed}\n\
             lb_upstream_requests_total{{backend=\"gone\",code=\"200\"}} 5\n\
             lb_algorithm_active{{algorithm=\"adaptive\"}} 1\nlb_algorithm_active{{algorithm=\"random\"}} 0\n"
        );
        for (name, state, price) in
            [("b2", "healthy", price), ("b10", "warming", 1.0), ("b11", "ejected", 1.0)]
        {
            text += &format!(
                "lb_backend_state{{backend=\"{name}\",state=\"{state}\"}} 1\n\
                 lb_backend_healthy{{backend=\"{name}\"}} {}\n\
                 lb_backend_state{{backend=\"{name}\",state=\"draining\"}} 0\n\
                 lb_backend_weight_ratio{{backend=\"{name}\"}} 0.25\nlb_backend_price{{backend=\"{name}\"}} {price}\n",
                u8::from(state != "ejected")
            );
        }
        text
    }

    #[test]
    fn rates_are_differences_and_shares_follow_prices() {
        let (mut figures, begin) = (Figures::default(), crate::clock::now());
        let first = figures.tick(&page(1_000, 10, 1.0), begin);
        assert_eq!((&first["rate"], &first["backends"][0]["rate"]), (&json!(0.0), &json!(0.0)));
        let second = figures.tick(&page(1_200, 20, 3.0), begin + Duration::from_secs(2));
        assert_eq!((&second["rate"], &second["failing"]), (&json!(105.0), &json!(5.0)));
        let names: Vec<&str> =
            second["backends"].as_array().unwrap().iter().map(|b| b["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["b2", "b10", "b11"]);
        assert_eq!(
            (&second["backends"][0]["rate"], &second["backends"][0]["share"]),
            (&json!(105.0), &json!(0.25))
        );
        assert_eq!(second["backends"][2]["share"], json!(0.0));
        assert_eq!(second["algorithm"], "adaptive");
        let restarted = figures.tick(&page(5, 0, 1.0), begin + Duration::from_secs(3));
        assert_eq!(restarted["rate"], json!(0.0));
    }
}
