//! The default consistent-hash ring: many points a backend on a 32-bit circle, found in constant expected time.
//!
//! It holds every member, healthy or not: a backend that comes and goes moves only its own keys, because a walk skips
//! it instead of the ring being rebuilt.

use crate::hash::mix64;

/// Points per unit of weight by default: the standard deviation of a backend's share is about 1/√points, so 4,096
/// keeps the largest of a few backends well within 5 % of the mean, chance in the keys included.
pub const DEFAULT_POINTS: u32 = 4_096;
/// Most points of one ring (8 bytes each, 32 MiB). Where weights and members ask for more, every backend's points are
/// halved until they fit: the first half of them stays where it is.
pub const MAX_POINTS: u64 = 1 << 22;

/// An immutable ring over the members of one view, by their position in it.
#[derive(Debug, Default)]
pub struct Ring {
    /// Sorted; the high half is the place on the circle, the low half the member.
    points: Box<[u64]>,
    /// For each equal slice of the circle, the first point at or after its start.
    starts: Box<[u32]>,
    shift: u32,
}

impl Ring {
    /// A ring of `(name hash, weight)` members with `points` points per unit of weight. Members with weight 0 have none.
    #[must_use]
    pub fn new(members: impl Iterator<Item = (u64, u32)> + Clone, points: u32) -> Self {
        let total: u64 = members.clone().map(|(_, w)| u64::from(w) * u64::from(points)).sum();
        let halvings = (0..32).find(|h| total >> h <= MAX_POINTS).unwrap_or(32);
        let mut all = Vec::with_capacity((total >> halvings) as usize);
        for (i, (name, weight)) in members.enumerate() {
            let count = u64::from(weight) * u64::from(points);
            let count = if count > 0 { (count >> halvings).max(1) } else { 0 };
            all.extend((0..count).map(|j| {
                let place = mix64(name ^ mix64(j.wrapping_add(1)));
                (place & !0xffff_ffff) | i as u64
            }));
        }
        all.sort_unstable();
        let slices = all.len().next_power_of_two().max(1);
        let shift = 32 - slices.trailing_zeros().min(32);
        let mut starts = Vec::with_capacity(slices);
        let mut at = 0;
        for slice in 0..slices as u64 {
            while at < all.len() && (all[at] >> 32) < (slice << shift) {
                at += 1;
            }
            starts.push(at as u32);
        }
        Ring { points: all.into(), starts: starts.into(), shift }
    }

    /// Members in the order in which a key with this hash would try them: every point once, so members repeat.
    pub fn walk(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let place = hash >> 32;
        let slice = (place >> self.shift) as usize;
        let mut at = self.starts.get(slice).map_or(0, |&s| s as usize);
        while self.points.get(at).is_some_and(|&p| (p >> 32) < place) {
            at += 1;
        }
        let (before, after) = self.points.split_at(at.min(self.points.len()));
        after.iter().chain(before).map(|&p| p as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash64;

    fn ring(names: &[&str]) -> Ring {
        Ring::new(names.iter().map(|n| (hash64(n.as_bytes()), 1)), DEFAULT_POINTS)
    }

    #[test]
    fn three_backends_share_within_five_percent() {
        let ring = ring(&["backend1", "backend2", "backend3"]);
        let mut seen = [0u32; 3];
        for id in 1..=10_000u32 {
            let first = ring.walk(hash64(id.to_string().as_bytes())).next().unwrap();
            seen[first as usize] += 1;
        }
        assert!(*seen.iter().max().unwrap() <= 3_500, "{seen:?}");
    }

    #[test]
    fn the_walk_visits_every_point_once_in_order() {
        let ring = ring(&["a", "b"]);
        for key in 0..100u64 {
            let hash = mix64(key + 1);
            let steps: Vec<u32> = ring.walk(hash).collect();
            assert_eq!(steps.len(), 2 * DEFAULT_POINTS as usize);
            // The same answer as a plain search over all points.
            let at = ring.points.partition_point(|&p| (p >> 32) < (hash >> 32)) % ring.points.len();
            assert_eq!(steps[0], ring.points[at] as u32);
        }
    }

    #[test]
    fn a_removed_member_moves_only_its_keys() {
        let (all, less) = (ring(&["a", "b", "c", "d"]), ring(&["a", "b", "c"]));
        let mut moved = 0;
        for key in 0..20_000u64 {
            let hash = hash64(&key.to_le_bytes());
            let (was, is) = (all.walk(hash).next().unwrap(), less.walk(hash).next().unwrap());
            if was == 3 {
                moved += 1;
                assert_eq!(
                    all.walk(hash).find(|&m| m != 3).unwrap(),
                    is,
                    "spills where removal would send it"
                );
            } else {
                assert_eq!(was, is);
            }
        }
        assert!((4_500..5_500).contains(&moved), "{moved}");
    }

    #[test]
    fn empty_rings_lead_nowhere() {
        assert_eq!(Ring::default().walk(5).next(), None);
        assert_eq!(Ring::new([(1, 0)].into_iter(), 100).walk(5).next(), None);
    }
}
