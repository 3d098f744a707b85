//! h2load, the generator for HTTP/2: its arguments, and what it counted.
//!
//! It prints how many requests ended how; latencies come from its log, a line for each request.
//! How it fails: output without these lines is an error that shows it.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::load::Load;
use super::scenario::{STREAMS, Scenario};
use super::summary::percentile;

/// Its arguments; the log is written to `log`, which must not be there yet.
pub(super) fn arguments(scenario: Scenario, port: u16, seconds: u32, log: &Path) -> Vec<String> {
    let scheme = if scenario.way.encrypted() { "https" } else { "http" };
    vec![
        "-t1".to_owned(),
        format!("-c{}", scenario.connections),
        format!("-m{STREAMS}"),
        format!("-D{seconds}"),
        format!("--connect-to=127.0.0.1:{port}"),
        format!("--log-file={}", log.display()),
        format!("{scheme}://localhost:{port}/bytes/{}", scenario.body),
    ]
}

/// What it counted: `text` is its output, `log` its log.
pub(super) fn parse(text: &str, log: &str) -> Result<Load> {
    let line = |start: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(start));
        line.with_context(|| format!("h2load printed no line \"{start}\":\n{text}"))
    };
    let counts = line("requests: ")?;
    let count = |what: &str| -> Result<u64> {
        let part = counts.split(", ").find_map(|part| part.strip_suffix(what));
        let number = part.with_context(|| format!("h2load counted no{what}: {counts}"))?;
        Ok(number.trim().parse()?)
    };
    let time = line("finished in ")?.split(',').next().unwrap_or_default();
    // Begin, status and duration, in microseconds; a request without an answer has the status -1.
    let mut latencies: Vec<u64> = log
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('\t').skip(1);
            (fields.next()? == "200").then(|| fields.next()?.parse().ok()).flatten()
        })
        .collect();
    latencies.sort_unstable();
    let succeeded = count(" succeeded")?;
    let statuses = line("status codes: ")?;
    let good = statuses.split(" 2xx").next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
    Ok(Load {
        requests: good.min(succeeded),
        duration_us: microseconds(time)?,
        p50_us: percentile(&latencies, 0.50),
        p90_us: percentile(&latencies, 0.90),
        p99_us: percentile(&latencies, 0.99),
        // It counts an error as a failure, too.
        errors: count(" failed")? + succeeded.saturating_sub(good),
    })
}

/// `5.00s`, `800.12ms` or `12us`.
fn microseconds(time: &str) -> Result<u64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(unit, us)| Some((time.trim().strip_suffix(unit)?, us)))
        .with_context(|| format!("h2load's time: {time}"))?;
    Ok((number.parse::<f64>().with_context(|| format!("h2load's time: {time}"))? * unit) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "starting benchmark...\n\nfinished in 2.00s, 1500.00 req/s, 1.00MB/s\n\
        requests: 3000 total, 3004 started, 3000 done, 2990 succeeded, 10 failed, 7 errored, 0 timeout\n\
        status codes: 2985 2xx, 0 3xx, 5 4xx, 0 5xx\n";

    #[test]
    fn what_it_prints_is_read() {
        let log = "1\t200\t400\n2\t200\t100\n3\t-1\t9\n4\t200\t300\n";
        let load = parse(TEXT, log).unwrap();
        assert_eq!((load.requests, load.errors, load.duration_us), (2985, 15, 2_000_000));
        assert_eq!((load.p50_us, load.p99_us), (300, 400));
        assert!(parse("no", "").unwrap_err().to_string().contains("requests"));
        assert_eq!(microseconds("800.5ms").unwrap(), 800_500);
    }
}
