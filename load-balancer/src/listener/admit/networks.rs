//! How many connections each client network has, over all workers.
//!
//! An entry for each network that has any: the table is bounded by the connections there are. A lock is taken when a connection
//! comes and when it goes, and only where connections per network are limited at all; no request takes it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;

/// Connections by client network.
#[derive(Debug, Default)]
pub struct Networks {
    counts: Mutex<HashMap<IpNet, usize>>,
}

/// A connection counted in its network, until it is dropped.
#[derive(Debug)]
pub struct Place {
    networks: Arc<Networks>,
    network: IpNet,
}

impl Networks {
    /// Counts one more of `network`, unless it has `most`.
    #[must_use]
    pub fn enter(self: &Arc<Self>, network: IpNet, most: usize) -> Option<Place> {
        let mut counts = self.counts();
        let count = counts.entry(network).or_insert(0);
        // An entry that was just made is never the one too many: `most` is 1 or more.
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { networks: Arc::clone(self), network })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpNet, usize>> {
        // Counts stay right whatever a thread died of: nothing in here can fail half-way.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.networks.counts();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
                // A flood that is over gives its memory back.
                let left = counts.len();
                if left * 4 < counts.capacity() {
                    counts.shrink_to(left * 2);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_has_its_own_places_and_none_leaves_an_entry_behind() {
        let networks = Arc::new(Networks::default());
        let (a, b): (IpNet, IpNet) = ("192.0.2.1/32".parse().unwrap(), "2001:db8::/64".parse().unwrap());
        let two: Vec<Place> = (0..2).map(|_| networks.enter(a, 2).unwrap()).collect();
        assert!(networks.enter(a, 2).is_none());
        let other = networks.enter(b, 2).unwrap();
        drop(two);
        assert!(networks.enter(a, 2).is_some(), "and dropped at once");
        drop(other);
        assert!(networks.counts().is_empty());
        let flood: Vec<Place> = (0..10_000_u32)
            .map(|i| networks.enter(IpNet::from(std::net::IpAddr::from(i.to_be_bytes())), 1).unwrap())
            .collect();
        assert_eq!(networks.counts().len(), 10_000);
        drop(flood);
        assert!(networks.counts().capacity() < 100, "a flood's memory is kept");
    }
}
