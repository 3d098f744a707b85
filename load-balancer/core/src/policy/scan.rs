//! Finding the minimum fairly: over all candidates up to [`FULL_SCAN`] members, over a sample of 16 by weight beyond.
//!
//! One pass gathers the numbers of every candidate's load into a table that each thread keeps; the passes after that are plain
//! loops over chunks of floats, which compile to vector code. Ties are drawn, never taken in pool order: an idle pool
//! would otherwise send everything to whoever is listed first.

use std::cell::RefCell;

use super::sight::{Reading, Sight};
use super::{MAX_TRIED, Pick};
use crate::load::Load;
use crate::locality::Row;
use crate::rng::Rng;
use crate::view::{Chunk, SCAN_CHUNK, View, Weights};
use table::Table;

mod draw;
mod row;
mod table;

/// Members up to which every one is looked at: about 100 ns, and clearly better tails than two choices.
const FULL_SCAN: usize = 128;
/// Weights where weight must not count (again): the members of a sample were drawn by it.
const EVEN: Chunk = [1.0; SCAN_CHUNK];

/// The candidate that holds least for its weight. Exact ties are drawn by weight. `COUNT` and `EXTRA` are what `read` finds.
pub(super) fn lightest<const COUNT: bool, const EXTRA: bool>(
    view: &View,
    pick: &mut Pick<'_>,
    sight: &mut impl Sight,
    read: impl Fn(&Load) -> Reading,
) -> Option<u32> {
    // A count alone cannot say that a candidate is none.
    if EXTRA || !pick.tried.is_empty() {
        scan::<false, COUNT, true, false>(view, pick, sight, None, read)
    } else {
        scan::<false, COUNT, EXTRA, false>(view, pick, sight, None, read)
    }
}

/// The candidate with the smallest (held + 1) · quality · factor / weight, the factor being that of its region in `row`.
/// If that one is idle, the choice is among all idle candidates, by weight and quality: where nothing queues, capacity is
/// shared, not raced for. `EXTRA` is whether `read` finds more than a count.
pub(super) fn cheapest<const EXTRA: bool>(
    view: &View,
    pick: &mut Pick<'_>,
    sight: &mut impl Sight,
    row: Option<Row<'_>>,
    read: impl Fn(&Load) -> Reading,
) -> Option<u32> {
    match row {
        None => scan::<true, true, EXTRA, false>(view, pick, sight, None, read),
        row => scan::<true, true, EXTRA, true>(view, pick, sight, row, read),
    }
}

/// Chunks in a full scan of the largest pool that is scanned in full.
const MOST_CHUNKS: usize = FULL_SCAN / SCAN_CHUNK;

thread_local! {
    /// Kept from pick to pick, because clearing it takes a tenth of one. A pick reads nothing that it did not write.
    static TABLE: RefCell<Table> = const { RefCell::new(Table::EMPTY) };
}

/// Who is looked at: everyone, or in a large pool a sample.
fn scan<const SHARE: bool, const COUNT: bool, const EXTRA: bool, const LOCAL: bool>(
    view: &View,
    pick: &mut Pick<'_>,
    sight: &mut impl Sight,
    row: Option<Row<'_>>,
    read: impl Fn(&Load) -> Reading,
) -> Option<u32> {
    TABLE.with_borrow_mut(|table| {
        if view.eligible().len() <= FULL_SCAN {
            everyone::<SHARE, COUNT, EXTRA, LOCAL>(table, view, pick, sight, row, read)
        } else {
            sample::<SHARE, COUNT, EXTRA, LOCAL>(table, view, pick, sight, row, read)
        }
    })
}

/// What is read of the eligible candidate at `at`, and the factor of its region.
#[inline]
fn look(
    view: &View,
    sight: &mut impl Sight,
    row: Option<&Row<'_>>,
    at: usize,
    load: &Load,
    read: impl Fn(&Load) -> Reading,
) -> (Reading, f32) {
    // Only a noting sight wants the member: no bounds check, which would cost a live one.
    let member = view.eligible().get(at).copied().unwrap_or_default();
    let reading = sight.reading(member, load, read);
    (reading, row.map_or(1.0, |row| sight.factor(member, row, view.region_at(at))))
}

fn everyone<const SHARE: bool, const COUNT: bool, const EXTRA: bool, const LOCAL: bool>(
    table: &mut Table,
    view: &View,
    pick: &mut Pick<'_>,
    sight: &mut impl Sight,
    row: Option<Row<'_>>,
    read: impl Fn(&Load) -> Reading,
) -> Option<u32> {
    let mut look = |at: usize, load: &Load| look(view, sight, row.as_ref(), at, load, &read);
    let (whole, rest) = view.eligible_loads().as_chunks::<SCAN_CHUNK>();
    let mut tried = [usize::MAX; MAX_TRIED];
    for (at, member) in tried.iter_mut().zip(pick.tried.members()) {
        *at = view.place_of(*member).unwrap_or(usize::MAX);
    }
    let tried = &tried[..pick.tried.len()];
    for (chunk, loads) in whole.iter().enumerate().take(MOST_CHUNKS) {
        table.gather::<SHARE, COUNT, EXTRA, LOCAL>(chunk, |at| look(chunk * SCAN_CHUNK + at, &loads[at]));
        tried.iter().for_each(|&at| table.leave_out::<SHARE, COUNT, EXTRA>(chunk, at));
    }
    if !rest.is_empty() && whole.len() < MOST_CHUNKS {
        let chunk = whole.len();
        table.clear::<SHARE, COUNT, EXTRA>(chunk);
        for (at, load) in rest.iter().enumerate() {
            table.put::<SHARE, COUNT, EXTRA>(chunk, at, look(chunk * SCAN_CHUNK + at, load));
        }
        tried.iter().for_each(|&at| table.leave_out::<SHARE, COUNT, EXTRA>(chunk, at));
    }
    let any = |rng: &mut Rng| view.draw_at(pick.tried, rng).map(|at| at as usize);
    let at =
        table.winner::<SHARE, COUNT, EXTRA, LOCAL>((view.scan_weights(), view.heaviest()), any, pick.rng)?;
    view.eligible().get(at).copied()
}

fn sample<const SHARE: bool, const COUNT: bool, const EXTRA: bool, const LOCAL: bool>(
    table: &mut Table,
    view: &View,
    pick: &mut Pick<'_>,
    sight: &mut impl Sight,
    row: Option<Row<'_>>,
    read: impl Fn(&Load) -> Reading,
) -> Option<u32> {
    let mut drawn = [0; SCAN_CHUNK];
    for slot in &mut drawn {
        *slot = view.draw_at(pick.tried, pick.rng)? as usize;
    }
    let loads = view.eligible_loads();
    table.gather::<SHARE, COUNT, EXTRA, LOCAL>(0, |at| {
        look(view, sight, row.as_ref(), drawn[at], &loads[drawn[at]], &read)
    });
    let inverse = drawn.map(|at| view.scan_weights()[at / SCAN_CHUNK].inverse[at % SCAN_CHUNK]);
    let any = |rng: &mut Rng| Some(rng.below(SCAN_CHUNK as u32) as usize);
    let at = table.winner::<SHARE, COUNT, EXTRA, LOCAL>(
        (&[Weights { weight: EVEN, inverse }], 1.0),
        any,
        pick.rng,
    )?;
    view.eligible().get(drawn[at]).copied()
}
