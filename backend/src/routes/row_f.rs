//! Row F, the flow visualizer's service: `/bench` and its fixed relatives.
//!
//! `/bench?slow=1` takes a lognormal time (mu 1.5, sigma 1, in ms: median 4.5, mean 7.4, a heavy tail); without
//! `slow=1` it answers at once, so that the same URL also measures the way alone. The delay is tokio's timer, which
//! counts whole milliseconds and costs no CPU: stays last about a millisecond longer than drawn (mean 8.3 measured).
//! How it fails: `slow` other than 0, 1, true, false is refused with 400.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Response;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::Deserialize;
use serde_json::json;

use crate::app::App;
use crate::clock;
use crate::reply;

/// Mean of the delay's logarithm, the delay in milliseconds.
const MU: f64 = 1.5;

/// Standard deviation of the delay's logarithm.
const SIGMA: f64 = 1.0;

#[derive(Debug, Deserialize)]
pub(super) struct Wish {
    slow: Option<String>,
}

pub(super) async fn bench(State(app): State<Arc<App>>, Query(wish): Query<Wish>) -> Response {
    let delay = match wish.slow.as_deref() {
        Some("1" | "true") => lognormal(&mut rand::rng()),
        None | Some("0" | "false") => Duration::ZERO,
        Some(other) => {
            return reply::bad_request(format!(
                "slow is {other:?}; send slow=1 for the delay, slow=0 for none"
            ));
        }
    };
    after(&app, delay).await
}

pub(super) async fn bench10(State(app): State<Arc<App>>) -> Response {
    after(&app, Duration::from_millis(10)).await
}

pub(super) async fn bench50(State(app): State<Arc<App>>) -> Response {
    after(&app, Duration::from_millis(50)).await
}

pub(super) async fn bench500(State(app): State<Arc<App>>) -> Response {
    after(&app, Duration::from_millis(500)).await
}

/// Answers after `delay` with both ends of the stay, in Unix seconds.
async fn after(app: &App, delay: Duration) -> Response {
    let received = clock::unix_seconds();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    reply::ok(json!({
        "instance": app.config.name,
        "req_rcv_time": received,
        "resp_snd_time": clock::unix_seconds(),
    }))
}

/// exp(mu + sigma·z) milliseconds: cannot fail, unlike building the distribution anew for each request.
fn lognormal(rng: &mut impl Rng) -> Duration {
    let z: f64 = rng.sample(StandardNormal);
    Duration::try_from_secs_f64((MU + SIGMA * z).exp() / 1e3).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_delay_is_lognormal() {
        const SAMPLES: usize = 100_000;
        let mut rng = StdRng::seed_from_u64(42);
        let mut ms: Vec<f64> = (0..SAMPLES).map(|_| lognormal(&mut rng).as_secs_f64() * 1e3).collect();
        let logs = ms.iter().map(|ms| ms.ln());
        let mu = logs.clone().sum::<f64>() / SAMPLES as f64;
        let sigma = (logs.map(|log| (log - mu).powi(2)).sum::<f64>() / SAMPLES as f64).sqrt();
        // Six standard errors: sigma/sqrt(n) is 0.003.
        assert!((mu - 1.5).abs() < 0.02, "{mu}");
        assert!((sigma - 1.0).abs() < 0.02, "{sigma}");
        ms.sort_by(f64::total_cmp);
        let quantile = |q: f64| ms[(q * SAMPLES as f64) as usize];
        assert!((quantile(0.5) - 1.5_f64.exp()).abs() < 0.1, "{}", quantile(0.5));
        assert!((quantile(0.99) - (1.5_f64 + 2.326).exp()).abs() < 3.0, "{}", quantile(0.99));
        let mean = ms.iter().sum::<f64>() / SAMPLES as f64;
        assert!((mean - 2.0_f64.exp()).abs() < 0.2, "{mean}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_stay_is_waited_for() {
        let app = App::new(crate::config::Config::default(), None).unwrap();
        let begun = tokio::time::Instant::now();
        after(&app, Duration::from_millis(500)).await;
        assert!(begun.elapsed() >= Duration::from_millis(500));
    }
}
