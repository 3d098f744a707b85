//! Ours under steady load for long: no request may fail, and memory must stay flat.
//!
//! First what this rig can do is measured, then a share of it is sent in an open loop, a minute at a time, so that each minute
//! brings new connections. Memory is read every few seconds, and a straight line laid through what comes after the first tenth.
//! How it fails: an error, or a line that rises by more than a bound over the run, ends it with exit code 1.

use std::fmt::Write as _;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::environment::Environment;
use super::load::Load;
use super::options::Place;
use super::peer::Peer;
use super::scenario::Scenario;
use super::world::World;
use super::{Ready, cpu, report, until_told};

/// How much memory may grow over a run, by the line through it: less than an allocator's own breathing would be no bound.
const GROWTH_MAX_KIB: f64 = 4096.0;
/// Seconds of load at one go.
const SLICE_S: u32 = 60;
/// Seconds for which the rig's capacity is measured, each way.
const CAPACITY_S: u32 = 5;
/// How often memory is read.
const EVERY: Duration = Duration::from_secs(5);
/// The first part of a run, in which pools fill: one of so many.
const WARM_PART: usize = 10;

/// Options of `cargo xtask soak`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// How long
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    minutes: u32,
    /// Share of what can be done, in percent
    #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u8).range(1..=100))]
    share: u8,
    /// Name of the results in `benches/runs/<date>-<cpu>/`
    #[arg(long, default_value = "soak")]
    name: String,
    #[command(flatten)]
    place: Place,
}

/// Memory at one time.
#[derive(Clone, Copy, Debug, Serialize)]
struct Moment {
    at_s: f64,
    resident_kib: u64,
}

#[derive(Debug, Serialize)]
struct Findings {
    environment: Environment,
    method: Vec<String>,
    capacity_per_s: f64,
    rate: u32,
    requests: u64,
    errors: u64,
    growth_kib: f64,
    growth_max_kib: f64,
    slices: Vec<Load>,
    moments: Vec<Moment>,
}

/// Runs it; whether nothing failed and memory stayed flat.
pub(crate) async fn run(options: &Options) -> Result<bool> {
    until_told(soak(options)).await
}

async fn soak(options: &Options) -> Result<bool> {
    let peers = [Peer::Ours];
    let ready = Ready::new("soak", &options.place, &peers)?;
    let environment = Environment::read(&ready.root, &ready.site, &peers);
    let mut world =
        World::start(&options.place, ready.site.clone(), &peers, Scenario::PLAIN.backends).await?;
    world.proxies(&peers).await?;
    let generator = ready.generator(&options.place);
    let (mut slices, mut moments) = (Vec::new(), Vec::new());
    let (mut capacity_per_s, mut rate) = (0.0, 0);
    for proxy in &world.proxies {
        let (port, family) = (proxy.doors.plain, cpu::family(proxy.process.pid()));
        let closed = per_second(&generator.run(Scenario::PLAIN, port, CAPACITY_S).await?);
        // The generator of the open loop may be the slower one: asked for too much, it shows what it can do.
        let asked = Scenario { rate: Some(closed as u32), ..Scenario::PLAIN };
        let open = per_second(&generator.run(asked, port, CAPACITY_S).await?);
        capacity_per_s = closed.min(open);
        rate = ((capacity_per_s * f64::from(options.share) / 100.0) as u32).max(1);
        eprintln!("{capacity_per_s:.0} requests/s can be done here; {rate} are sent");
        let scenario = Scenario { rate: Some(rate), ..Scenario::PLAIN };
        let start = Instant::now();
        let mut left_s = options.minutes * 60;
        while left_s > 0 {
            let seconds = left_s.min(SLICE_S);
            let mut load = pin!(generator.run(scenario, port, seconds));
            let mut ticks = tokio::time::interval(EVERY);
            let done = loop {
                tokio::select! {
                    done = &mut load => break done?,
                    _ = ticks.tick() => moments.push(Moment {
                        at_s: start.elapsed().as_secs_f64(),
                        resident_kib: cpu::resident_kib(&family),
                    }),
                }
            };
            left_s -= seconds;
            let resident = moments.last().map_or(0, |moment| moment.resident_kib);
            eprintln!(
                "  {} requests, {} errors, p99 {} µs, {resident} KiB",
                done.requests, done.errors, done.p99_us
            );
            slices.push(done);
        }
    }
    let findings = Findings {
        environment,
        method: method(options),
        capacity_per_s,
        rate,
        requests: slices.iter().map(|slice| slice.requests).sum(),
        errors: slices.iter().map(|slice| slice.errors).sum(),
        growth_kib: growth_kib(&moments),
        growth_max_kib: GROWTH_MAX_KIB,
        slices,
        moments,
    };
    let table = table(&findings);
    println!("{table}");
    let json = serde_json::to_string_pretty(&findings)?;
    let saved = report::write(&ready.runs(), &findings.environment, &options.name, &json, &|name| {
        let body = format!("![Resident memory over time]({name}.svg)\n{table}");
        let page = report::page(&findings.environment, &findings.method, &body);
        vec![
            ("svg", chart(&findings.moments)),
            ("md", format!("{page}\nEvery reading: [{name}.json]({name}.json).\n")),
        ]
    })?;
    ready.tell(&saved);
    Ok(findings.errors == 0 && findings.growth_kib <= GROWTH_MAX_KIB)
}

fn per_second(load: &Load) -> f64 {
    load.requests as f64 * 1e6 / load.duration_us.max(1) as f64
}

fn method(options: &Options) -> Vec<String> {
    vec![
        format!(
            "Ours on core {}, one worker; load and six backends on core {}; 64 connections, new ones each minute.",
            options.place.proxy_core, options.place.load_core
        ),
        format!(
            "{} % of what the rig could do in a closed loop (wrk) and in an open one, the lesser of both, {CAPACITY_S} s each.",
            options.share
        ),
        "A request that was due and had no answer of 200 five seconds after its minute is an error."
            .to_owned(),
        format!(
            "Memory every {} s. Growth: the slope of the line of least squares after the first tenth, times the time it spans; at most {:.0} MiB.",
            EVERY.as_secs(),
            GROWTH_MAX_KIB / 1024.0
        ),
    ]
}

fn table(findings: &Findings) -> String {
    let mut p99s: Vec<u64> = findings.slices.iter().map(|slice| slice.p99_us).collect();
    p99s.sort_unstable();
    let resident = findings.moments.iter().map(|moment| moment.resident_kib as f64 / 1024.0);
    let (least, most) =
        resident.fold((f64::INFINITY, 0.0_f64), |(least, most), mib| (least.min(mib), most.max(mib)));
    let mut out = String::from("\n| what | figure |\n|---|---|\n");
    let rows = [
        ("capacity of the rig", format!("{:.0} requests/s", findings.capacity_per_s)),
        ("sent", format!("{} requests/s", findings.rate)),
        ("answered", findings.requests.to_string()),
        ("errors", findings.errors.to_string()),
        (
            "p99 of a minute, median and most",
            format!("{} µs, {} µs", p99s.get(p99s.len() / 2).unwrap_or(&0), p99s.last().unwrap_or(&0)),
        ),
        ("resident memory, least and most", format!("{least:.1} MiB, {most:.1} MiB")),
        ("growth by the line", format!("{:.0} KiB (at most {GROWTH_MAX_KIB:.0})", findings.growth_kib)),
    ];
    for (what, figure) in rows {
        let _ = writeln!(out, "| {what} | {figure} |");
    }
    out
}

/// By how much the line of least squares rises over what comes after the first part; nought of too few readings.
fn growth_kib(moments: &[Moment]) -> f64 {
    let settled = &moments[moments.len() / WARM_PART..];
    let (Some(first), Some(last)) = (settled.first(), settled.last()) else { return 0.0 };
    let n = settled.len() as f64;
    let mean_s = settled.iter().map(|moment| moment.at_s).sum::<f64>() / n;
    let mean_kib = settled.iter().map(|moment| moment.resident_kib as f64).sum::<f64>() / n;
    let spread: f64 = settled.iter().map(|moment| (moment.at_s - mean_s).powi(2)).sum();
    if spread == 0.0 {
        return 0.0;
    }
    let together: f64 =
        settled.iter().map(|moment| (moment.at_s - mean_s) * (moment.resident_kib as f64 - mean_kib)).sum();
    together / spread * (last.at_s - first.at_s)
}

/// Memory over time, from nought.
fn chart(moments: &[Moment]) -> String {
    let most_kib = moments.iter().map(|moment| moment.resident_kib).max().unwrap_or(1).max(1) as f64;
    let most_s = moments.last().map_or(1.0, |moment| moment.at_s.max(1.0));
    let points: Vec<String> = moments
        .iter()
        .map(|moment| {
            let (x, y) = (moment.at_s / most_s * 680.0, moment.resident_kib as f64 / most_kib * 200.0);
            format!("{:.1},{:.1}", 60.0 + x, 230.0 - y)
        })
        .collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 270\" width=\"760\" height=\"270\" role=\"img\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<title>Resident memory over time</title>\n<rect width=\"100%\" \
         height=\"100%\" fill=\"#fff\"/>\n<path d=\"M60 20V230H740\" fill=\"none\" stroke=\"#222\"/>\n<text x=\"54\" \
         y=\"34\" text-anchor=\"end\">{:.1}</text>\n<text x=\"54\" y=\"230\" text-anchor=\"end\">0</text>\n<text x=\"66\" \
         y=\"16\">MiB resident</text>\n<text x=\"740\" y=\"250\" text-anchor=\"end\">{:.0} s</text>\n<polyline \
         points=\"{}\" fill=\"none\" stroke=\"#e07b39\" stroke-width=\"2\"/>\n</svg>\n",
        most_kib / 1024.0,
        most_s,
        points.join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(kib: impl Fn(u64) -> u64) -> Vec<Moment> {
        (0..100).map(|at| Moment { at_s: at as f64 * 5.0, resident_kib: kib(at) }).collect()
    }

    #[test]
    fn a_leak_is_told_from_a_start_and_from_breathing() {
        // 100 KiB a reading: over the 89 steps that count.
        assert!((growth_kib(&moments(|at| 10_000 + 100 * at)) - 8_900.0).abs() < 1e-6);
        let start = moments(|at| 20_000 - 1_000 * 9_u64.saturating_sub(at));
        assert!(growth_kib(&start).abs() < 1e-6);
        assert!(growth_kib(&moments(|at| 20_000 + 500 * (at % 2))).abs() < 100.0);
        assert!(growth_kib(&[]).abs() < f64::EPSILON);
    }

    #[test]
    fn the_chart_spans_the_run() {
        let drawn = chart(&moments(|_| 10_240));
        assert!(
            drawn.contains(">10.0<") && drawn.contains("740.0,30.0") && drawn.contains("60.0,30.0"),
            "{drawn}"
        );
    }
}
