//! Rate limits that balancers share: what each has let through is charged at all others, a round later.
//!
//! Each enforces the whole limit, on its own requests and those it has heard of. So a client that comes to one balancer alone
//! has all of its limit, and one that comes to all of them gets too much only for as long as news takes, and pays for it
//! afterwards; `docs/SHARED-STATE.md` has the bound. While the store is lost, each limits what it sees itself.

use std::collections::BTreeMap;

use lb_core::Tick;

use super::super::Control;
use crate::limiter::usage::Round;

impl Control {
    /// Who used which limit of late.
    pub(super) fn told_rates(&self, now: Tick) -> BTreeMap<String, Vec<Round>> {
        let interval = self.config.store.interval;
        let told = |limiter: &std::sync::Arc<crate::limiter::Limiter>| {
            let rounds = limiter.told(now, interval)?;
            (!rounds.is_empty()).then(|| (limiter.name().to_owned(), rounds))
        };
        self.limiters.iter().filter_map(told).collect()
    }

    /// Charges what the others have let through, once.
    pub(super) fn follow_rates(&mut self, now: Tick) {
        let sharing = &mut self.sharing;
        let charged = std::mem::take(&mut sharing.charged);
        for heard in sharing.others.values() {
            for (name, rounds) in &heard.message.rates {
                let who = (heard.message.speaker.clone(), name.clone());
                let newest = rounds.iter().map(|round| round.number).max().unwrap_or_default();
                // Of one that is new here the latest will do: what is older has faded, or is faded soon.
                let before = charged.get(&who).copied().unwrap_or(newest.saturating_sub(1));
                if let Some(limiter) = self.limiters.iter().find(|limiter| limiter.name() == name) {
                    let new = rounds.iter().filter(|round| round.number > before);
                    new.for_each(|round| limiter.charge(now, round));
                }
                sharing.charged.insert(who, newest.max(before));
            }
        }
    }
}
