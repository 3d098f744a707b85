//! Who may be picked: health, ejection, saturation and drain taken together, with the two exceptions that keep a pool
//! from locking itself out.
//!
//! A failed check, an order to drain: these always hold, since the backend or its operator said so. Ejections are what the
//! balancer concluded from traffic; where they leave too few (the panic threshold, as Envoy has it), the conclusion is
//! more likely wrong than the backends, and ejected ones are picked again. Their failures still cost, so load-aware
//! algorithms go on avoiding the worst. A pool in which everybody is saturated is not left without anybody either.

use lb_core::Tick;
use lb_core::cap::panics;

use super::entry::Entry;
use crate::config::Ejection;

/// The answer for one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// Position by position.
    pub(super) eligible: Vec<bool>,
    /// Positions with a trial to give, and since when.
    pub(super) trials: Vec<(u32, Tick)>,
    /// Members without fault.
    pub(super) faultless: usize,
    /// Members that are not leaving.
    pub(super) total: usize,
    /// Ejections are ignored.
    pub(super) panic: bool,
}

/// Judges all entries.
pub(super) fn standing(entries: &[Entry], checked: bool, ejection: &Ejection) -> Standing {
    let total = entries.iter().filter(|e| e.leaving.is_none()).count();
    let ready = |e: &&Entry| e.ready(checked);
    let faultless = entries.iter().filter(ready).filter(|e| e.closed()).count();
    let ejected = entries.iter().filter(ready).any(|e| !e.closed());
    let panic = ejected && panics(faultless, total, ejection.panic);
    let may = |e: &Entry| e.ready(checked) && (e.closed() || panic);
    let relief = !entries.iter().any(|e| may(e) && !e.held);
    Standing {
        eligible: entries.iter().map(|e| may(e) && (!e.held || relief)).collect(),
        trials: (0..)
            .zip(entries)
            .filter(|(_, e)| e.ready(checked))
            .filter_map(|(i, e)| Some((i, e.trying()?)))
            .collect(),
        faultless,
        total,
        panic,
    }
}
