//! One backend per key, with bounded loads: a backend that already holds more than c times its fair share of the requests
//! in flight passes the key on to the next one on the ring (V. Mirrokni, M. Thorup, M. Zadimoghaddam, "Consistent hashing
//! with bounded loads", SODA 2018). A hot key then spreads instead of sinking its backend.

use super::Pick;
use super::sight::{Reading, Sight};
use crate::hash::hash64;
use crate::view::{Hashing, View};

/// Points looked at per eligible member before the bound gives way: chance alone needs a few.
const MAX_STEPS_EACH: usize = 16;

pub(super) fn pick(view: &View, pick: &mut Pick<'_>, sight: &mut impl Sight) -> Option<u32> {
    if view.eligible().is_empty() {
        return None;
    }
    let usable = |&i: &u32| view.usable(i, pick.tried);
    match view.hashing() {
        Hashing::Slots { table, pair } => table.walk(pair.request(pick.key)).find(usable),
        Hashing::Ring { bound: None } => view.ring().walk(hash64(pick.key)).find(usable),
        Hashing::Ring { bound: Some(bound) } => {
            // ⌈c · (in flight + this one) · w / W⌉
            let fair = bound * (sight.in_flight(view.pool()) + 1) as f32 / view.eligible_weight() as f32;
            let walk = || view.ring().walk(hash64(pick.key)).filter(usable);
            let has_room = |&i: &u32| {
                let member = &view.members()[i as usize];
                // Failures count as requests held: who answers at once never fills up otherwise, and would get the
                // overflow of all the others.
                let reading = sight.reading(i, &member.load, Reading::of_pressure);
                reading.held() < (fair * member.weight as f32).ceil()
            };
            // Where nobody has room (an outage: failures weigh), a whole ring must not be walked in vain.
            let steps = MAX_STEPS_EACH * view.eligible().len();
            walk().take(steps).find(has_room).or_else(|| walk().next())
        }
    }
}
