//! From the control task's entries to what others see: the snapshot, and the gauges that describe it.

use std::sync::Arc;

use lb_core::fact::Fact;
use lb_core::{Member, View};

use super::Control;
use super::entry::{Known, State};
use super::standing::{Standing, standing};
use crate::registry::Snapshot;

impl Control {
    /// The only place that publishes.
    pub(super) fn publish(&mut self) {
        self.epoch += 1;
        if std::mem::take(&mut self.reshaped) {
            self.number_members();
            // Until all are there that there shall be from the start, whoever is ready first must not matter. Nor, ever,
            // must what happened before some other balancer came.
            self.rederive(!self.settled || self.shares());
            self.set_locality();
            self.unsaved = true;
        }
        let standing = standing(&self.entries, self.checked_actively(), &self.config.ejection);
        if standing.panic != self.panic {
            self.panic = standing.panic;
            self.tell(Fact::Panic {
                on: standing.panic,
                eligible: standing.faultless,
                total: standing.total,
                threshold: self.config.ejection.panic,
            });
        }
        self.describe(&standing);
        self.registry.publish(self.snapshot(&standing));
    }

    /// A snapshot of the entries as they stand.
    pub(super) fn snapshot(&self, standing: &Standing) -> Snapshot {
        let view = View::new(
            self.members(&standing.eligible),
            Arc::clone(&self.pool),
            Arc::clone(&self.ring),
            self.hashing.clone(),
        )
        .with_locality(self.locality.clone());
        Snapshot {
            epoch: self.epoch,
            config: Arc::clone(&self.config),
            view,
            members: (0..).zip(&self.entries).filter(|(_, e)| e.leaving.is_none()).map(|(i, _)| i).collect(),
            trials: standing.trials.clone().into(),
            states: self.entries.iter().map(|e| e.state(self.checked_actively()).name()).collect(),
            trouble: self.discovered.trouble(&self.config.discovery),
            geo: self.located.geo.clone(),
            places: self.places(&standing.eligible),
            certified: self.certificates.in_force.clone(),
            ceilings: self.ceilings(),
            pressed: self.shortage.bound(),
            limiters: Arc::clone(&self.limiters),
            backends: self.entries.iter().map(|e| Arc::clone(&e.backend)).collect(),
        }
    }

    /// How many requests each backend is given at once, where any is bounded.
    fn ceilings(&self) -> Option<Box<[u32]>> {
        let pool = &self.config.pool;
        if pool.max_in_flight.is_none() && pool.backends.iter().all(|b| b.max_in_flight.is_none()) {
            return None;
        }
        let own = |name: &str| pool.backends.iter().find(|b| b.name == name)?.max_in_flight;
        let ceiling = |e: &super::Entry| own(&e.backend.name).or(pool.max_in_flight).unwrap_or(u32::MAX);
        Some(self.entries.iter().map(ceiling).collect())
    }

    /// Members in the order of the entries.
    fn members(&self, eligible: &[bool]) -> Vec<Member> {
        let member = |(e, &eligible): (&super::Entry, &bool)| Member {
            name_hash: lb_core::hash::hash64(e.backend.name.as_bytes()),
            ordinal: e.ordinal,
            weight: e.backend.weight,
            warmth: e.warmth as f32,
            region: e.region,
            eligible,
            load: Arc::clone(&e.backend.load),
        };
        self.entries.iter().zip(eligible).map(member).collect()
    }

    /// Derives ring and slots anew, after membership, weights or their settings have changed. Slots remember who was
    /// there before, as the originals' do.
    pub(super) fn rederive(&mut self, from_scratch: bool) {
        // Who is leaving has left the slots already, as with the originals; the ring just passes over it.
        let staying: Vec<bool> = self.entries.iter().map(|e| e.leaving.is_none()).collect();
        let members = self.members(&staying);
        let hash = &self.config.hash;
        self.ring = View::ring_of(&members, hash.points);
        let before = if from_scratch { None } else { Some(&self.hashing) };
        self.hashing = hash.preset.build(&members, hash.bound, before);
    }

    /// Sets the gauges that follow from the pool's state.
    fn describe(&self, standing: &Standing) {
        let (metrics, checked) = (&self.metrics, self.checked_actively());
        let pool = metrics.pool.as_str();
        let total: f64 = self.entries.iter().map(|e| f64::from(e.backend.weight)).sum();
        let mut counts = [[0; State::ALL.len()]; Known::ALL.len()];
        for (entry, &eligible) in self.entries.iter().zip(&standing.eligible) {
            let b = &entry.backend;
            let state = entry.state(checked);
            counts[entry.known() as usize][state as usize] += 1;
            let Some(backend) = entry.series.own() else { continue };
            let labels = [pool, backend];
            for (each, name) in State::ALL {
                metrics.backend_state.with_label_values(&[pool, backend, name]).set(i64::from(each == state));
            }
            metrics.backend_healthy.with_label_values(&labels).set(i64::from(eligible));
            metrics.backend_weight.with_label_values(&labels).set(f64::from(b.weight) / total);
            metrics.backend_warmth.with_label_values(&labels).set(entry.warmth);
            metrics
                .backend_info
                .with_label_values(&[pool, backend, &b.address.to_string(), &b.region])
                .set(1);
        }
        self.describe_weights();
        let asked = self.config.discovery.finder.as_ref().map(Known::by);
        for (state, name) in State::ALL {
            let all = counts.iter().map(|of| of[state as usize]).sum();
            metrics.backends.with_label_values(&[pool, name]).set(all);
            for (known, source) in Known::ALL {
                let count = counts[known as usize][state as usize];
                if count > 0 || !known.is_found() || asked == Some(known) {
                    metrics.discovery_endpoints.with_label_values(&[source, name]).set(count);
                } else {
                    // Nobody asks this source any more, and its last members are gone; there may have been none.
                    let _ = metrics.discovery_endpoints.remove_label_values(&[source, name]);
                }
            }
        }
        metrics.panic.with_label_values(&[pool]).set(i64::from(standing.panic));
        let missing = self.supply.orders().count() as i64;
        metrics.replicas_missing.with_label_values(&[pool]).set(missing);
    }
}
