//! A bar on the terminal while a run goes on.
//!
//! On a thread of its own, which looks a few times a second and never holds up a request. How it fails: where standard
//! error is no terminal there is none.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::plan::{Pace, Plan};
use super::watch::Watch;
use crate::clock;

/// How often the bar is drawn.
const PERIOD: Duration = Duration::from_millis(200);
/// The bar's length, in characters.
const LENGTH: usize = 30;
/// Back to the line's beginning, and clears it (ECMA-48).
const FRESH: &str = "\r\x1b[K";

/// Runs `work` with a bar beside it.
pub(crate) fn beside<T>(plan: &Plan, watch: &Arc<Watch>, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let begun = clock::now();
    let (end, ended) = channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let line = line(plan, watch.ended(), watch.failed(), clock::now() - begun);
                let _ = write!(std::io::stderr(), "{FRESH}{line}");
            }
            let _ = write!(std::io::stderr(), "{FRESH}");
        });
        let result = work();
        drop(end);
        result
    })
}

fn line(plan: &Plan, ended: u64, failed: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let by_count = plan.requests.map(|requests| ended as f64 / requests as f64);
    let by_time = plan.duration.map(|duration| seconds / duration.as_secs_f64());
    // An open loop's N takes a time that is known, whatever the answers do.
    let by_rate = match (plan.pace, plan.requests) {
        (Pace::Open { rate, .. }, Some(requests)) => Some(seconds * rate / requests as f64),
        _ => None,
    };
    let share = by_rate.or(by_count).into_iter().chain(by_time).fold(0.0, f64::max).min(1.0);
    let full = (share * LENGTH as f64) as usize;
    let bar = format!("{}{}", "#".repeat(full), "-".repeat(LENGTH - full));
    let rate = ended as f64 / seconds.max(0.001);
    format!("[{bar}] {:3.0} %  {ended} ended, {failed} failed, {rate:.0}/s", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_shows_how_much_is_done() {
        let plan = Plan::new("http://x/", 1000);
        let half = line(&plan, 500, 3, Duration::from_secs(2));
        assert_eq!(half, format!("[{}{}]  50 %  500 ended, 3 failed, 250/s", "#".repeat(15), "-".repeat(15)));
        let timed = Plan { requests: None, duration: Some(Duration::from_secs(4)), ..plan };
        assert!(line(&timed, 7, 0, Duration::from_secs(1)).contains(" 25 % "));
        assert!(line(&timed, 7, 0, Duration::from_secs(9)).contains("100 %"));
    }
}
