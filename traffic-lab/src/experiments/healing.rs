//! A-3 and `failure`: a replica is killed under load; who notices, how soon it is replaced, and what it cost.
//!
//! Load is an open loop with equal gaps, so that a pause would show as requests that wait, not as requests never sent.

use anyhow::{Result, ensure};
use serde::Serialize;

use super::load::{Load, counts, send};
use super::published::MD5_WITHOUT_FIRST;
use super::report::Report;
use super::stage::{Fact, Setup, Stage, servers};
use super::table::Table;
use super::{Lab, endpoints};
use crate::chart::{Line, Lines};
use crate::clock;
use crate::results::Run;
use crate::tester::{Arrivals, Pace, Plan};

/// Requests a second.
const RATE: f64 = 300.0;
/// A replica that dies younger than this may be in a crash loop, and its replacement waits a little.
const YOUNG_MS: f64 = 10_500.0;
/// Requests before the kill, at least, and after the replacement answers.
const AROUND: u64 = 450;
/// Sending ends by itself after this, should nothing else end it.
const LONGEST_S: u64 = 60;
/// How soon a replacement must answer.
const RESPAWN_MOST_MS: f64 = 3_000.0;
/// Width of the timeline's windows, seconds.
const WINDOW_S: f64 = 0.25;
/// What of the time before the kill is shown, seconds.
const BEFORE_S: f64 = 3.0;

/// What a kill came to.
#[derive(Debug, Serialize)]
struct Healed {
    victim: String,
    /// Who took its place.
    heir: String,
    /// From the kill until the victim got nothing more.
    noticed_ms: f64,
    /// From the kill until the heir could be picked.
    respawn_ms: f64,
    sent: u64,
    failed: u64,
    /// Attempts on another replica.
    retried: f64,
    slowest_ms: f64,
    /// Unix seconds.
    #[serde(skip)]
    killed: f64,
    #[serde(skip)]
    run: Option<Run>,
}

/// Every endpoint; then a replica dies under load.
pub(crate) async fn a3(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(lab, "a-3", "Every endpoint, then a replica is killed under load");
    let setup = Setup {
        algorithm: "consistent_hash",
        replicas: ["S1", "S2", "S3"].map(str::to_owned).to_vec(),
        pool: "allowed_paths = [\"/home\", \"/heartbeat\"]",
        ..Setup::default()
    };
    let stage = Stage::start(lab, &setup).await?;
    endpoints::ask(&stage, &mut report).await?;
    let healed = kill_under_load(lab, &stage, "/home?request_id={random}", None).await?;
    stage.stop().await?;
    tell(&mut report, &healed)?;
    if let Some(run) = &healed.run {
        report.chart("timeline", timeline(run, &healed));
    }
    report.remark(
        "A dead replica is noticed when the kernel tells of its end, not at the next check; what it held is sent to another one, and its \
         replacement starts at once, a little later where the dead one was younger than 10 s.",
    );
    Ok(report)
}

/// Row H's failure: server1 of three dies under load, and another takes over its part of the ring.
pub(crate) async fn failure(lab: &Lab) -> Result<Report> {
    let mut report = Report::new(lab, "failure", "A replica of the hash balancer is killed under load");
    let setup = Setup {
        algorithm: "consistent_hash",
        preset: "md5-1024-100",
        replicas: servers(3),
        ..Setup::default()
    };
    let stage = Stage::start(lab, &setup).await?;
    let healed = kill_under_load(lab, &stage, "/bench10?request_id={n}", Some("server1")).await?;
    let names = stage.members().await?;
    let plan = Plan { first: 1, ..Plan::new(&stage.url("/request?request_id={n}"), 1_000) };
    let after = counts(&send(plan).await?, &names);
    stage.stop().await?;
    tell(&mut report, &healed)?;
    if let Some(run) = &healed.run {
        report.chart("timeline", timeline(run, &healed));
    }
    report.check(
        names.len() == 3 && after == MD5_WITHOUT_FIRST,
        "afterwards ids 1 to 1,000 go to the two left and the new one as published: 333 / 306 / 361",
        format!("{after:?} to {}", names.join(", ")),
    );
    report.figure("after", after)?;
    report.remark(
        "What row H fixes for this case is the spread after the repair: 333 / 306 / 361 of 1,000. What happens to requests between \
         the failure and the repair is counted here, too.",
    );
    Ok(report)
}

/// Sends, kills `victim` (or the busiest), waits for its heir, and sends on for a while.
async fn kill_under_load(lab: &Lab, stage: &Stage, path: &str, victim: Option<&str>) -> Result<Healed> {
    let before = stage.members().await?;
    let load = Load::start(Plan {
        requests: None,
        duration: Some(std::time::Duration::from_secs(LONGEST_S)),
        pace: Pace::Open { rate: RATE, arrivals: Arrivals::Constant },
        seed: lab.seed,
        first: 1,
        ..Plan::new(&stage.url(path), 1)
    });
    let enough = load.ended() + AROUND;
    stage.until("load", async || Ok((load.ended() >= enough).then_some(()))).await?;
    if !lab.quick {
        let youngest = stage.facts(0).await?.iter().map(|fact| fact.at).fold(0.0, f64::max);
        let old = async || Ok((unix_ms() - youngest > YOUNG_MS).then_some(()));
        stage.until("replicas that are not young", old).await?;
    }
    let victim = match victim {
        Some(name) => name.to_owned(),
        None => stage.busiest().await?,
    };
    let seen = stage.facts(0).await?.last().map_or(0, |fact| fact.number);
    let killed_ms = unix_ms();
    stage.kill(&victim)?;
    let gone = |fact: &Fact| ["ejected", "left", "replica_died", "unhealthy"].contains(&fact.kind.as_str());
    let noticed = stage.fact(seen, "the death noticed", gone).await?;
    let new = |fact: &Fact| fact.kind == "healthy" && !before.contains(&fact.backend);
    let healed = stage.fact(seen, "a replacement", new).await?;
    let enough = load.ended() + AROUND;
    stage.until("load", async || Ok((load.ended() >= enough).then_some(()))).await?;
    let run = load.stop().await?;
    let served = run.summary.instances.get(&victim).copied().unwrap_or(0);
    ensure!(served > 0, "{victim} had no load: its death proves nothing");
    Ok(Healed {
        heir: healed.backend,
        noticed_ms: noticed.at - killed_ms,
        respawn_ms: healed.at - killed_ms,
        sent: run.summary.requests,
        failed: run.summary.failed,
        retried: stage.counter("lb_retries_total").await?,
        slowest_ms: run.summary.latency_ms.max,
        killed: killed_ms / 1e3,
        victim,
        run: Some(run),
    })
}

fn unix_ms() -> f64 {
    let now = clock::Origin::now();
    now.unix(now.at) * 1e3
}

fn tell(report: &mut Report, healed: &Healed) -> Result<()> {
    let columns = [
        "killed",
        "noticed after ms",
        "replaced by",
        "after ms",
        "requests",
        "failed",
        "retried",
        "slowest ms",
    ];
    let mut table = Table::new(&format!("kill -9 at {RATE} requests a second"), &columns);
    table.row(vec![
        healed.victim.clone(),
        format!("{:.0}", healed.noticed_ms),
        healed.heir.clone(),
        format!("{:.0}", healed.respawn_ms),
        healed.sent.to_string(),
        healed.failed.to_string(),
        format!("{:.0}", healed.retried),
        format!("{:.0}", healed.slowest_ms),
    ]);
    report.tables.push(table);
    let sent = format!("{} of {}", healed.failed, healed.sent);
    report.check(healed.failed == 0, "no request fails", sent);
    let respawn = healed.respawn_ms;
    report.check(respawn < RESPAWN_MOST_MS, "another replica answers within 3 s", format!("{respawn:.0} ms"));
    report.figure("healed", healed)
}

/// Answers a second by server, around the kill.
fn timeline(run: &Run, healed: &Healed) -> String {
    let begin = run.records.iter().map(|record| record.due()).fold(f64::INFINITY, f64::min);
    let from = begin.max(healed.killed - BEFORE_S);
    let end = run.records.iter().map(|record| record.resp_rcv_time).fold(from, f64::max);
    // The last window is not whole.
    let windows = ((end - from) / WINDOW_S).floor() as usize;
    let line = |name: &String| {
        let mut count = vec![0_u32; windows];
        for record in run.records.iter().filter(|r| r.good() && r.instance.as_ref() == Some(name)) {
            let at = (record.resp_rcv_time - from) / WINDOW_S;
            if at >= 0.0
                && let Some(window) = count.get_mut(at as usize)
            {
                *window += 1;
            }
        }
        let point = |(at, count): (usize, u32)| ((at as f64 + 0.5) * WINDOW_S, f64::from(count) / WINDOW_S);
        Line {
            name: name.clone(),
            points: count.into_iter().enumerate().map(point).collect(),
            band: Vec::new(),
        }
    };
    let killed = healed.killed - from;
    // The new one comes last, whatever it is called.
    let old = run.summary.instances.keys().filter(|name| **name != healed.heir);
    let names = old.chain(std::iter::once(&healed.heir));
    Lines {
        title: format!("{} is killed at {RATE} requests a second", healed.victim),
        x_label: "seconds".to_owned(),
        y_label: "answers a second".to_owned(),
        lines: names.map(line).collect(),
        marks: vec![
            (killed, format!("{} killed", healed.victim)),
            (
                killed + healed.respawn_ms / 1e3,
                format!("{} answers, {:.0} ms later", healed.heir, healed.respawn_ms),
            ),
        ],
        counted: false,
    }
    .svg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Record, Summary};

    #[test]
    fn the_timeline_has_a_line_for_each_server_and_a_mark_for_each_moment() {
        let record = |at: f64, name: &str| Record {
            instance: Some(name.to_owned()),
            req_snd_time: at,
            resp_rcv_time: at + 0.01,
            status: Some(200),
            ..Record::default()
        };
        let records: Vec<Record> =
            (0..100).map(|n| record(f64::from(n) * 0.1, if n % 2 == 0 { "a" } else { "b" })).collect();
        let run: Run = serde_json::from_str(r#"{"version":1,"id":"x","records":[]}"#).unwrap();
        let run = Run { summary: Summary::of(&records), records, ..run };
        let healed = Healed {
            victim: "a".to_owned(),
            heir: "c".to_owned(),
            noticed_ms: 1.0,
            respawn_ms: 250.0,
            sent: 100,
            failed: 0,
            retried: 0.0,
            slowest_ms: 10.0,
            killed: 5.0,
            run: None,
        };
        let svg = timeline(&run, &healed);
        assert_eq!(svg.matches("class=\"line\"").count(), 3, "{svg}");
        assert!(svg.contains("a killed") && svg.contains("c answers, 250 ms later"), "{svg}");
        let mut report = Report::new(&Lab::nowhere(), "failure", "x");
        tell(&mut report, &Healed { failed: 1, ..healed }).unwrap();
        assert!(!report.holds());
    }
}
