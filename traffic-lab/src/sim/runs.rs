//! All runs of an invocation, spread over the processor's cores, and their medians. Runs share nothing, so their order
//! does not matter to the results.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use anyhow::{Result, anyhow};

use super::cell::Cell;
use super::metric::{Metric, Numbers};
use super::policies::Policy;
use super::world::{Outcomes, run};

/// What a policy did in a cell, over all seeds.
pub(crate) struct Row {
    /// Who.
    pub(crate) policy: &'static Policy,
    /// One result a seed.
    pub(crate) seeds: Vec<(u64, Outcomes)>,
}

impl Row {
    /// The median over seeds (the lower one of two).
    pub(crate) fn median(&self, metric: Metric) -> f64 {
        let sorted = self.sorted(metric);
        sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
    }

    /// The smallest and the largest.
    pub(crate) fn range(&self, metric: Metric) -> [f64; 2] {
        let sorted = self.sorted(metric);
        [sorted.first().copied().unwrap_or(f64::NAN), sorted.last().copied().unwrap_or(f64::NAN)]
    }

    fn sorted(&self, metric: Metric) -> Vec<f64> {
        let mut values: Vec<f64> = self.seeds.iter().map(|(_, run)| run.numbers.get(metric)).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// All medians.
    pub(crate) fn medians(&self) -> Numbers {
        let mut numbers = Numbers::default();
        Metric::ALL.iter().for_each(|&(metric, _)| numbers.set(metric, self.median(metric)));
        numbers
    }
}

/// A cell and what all policies did in it.
pub(crate) struct Ran {
    /// The cell.
    pub(crate) cell: Cell,
    /// In the order of the policies.
    pub(crate) rows: Vec<Row>,
}

impl Ran {
    /// The row of a policy.
    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.policy.name == name)
    }
}

/// Runs every policy in every cell with every seed.
///
/// # Errors
/// If a run cannot be set up.
pub(crate) fn all(cells: &[Cell], policies: &[&'static Policy], seeds: &[u64]) -> Result<Vec<Ran>> {
    let jobs: Vec<(usize, usize, u64)> = (0..cells.len())
        .flat_map(|cell| (0..policies.len()).map(move |policy| (cell, policy)))
        .flat_map(|(cell, policy)| seeds.iter().map(move |&seed| (cell, policy, seed)))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut results = Vec::new();
        while let Some(&(cell, policy, seed)) = jobs.get(next.fetch_add(1, Relaxed)) {
            results.push(((cell, policy, seed), run(&cells[cell], policies[policy], seed)));
        }
        results
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut results = thread::scope(|scope| {
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = started.into_iter().map(|thread| thread.join());
        joined.collect::<thread::Result<Vec<_>>>().map_err(|_| anyhow!("a run panicked"))
    })?
    .into_iter()
    .flatten()
    .map(|(job, result)| Ok((job, result?)))
    .collect::<Result<Vec<_>>>()?;
    results.sort_by_key(|(job, _)| *job);
    let mut results = results.into_iter();
    let ran = cells.iter().map(|cell| {
        let row = |&policy: &&'static Policy| {
            let of_row = results.by_ref().take(seeds.len());
            Row { policy, seeds: of_row.map(|((_, _, seed), run)| (seed, run)).collect() }
        };
        Ran { cell: cell.clone(), rows: policies.iter().map(row).collect() }
    });
    Ok(ran.collect())
}
