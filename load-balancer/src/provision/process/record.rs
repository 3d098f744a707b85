//! The file that tells the next balancer which processes this one started: one JSON line for each.
//!
//! A process id alone is no proof, since the system gives it to others later; with the time of the process's start it
//! is. The balancer itself is recorded with each child, in the same way: while it lives, its children are no orphans.
//! How it fails: a line that cannot be read is passed over, a file that cannot be is an error.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::child::signal;
use crate::provision::STOP_GRACE;

/// Between looks at whether an orphan has ended: only a parent would be told.
const LOOK: Duration = Duration::from_millis(20);
/// For a killed process to vanish: the system needs milliseconds.
const VANISH: Duration = Duration::from_secs(2);

/// One process, and no other that is given its id later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pid: u32,
    /// Ticks from boot to its start; nought if it is not there.
    start: u64,
}

impl Identity {
    /// Whoever has this process id now.
    pub(super) fn of(pid: u32) -> Self {
        let start = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| start(&stat));
        Identity { pid, start: start.unwrap_or(0) }
    }

    /// Whether it still runs.
    fn lives(self) -> bool {
        self.start != 0 && Self::of(self.pid) == self
    }

    /// True once it has ended, false if it has not within `patience`.
    async fn ended(self, patience: Duration) -> bool {
        let gone = async {
            while self.lives() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(patience, gone).await.is_ok()
    }
}

/// The start of a process that has not ended, from its `/proc/<pid>/stat` (proc(5)).
fn start(stat: &str) -> Option<u64> {
    // The second field is its name in parentheses and may hold anything, parentheses too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // The third field: a zombie, or one being reaped, runs no more.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    // The twenty-second.
    fields.nth(18)?.parse().ok()
}

/// One line.
#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    #[serde(flatten)]
    child: Identity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    balancer: Option<Identity>,
}

/// The file.
pub(super) struct Record {
    path: PathBuf,
    own: Identity,
    /// The balancer that this one succeeds, and that ends its children itself.
    predecessor: Option<Identity>,
}

impl Record {
    /// The record at `path`; nothing is read or written yet. `succeeds` is the process of a predecessor that still serves.
    pub(super) fn new(path: PathBuf, succeeds: Option<u32>) -> Self {
        Record { path, own: Identity::of(std::process::id()), predecessor: succeeds.map(Identity::of) }
    }

    /// Replaces what it holds.
    pub(super) fn write<'a>(
        &self,
        children: impl Iterator<Item = (&'a str, Identity)>,
    ) -> Result<(), String> {
        let mut text = String::new();
        for (name, child) in children {
            let line = Line { name: name.to_owned(), child, balancer: Some(self.own) };
            text += &serde_json::to_string(&line).map_err(|e| e.to_string())?;
            text.push('\n');
        }
        // Renaming replaces at once: a crash leaves the old record or the new one.
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &self.path))
            .map_err(|e| format!("the record of replicas, {}, cannot be written: {e}", self.path.display()))
    }

    /// Ends what another balancer left behind, and empties the record.
    pub(super) async fn end_orphans(&self) -> Result<(), String> {
        let text = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|e| {
                format!("the record of replicas, {}, cannot be read: {e}", self.path.display())
            })?,
        };
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let ours = |line: &Line| line.balancer.is_none() || line.balancer != self.predecessor;
        let lines: Vec<Line> = lines.filter(ours).collect();
        if let Some(other) = lines.iter().filter_map(|l| l.balancer).find(|b| *b != self.own && b.lives()) {
            return Err(format!(
                "{} is in use by the balancer with process id {}: give each its own file, or stop that one",
                self.path.display(),
                other.pid
            ));
        }
        let orphans: Vec<&Line> = lines.iter().filter(|line| line.child.lives()).collect();
        for orphan in &orphans {
            tracing::warn!(
                replica = orphan.name,
                pid = orphan.child.pid,
                "left behind by another balancer: ended"
            );
            signal(Some(orphan.child.pid), Signal::TERM);
        }
        for orphan in orphans {
            if orphan.child.ended(STOP_GRACE).await {
                continue;
            }
            signal(Some(orphan.child.pid), Signal::KILL);
            if !orphan.child.ended(VANISH).await {
                return Err(format!("{} (process id {}) cannot be ended", orphan.name, orphan.child.pid));
            }
        }
        self.write(std::iter::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::start;

    #[test]
    fn the_start_is_found_whatever_the_name() {
        let rest = "S 1 2 3 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 424242 1 2";
        for name in ["(sleep)", "(a) Z (b))"] {
            assert_eq!(start(&format!("7 {name} {rest}")), Some(424_242));
        }
        assert_eq!(start("7 (x) Z 1 2 3 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9 1 2"), None);
        assert_eq!(start(""), None);
    }
}
