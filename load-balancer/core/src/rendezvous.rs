//! Who of several does a piece of work, agreed on without talking: highest random weight (Thaler and Ravishankar, "Using
//! name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking 6, 1998).
//!
//! Each combination of work and worker has a fixed random weight, and the heaviest workers do the work. Whoever knows the
//! same workers comes to the same answer; when one leaves, only its own work moves. It fails for as long as some know of a
//! worker that others do not know of: then work is done by one too many or too few.

use crate::hash::mix64;

/// The weight of a worker for a piece of work, both given as hashes.
const fn weight(work: u64, worker: u64) -> u64 {
    mix64(work ^ mix64(worker))
}

/// Whether the worker `own` is one of the `n` heaviest for `work` among itself and `others` (hashes, all different).
pub fn chosen(work: u64, own: u64, others: impl IntoIterator<Item = u64>, n: usize) -> bool {
    let mine = (weight(work, own), own);
    others.into_iter().filter(|&other| (weight(work, other), other) > mine).take(n).count() < n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hash64;

    fn workers(n: usize) -> Vec<u64> {
        (0..n).map(|i| hash64(format!("balancer-{i}").as_bytes())).collect()
    }

    fn who(work: u64, all: &[u64], n: usize) -> Vec<u64> {
        let is = |&own: &u64| chosen(work, own, all.iter().copied().filter(|&other| other != own), n);
        all.iter().copied().filter(is).collect()
    }

    #[test]
    fn as_many_as_asked_for_and_evenly() {
        for m in 1..12 {
            let all = workers(m);
            let mut load = vec![0usize; m];
            for i in 0..6_000u64 {
                let them = who(hash64(&i.to_le_bytes()), &all, 2);
                assert_eq!(them.len(), m.min(2));
                for worker in them {
                    load[all.iter().position(|&w| w == worker).unwrap()] += 1;
                }
            }
            let mean = 6_000 * m.min(2) / m;
            assert!(load.iter().all(|&n| n * 10 >= mean * 9 && n * 10 <= mean * 11), "{load:?}");
        }
    }

    #[test]
    fn when_one_leaves_only_its_own_work_moves() {
        let all = workers(7);
        for i in 0..2_000u64 {
            let work = hash64(&i.to_le_bytes());
            let before = who(work, &all, 2);
            for gone in &all {
                let left: Vec<u64> = all.iter().copied().filter(|w| w != gone).collect();
                let after = who(work, &left, 2);
                if before.contains(gone) {
                    assert_eq!(before.iter().filter(|w| after.contains(w)).count(), 1, "the other one stays");
                } else {
                    assert_eq!(before, after);
                }
            }
        }
    }
}
