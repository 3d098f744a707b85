//! Memory as a bound on requests: what is in flight holds buffers, and a process that its system kills answers nobody.
//!
//! Once a second the process's resident memory is held against `limits.memory`. Beyond it, fewer requests may be in flight
//! than are: half of them, and half of that a second later, as long as it takes; further ones are refused by 503. Once there is
//! some room again the bound doubles each second until it binds nobody. Half and double, and not all or nothing: pages come
//! back to the system late or never, and an outage for that would be of our own making. So some are always served.
//!
//! Where the system does not say how much memory there is, nothing is bound. Pure but for the two readings.

use std::path::Path;
use std::time::Duration;

use lb_core::Tick;
use lb_core::fact::Fact;

use super::Control;
use crate::config::Memory;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Requests in flight that are allowed however short memory is.
const LEAST: usize = 8;
/// The share of the limit below which the bound is doubled each second.
const ROOM: f64 = 0.95;
/// Between the two it grows by one in so many: memory may be held by what no request can give back (connections that rest, the
/// allocator), and then it would stay for ever; the next excess halves it again.
const SLOWLY: usize = 8;
/// The share of the control group's memory that is taken for the limit where none is configured: the rest is the kernel's, for
/// sockets, and a second's growth.
const OF_GROUP: f64 = 0.9;
/// Where version 1 of control groups says that there is no limit: a number of pages that no machine has.
const UNBOUND: u64 = 1 << 60;

/// What memory leaves room for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shortage {
    held: Option<Held>,
}

/// A bound in force.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    bound: usize,
    /// Bytes in use at the last look: where they fall already, the bound is low enough.
    used: u64,
    /// Requests in flight when it began: a bound beyond that binds nobody.
    before: usize,
}

/// What a look has changed.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Begins,
    Moves,
    Ends,
}

impl Shortage {
    /// Requests that may be in flight; `None` for any number.
    pub(super) fn bound(&self) -> Option<usize> {
        self.held.as_ref().map(|held| held.bound)
    }

    /// A look at `used` bytes of `limit`, while so many requests are in flight.
    fn look(&mut self, used: u64, limit: u64, in_flight: usize) -> Option<Change> {
        let room = used as f64 <= limit as f64 * ROOM;
        match &mut self.held {
            None if used > limit => {
                self.held = Some(Held { bound: (in_flight / 2).max(LEAST), used, before: in_flight });
                Some(Change::Begins)
            }
            None => None,
            Some(held) if used > limit => {
                let falls = used < std::mem::replace(&mut held.used, used);
                let before = held.bound;
                if !falls {
                    held.bound = (before.min(in_flight) / 2).max(LEAST).min(before);
                }
                (held.bound < before).then_some(Change::Moves)
            }
            Some(held) => {
                let wider = if room { held.bound * 2 } else { held.bound + held.bound.div_ceil(SLOWLY) };
                if wider > held.before {
                    self.held = None;
                    return Some(Change::Ends);
                }
                held.bound = wider;
                Some(Change::Moves)
            }
        }
    }
}

impl Control {
    /// Looks at memory, once a second; true where others must see a change.
    pub(super) fn watch_memory(&mut self, now: Tick) -> bool {
        if now < self.next_memory {
            return false;
        }
        self.next_memory = now.after(EVERY);
        let limit = match self.config.limits.memory {
            Memory::Any => None,
            Memory::Bytes(bytes) => Some(bytes),
            Memory::OfGroup => group().map(|bytes| (bytes as f64 * OF_GROUP) as u64),
        };
        self.metrics.memory_limit.with_label_values::<&str>(&[]).set(limit.unwrap_or(0) as i64);
        // A limit that is taken away by a reload binds nobody any more.
        let (used, limit) = limit.and_then(|limit| resident().zip(Some(limit))).unwrap_or((0, u64::MAX));
        let in_flight = self.pool.passing() as usize;
        let change = self.shortage.look(used, limit, in_flight);
        if matches!(change, Some(Change::Begins | Change::Ends)) {
            let on = self.shortage.bound().is_some();
            self.tell(Fact::Memory { on, used, limit, in_flight });
        }
        change.is_some()
    }
}

/// Bytes of memory that this process has in use.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Bytes that this process's control group may have, by either version.
fn group() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let read = |file: &Path| limit_in(&std::fs::read_to_string(file).ok()?);
    let root = Path::new("/sys/fs/cgroup");
    if let Some(path) = own.lines().find_map(|line| line.strip_prefix("0::/")) {
        // The groups above bound it, too. In a container its own is the root.
        let below = root.join(path);
        let groups = below.ancestors().take_while(|above| above.starts_with(root));
        if let Some(least) = groups.filter_map(|group| read(&group.join("memory.max"))).min() {
            return Some(least);
        }
    }
    read(&root.join("memory/memory.limit_in_bytes"))
}

/// The limit that a file says; `None` where it says that there is none.
fn limit_in(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| (1..UNBOUND).contains(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1_000;

    /// Bounds after looks at (used, in flight).
    fn bounds(looks: &[(u64, usize)]) -> Vec<Option<usize>> {
        let mut shortage = Shortage::default();
        let mut bound = |&(used, in_flight)| {
            shortage.look(used, LIMIT, in_flight);
            shortage.bound()
        };
        looks.iter().map(&mut bound).collect()
    }

    #[test]
    fn beyond_the_limit_half_go_on_and_half_of_them_a_second_later_unless_memory_falls() {
        let looks = [(1_000, 400), (1_001, 400), (1_200, 390), (1_200, 60), (1_100, 50), (1_100, 50)];
        assert_eq!(bounds(&looks), [None, Some(200), Some(100), Some(30), Some(30), Some(15)]);
    }

    #[test]
    fn some_are_served_however_long_it_takes() {
        let looks = [(2_000, 3); 50];
        assert!(bounds(&looks).iter().all(|bound| *bound == Some(LEAST)));
    }

    #[test]
    fn between_the_marks_it_grows_slowly_and_with_room_it_doubles_until_nobody_is_bound() {
        let mut looks = vec![(1_001, 400), (1_001, 200), (1_000, 100), (951, 113)];
        assert_eq!(bounds(&looks), [200, 100, 113, 128].map(Some));
        looks.extend([(950, 100), (900, 200), (900, 300)]);
        assert_eq!(bounds(&looks)[4..], [Some(256), None, None]);
    }

    #[test]
    fn memory_that_nobody_gives_back_below_the_limit_binds_for_less_than_a_minute() {
        let mut looks = vec![(1_001, 400); 10];
        looks.extend([(980, 400); 50]);
        let bounds = bounds(&looks);
        assert_eq!((bounds[9], bounds[59]), (Some(LEAST), None));
    }

    #[test]
    fn begin_and_end_are_told_once() {
        let mut shortage = Shortage::default();
        let looks = [(1_001, 40), (1_001, 40), (1_001, 4), (940, 4), (940, 4), (940, 4), (940, 4)];
        let changes: Vec<_> =
            looks.iter().map(|&(used, in_flight)| shortage.look(used, LIMIT, in_flight)).collect();
        use Change::{Begins, Ends, Moves};
        let expected = [Some(Begins), Some(Moves), Some(Moves), Some(Moves), Some(Moves), Some(Ends), None];
        assert_eq!(changes, expected);
    }

    #[test]
    fn what_the_system_says_is_read() {
        assert!((1 << 20..1 << 40).contains(&resident().unwrap()));
        assert_eq!((limit_in("268435456\n"), limit_in("max\n")), (Some(256 << 20), None));
        assert_eq!((limit_in("9223372036854771712\n"), limit_in("0"), limit_in("")), (None, None, None));
    }
}
