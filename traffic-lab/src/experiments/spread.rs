//! how evenly keys spread over servers, under each hash function.
//!
//! Who answered is what the answers say, request by request; what the balancer believes is not asked.

use anyhow::Result;
use serde::Serialize;

use super::Lab;
use super::load::{counts, send};
use super::published::{ASSIGNMENT_SLOTS, HASH_TEST_1, MD5_COUNTS, MD5_WITHOUT_FIRST};
use super::report::Report;
use super::stage::{Setup, Stage, servers};
use super::table::Table;
use crate::chart::{Bars, Line, Lines};
use crate::results::Run;
use crate::tester::Plan;

/// Requests of A-1, as the assignment says.
const REQUESTS: u64 = 10_000;
/// Requests at once on the rings of the originals, where it makes no difference.
const AT_ONCE: usize = 8;
/// Requests at once where the default ring's bounded loads shall be seen: they move keys to whoever answers sooner.
const CROWD: usize = 64;
/// The bound on the default ring's imbalance at three servers.
const EVEN: f64 = 1.05;
/// Row H's ring, which has published counts.
const MD5: &str = "md5-1024-100";
/// Every hash function: its preset, and what it is.
const PRESETS: [(&str, &str); 4] = [
    ("default", "64-bit hash, 4,096 points each, bounded loads"),
    ("assignment", "H(i) = i² + 2i + 17, 512 slots, K = 9"),
    ("sha256-512-9", "SHA-256, 512 slots, K = 9"),
    (MD5, "MD5, 1,024 slots, 100 virtual servers each"),
];
/// A request that says who answered it; ids as row H sends them, from 1.
const NUMBERED: &str = "/request?request_id={n}";
/// The same with ids of six digits, drawn, as row A sends them.
const DRAWN: &str = "/request?request_id={random}";

/// Who got how many of a number of requests.
#[derive(Clone, Debug, Serialize)]
struct Spread {
    preset: &'static str,
    counts: Vec<u64>,
    lost: u64,
}

impl Spread {
    fn mean(&self) -> f64 {
        self.counts.iter().sum::<u64>() as f64 / self.counts.len().max(1) as f64
    }

    fn least(&self) -> f64 {
        self.counts.iter().min().copied().unwrap_or(0) as f64
    }

    fn most(&self) -> f64 {
        self.counts.iter().max().copied().unwrap_or(0) as f64
    }

    /// The fullest server's load over the mean: 1 is even.
    fn imbalance(&self) -> f64 {
        self.most() / self.mean().max(f64::MIN_POSITIVE)
    }

    fn told(&self) -> String {
        told(&self.counts)
    }
}

fn told(counts: &[u64]) -> String {
    counts.iter().map(u64::to_string).collect::<Vec<_>>().join(" / ")
}

/// 10,000 requests over three servers.
pub(crate) async fn a1(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(lab, "a-1", "10,000 requests over three servers");
    let names = servers(3);
    let stage = start(lab, "default", 3).await?;
    let even = measure(lab, &stage, "default", &names, DRAWN, REQUESTS).await?;
    let crowd = Plan { concurrency: Some(CROWD), ..plan(lab, &stage, DRAWN, REQUESTS) };
    let crowd = spread("default", &names, &send(crowd).await?);
    stage.stop().await?;
    let stage = start(lab, MD5, 3).await?;
    let md5 = measure(lab, &stage, MD5, &names, NUMBERED, REQUESTS).await?;
    stage.remove("server1").await?;
    stage.add("server4").await?;
    let later = ["server2", "server3", "server4"].map(str::to_owned);
    let without = measure(lab, &stage, MD5, &later, NUMBERED, 1_000).await?;
    stage.stop().await?;

    let mut table =
        Table::new("Requests by server", &["ring", "server1", "server2", "server3", "lost", "max/mean"]);
    let mut row = |name: &str, counts: &[u64], lost: u64| {
        let spread = Spread { preset: MD5, counts: counts.to_vec(), lost };
        let mut cells = vec![name.to_owned()];
        cells.extend(counts.iter().map(u64::to_string));
        cells.extend([lost.to_string(), format!("{:.3}", spread.imbalance())]);
        table.row(cells);
    };
    row("default, one at a time", &even.counts, even.lost);
    row(&format!("default, {CROWD} at once"), &crowd.counts, crowd.lost);
    row(MD5, &md5.counts, md5.lost);
    let published_lost = REQUESTS - HASH_TEST_1.iter().sum::<u64>();
    row("as published by row H", &HASH_TEST_1, published_lost);
    report.tables.push(table);
    let values = |counts: &[u64]| counts.iter().map(|count| Some(*count as f64)).collect::<Vec<_>>();
    let bars = Bars {
        title: "10,000 requests over three servers".to_owned(),
        y_label: "requests".to_owned(),
        groups: names,
        series: vec![
            ("default ring".to_owned(), values(&even.counts)),
            (MD5.to_owned(), values(&md5.counts)),
            ("row H as published".to_owned(), values(&HASH_TEST_1)),
        ],
        reference: Some(("even: 3,333".to_owned(), REQUESTS as f64 / 3.0)),
        log: false,
    };
    report.chart("servers", bars.svg());

    report.check(
        even.imbalance() <= EVEN,
        "default ring: max/mean of at most 1.05",
        format!("{:.3}", even.imbalance()),
    );
    let lost = even.lost + crowd.lost + md5.lost + without.lost;
    report.check(lost == 0, "no request is lost", lost.to_string());
    let [_, fixture, ..] = MD5_COUNTS;
    report.check(md5.counts == fixture, &format!("{MD5}, ids 1 to 10,000: {}", told(fixture)), md5.told());
    report.check(
        without.counts == MD5_WITHOUT_FIRST,
        &format!("{MD5}, ids 1 to 1,000 on servers 2, 3 and 4: {}", told(&MD5_WITHOUT_FIRST)),
        without.told(),
    );
    report.remark(format!(
        "Row H published {}, which is {} of 10,000: {published_lost} requests were lost. Its own hash \
         gives {}; each server's published count is that, less its part of the losses.",
        told(&HASH_TEST_1),
        REQUESTS - published_lost,
        md5.told(),
    ));
    report.remark(format!(
        "Its ring is uneven by itself: the fullest server has {:.1} % more than the mean, which no number of requests evens out.",
        100.0 * (md5.imbalance() - 1.0)
    ));
    report.remark(format!(
        "The default ring is measured one request at a time: that is the hash alone, and comes out the same each time. With {CROWD} at once its \
         bounded loads move keys from whoever is busy to whoever answers sooner, as they should; the counts then tell of speed, too.",
    ));
    report.figure("spreads", [&even, &md5, &without, &crowd])?;
    Ok(report)
}

/// Two to six servers: the mean load with its band.
pub(crate) async fn a2(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(lab, "a-2", "Two to six servers");
    let mut all = Vec::new();
    for (preset, template) in [("default", DRAWN), (MD5, NUMBERED)] {
        let spreads = sweep(lab, preset, template).await?;
        report.tables.push(swept(&format!("{preset}: requests by server"), &spreads));
        report.chart(preset, band(&format!("{preset}: load by number of servers"), &spreads));
        all.extend(spreads);
    }
    check_fixtures(&mut report, &all);
    let lost: u64 = all.iter().map(|spread| spread.lost).sum();
    report.check(lost == 0, "no request is lost", lost.to_string());
    report.remark(
        "The mean says nothing about a hash function: it is requests / N whatever the function does, also where one server \
         gets everything. The band of the least and the most is what tells them apart.",
    );
    report.figure("spreads", &all)?;
    Ok(report)
}

/// under each hash function.
pub(crate) async fn a4(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(lab, "a-4", "Each hash function");
    let mut all = Vec::new();
    for (preset, _) in PRESETS {
        all.extend(sweep(lab, preset, NUMBERED).await?);
    }
    let of = |preset: &str, servers: usize| {
        all.iter().find(|spread| spread.preset == preset && spread.counts.len() == servers)
    };
    let mut table = Table::new(
        "max/mean (1 is even), request ids in order from 1",
        &["ring", "", "N=2", "N=3", "N=4", "N=5", "N=6"],
    );
    for (preset, what) in PRESETS {
        let imbalance =
            |n| of(preset, n).map_or("-".to_owned(), |spread| format!("{:.3}", spread.imbalance()));
        table.row([vec![preset.to_owned(), what.to_owned()], (2..=6).map(imbalance).collect()].concat());
    }
    report.tables.push(table);
    let mut shares = Table::new("N=3: shares in percent", &["ring", "server1", "server2", "server3"]);
    let share = |spread: &Spread| {
        let all = spread.counts.iter().sum::<u64>().max(1) as f64;
        spread.counts.iter().map(|count| 100.0 * *count as f64 / all).collect::<Vec<f64>>()
    };
    let mut series = Vec::new();
    for spread in PRESETS.iter().filter_map(|(preset, _)| of(preset, 3)) {
        let values = share(spread);
        let cells = values.iter().map(|value| format!("{value:.1}"));
        shares.row(std::iter::once(spread.preset.to_owned()).chain(cells).collect());
        series.push((
            spread.preset.to_owned(),
            values.into_iter().map(|v| Some((v * 10.0).round() / 10.0)).collect(),
        ));
    }
    report.tables.push(shares);
    let bars = Bars {
        title: "N=3: share of each server by hash function".to_owned(),
        y_label: "percent of the requests".to_owned(),
        groups: servers(3),
        series,
        reference: Some(("even: 33.3".to_owned(), 100.0 / 3.0)),
        log: false,
    };
    report.chart("servers", bars.svg());
    let line = |(preset, _): &(&str, &str)| Line {
        name: (*preset).to_owned(),
        points: (2..=6).filter_map(|n| Some((n as f64, of(preset, n)?.imbalance()))).collect(),
        band: Vec::new(),
    };
    let lines = Lines {
        title: "How uneven each hash function is".to_owned(),
        x_label: "servers".to_owned(),
        y_label: "fullest server / mean".to_owned(),
        lines: PRESETS.iter().map(line).collect(),
        counted: true,
        ..Lines::default()
    };
    report.chart("imbalance", lines.svg());

    check_fixtures(&mut report, &all);
    let ours = of("default", 3).map_or(f64::INFINITY, Spread::imbalance);
    report.check(ours <= EVEN, "default ring, N=3: max/mean of at most 1.05", format!("{ours:.3}"));
    let two = of("assignment", 2).map_or(0.0, |spread| 100.0 * spread.most() / (spread.mean() * 2.0));
    report.check(
        two > 90.0,
        "the assignment's H sends nearly everything to one of two servers",
        format!("{two:.1} %"),
    );
    let lost: u64 = all.iter().map(|spread| spread.lost).sum();
    report.check(lost == 0, "no request is lost", lost.to_string());
    report.remark(format!(
        "The assignment's H(i) = i² + 2i + 17 reaches {ASSIGNMENT_SLOTS} of its 512 slots: (i + 1)² + 16 takes few values modulo a \
         power of two. With two servers one gets {two:.1} % of the requests. No choice of servers mends that, so it is a preset \
         for comparison and never the default."
    ));
    report.figure("spreads", &all)?;
    Ok(report)
}

/// What is published must come out to the request.
fn check_fixtures(report: &mut Report, spreads: &[Spread]) {
    for fixture in MD5_COUNTS {
        let found =
            spreads.iter().find(|spread| spread.preset == MD5 && spread.counts.len() == fixture.len());
        let seen = found.map_or_else(|| "not measured".to_owned(), Spread::told);
        let expected = format!("{MD5}, N={}: {}", fixture.len(), told(fixture));
        report.check(found.is_some_and(|spread| spread.counts == fixture), &expected, seen);
    }
}

/// Two to six servers under one hash function; further ones join the same balancer.
async fn sweep(lab: &Lab, preset: &'static str, template: &str) -> Result<Vec<Spread>> {
    let most = if lab.quick && preset != MD5 { 3 } else { 6 };
    let stage = start(lab, preset, 2).await?;
    let mut spreads = Vec::new();
    for count in 2..=most {
        let names = servers(count);
        if let Some(name) = names.last().filter(|_| count > 2) {
            stage.add(name).await?;
        }
        spreads.push(measure(lab, &stage, preset, &names, template, REQUESTS).await?);
    }
    stage.stop().await?;
    Ok(spreads)
}

async fn start(lab: &Lab, preset: &'static str, count: usize) -> Result<Stage> {
    let setup = Setup { algorithm: "consistent_hash", preset, replicas: servers(count), ..Setup::default() };
    Stage::start(lab, &setup).await
}

async fn measure(
    lab: &Lab,
    stage: &Stage,
    preset: &'static str,
    names: &[String],
    template: &str,
    requests: u64,
) -> Result<Spread> {
    // Bounded loads would move keys: one at a time, the ring alone decides.
    let at_once = if preset == "default" { 1 } else { AT_ONCE };
    let run = send(Plan { concurrency: Some(at_once), ..plan(lab, stage, template, requests) }).await?;
    Ok(spread(preset, names, &run))
}

/// Keys from 1 on, or drawn.
fn plan(lab: &Lab, stage: &Stage, template: &str, requests: u64) -> Plan {
    Plan { seed: lab.seed, first: 1, ..Plan::new(&stage.url(template), requests) }
}

fn spread(preset: &'static str, names: &[String], run: &Run) -> Spread {
    let counts = counts(run, names);
    let lost = run.summary.requests - counts.iter().sum::<u64>();
    Spread { preset, counts, lost }
}

fn swept(title: &str, spreads: &[Spread]) -> Table {
    let mut table = Table::new(title, &["servers", "each", "lost", "mean", "least", "most", "max/mean"]);
    for spread in spreads {
        table.row(vec![
            spread.counts.len().to_string(),
            spread.told(),
            spread.lost.to_string(),
            format!("{:.0}", spread.mean()),
            format!("{:.0}", spread.least()),
            format!("{:.0}", spread.most()),
            format!("{:.3}", spread.imbalance()),
        ]);
    }
    table
}

fn band(title: &str, spreads: &[Spread]) -> String {
    let n = |spread: &Spread| spread.counts.len() as f64;
    let line = Line {
        name: "mean".to_owned(),
        points: spreads.iter().map(|spread| (n(spread), spread.mean())).collect(),
        band: spreads.iter().map(|spread| (n(spread), spread.least(), spread.most())).collect(),
    };
    let (title, lines) = (format!("{title}: mean, least to most"), vec![line]);
    let (x_label, y_label) = ("servers".to_owned(), "requests per server".to_owned());
    Lines { title, x_label, y_label, lines, counted: true, ..Lines::default() }.svg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_counts_add_up() {
        for (counts, servers) in MD5_COUNTS.iter().zip(2..) {
            assert_eq!((counts.len(), counts.iter().sum::<u64>()), (servers, REQUESTS));
        }
        assert_eq!(MD5_WITHOUT_FIRST.iter().sum::<u64>(), 1_000);
        assert_eq!(REQUESTS - HASH_TEST_1.iter().sum::<u64>(), 149);
    }

    #[test]
    fn the_assignments_h_reaches_87_slots() {
        let slots: std::collections::BTreeSet<u64> = (0..512).map(|i| (i * i + 2 * i + 17) % 512).collect();
        assert_eq!(slots.len() as u64, ASSIGNMENT_SLOTS);
    }

    #[test]
    fn imbalance_is_the_fullest_over_the_mean() {
        let spread = Spread { preset: MD5, counts: vec![10, 20, 30], lost: 0 };
        assert!((spread.imbalance() - 1.5).abs() < 1e-9);
        assert_eq!((spread.told().as_str(), spread.least(), spread.most()), ("10 / 20 / 30", 10.0, 30.0));
        let mut report = Report::new(&Lab::nowhere(), "a-4", "x");
        check_fixtures(&mut report, &[Spread { preset: MD5, counts: MD5_COUNTS[1].to_vec(), lost: 0 }]);
        let held: Vec<bool> = report.checks.iter().map(|check| check.holds).collect();
        assert_eq!(held, [false, true, false, false, false]);
    }
}
