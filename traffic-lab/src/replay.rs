//! `traffic-lab replay RUN --algo X`: a run's requests, made again in the simulator under another algorithm, and what is
//! predicted beside what was measured. Given decision records, it makes every pick again.
//!
//! For decision records see [`picks`]. For runs, reading order: [`pool`] (who the backends were) with [`slots`] → [`traffic`] (what came) → the simulator → [`table`].
//! Nothing is drawn but by the policies, from `--seed`: the same command writes the same files, byte for byte.
//! How it fails: a file that is no run, one without records or good answers, and an unknown algorithm are refused with what
//! would do.

mod picks;
mod pool;
mod slots;
mod table;
mod traffic;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::results::{self, Run};
use crate::sim::play::{self, Policy};
use pool::{Pool, Said};
use traffic::Traffic;

/// What policies draw from unless told otherwise; any number would do.
const SEED: u64 = 1;

/// What to play again.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A run, as `traffic-lab tester` writes it, or the answer of `/decisions?what=requests&format=json&exact=true`.
    run: PathBuf,
    /// Algorithms for a run's requests, by the names of `?algo=` or the simulator's; separated by commas.
    #[arg(long, value_delimiter = ',')]
    algo: Vec<String>,
    /// Slots of every backend, instead of what the run shows.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    slots: Option<u32>,
    /// A TOML file with `[[backend]]` tables: name, and slots, speed, weight, region where they are known better.
    #[arg(long)]
    pool: Option<PathBuf>,
    /// Have `adaptive` scrape the backends, as with `[signals]`.
    #[arg(long)]
    signals: bool,
    /// What policies draw from.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Where predicted runs, the table and the chart are written.
    #[arg(long, default_value = "results")]
    out: PathBuf,
}

/// Replays a run, prints the table and writes the files.
///
/// # Errors
/// If the run, the pool or an algorithm is not what it should be, nothing can be written, or a recorded pick comes out
/// differently.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let policies =
        arguments.algo.iter().map(|name| policy(name, arguments.signals)).collect::<Result<Vec<_>>>()?;
    let path = &arguments.run;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    if picks::are_these(&text) {
        ensure!(
            arguments.algo.is_empty(),
            "decision records are made again by the algorithm that made them: no --algo"
        );
        let again = picks::again(&text).with_context(|| path.display().to_string())?;
        print!("{}", again.text());
        ensure!(again.wrong.is_empty(), "{} picks came out differently", again.wrong.len());
        return Ok(());
    }
    ensure!(!policies.is_empty(), "say under which algorithm: --algo, one of {}", play::names().join(", "));
    let run = results::read(path)?;
    ensure!(
        results::named(&run.id),
        "run id {:?}: rename the file, with letters, digits, `-`, `_` and `.` only",
        run.id
    );
    let backends = arguments.pool.as_deref().map(pool::read).transpose()?.unwrap_or_default();
    let (pool, predicted) =
        predict(&run, &Said { backends, slots: arguments.slots }, &policies, arguments.seed)?;
    let text = table::text(&run, &pool, &predicted, arguments.signals);
    print!("{text}");
    write(&arguments.out, &run, &predicted, &text)
}

/// The policy of a name that somebody gave, and the name.
fn policy(name: &str, signals: bool) -> Result<(&str, &'static Policy)> {
    let known = || format!("no algorithm is called `{name}`; there are {}", play::names().join(", "));
    Ok((name, play::find(name, signals).with_context(known)?))
}

/// The backends, and what becomes of the run's requests there under each policy.
fn predict(run: &Run, said: &Said, policies: &[(&str, &Policy)], seed: u64) -> Result<(Pool, Vec<Run>)> {
    ensure!(!run.records.is_empty(), "run {} has no records: nothing to replay", run.id);
    ensure!(
        run.records.iter().any(results::Record::good),
        "run {} has no good answer: nothing is known of what its requests take",
        run.id
    );
    let pool = Pool::of(run, said)?;
    let traffic = Traffic::of(run, &pool);
    let chosen: Vec<&Policy> = policies.iter().map(|&(_, policy)| policy).collect();
    let played = play::play(traffic.arrivals.clone(), &pool.servers, &chosen, seed)?;
    let predicted = policies
        .iter()
        .zip(&played)
        .map(|((name, _), played)| traffic.predicted(run, &pool, name, played))
        .collect();
    Ok((pool, predicted))
}

/// Writes each predicted run, the table and the chart.
fn write(out: &Path, run: &Run, predicted: &[Run], text: &str) -> Result<()> {
    for prediction in predicted {
        results::write(out, prediction)?;
    }
    let beside = |extension: &str| out.join(format!("{}-replayed.{extension}", run.id));
    let write = |path: PathBuf, text: &str| {
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write(beside("txt"), text)?;
    let curve = |run: &Run| run.records.iter().filter(|r| r.good()).map(|r| r.service() * 1e3).collect();
    let measured = std::iter::once(("measured".to_owned(), curve(run)));
    let name = |run: &Run| run.sending.algorithm.clone().unwrap_or_default();
    let curves = measured.chain(predicted.iter().map(|run| (name(run), curve(run)))).collect();
    write(beside("svg"), &play::chart(&format!("{}: measured and predicted", run.id), curves))?;
    println!(
        "\nwritten to {}: {}-replayed.txt and .svg, and a run for each algorithm",
        out.display(),
        run.id
    );
    Ok(())
}

#[cfg(test)]
mod tests;
