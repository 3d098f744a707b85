//! Whether a file has changed, from looks at it: pure, so that a test is its own clock and its own file system.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

/// What a look sees. A file that was replaced, also behind a symbolic link, has another inode; one that was written again,
/// another time or length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// When it was last written.
    pub modified: Option<SystemTime>,
    /// Its length in bytes.
    pub length: u64,
    /// Its identity in the file system.
    pub inode: u64,
}

impl Stamp {
    /// Looks; `None` where there is no such file.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Stamp { modified: found.modified().ok(), length: found.len(), inode: found.ino() })
    }
}

/// The looks so far.
#[derive(Debug)]
pub struct Watch {
    applied: Option<Stamp>,
    last: Option<Stamp>,
}

impl Watch {
    /// After `applied` has been read.
    #[must_use]
    pub fn new(applied: Option<Stamp>) -> Self {
        Watch { applied, last: applied }
    }

    /// Takes a look in; true where the file is to be read: it differs from the one that was read last, and two looks have
    /// seen it alike, so nobody is in the middle of writing it. A file that is gone is none.
    pub fn look(&mut self, seen: Option<Stamp>) -> bool {
        let settled = seen == self.last;
        self.last = seen;
        let due = settled && seen.is_some() && seen != self.applied;
        if due {
            self.applied = seen;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_due_once_and_only_when_it_has_settled() {
        let stamp = |length| Some(Stamp { modified: None, length, inode: 1 });
        let mut watch = Watch::new(stamp(1));
        let looks = [(1, false), (2, false), (3, false), (3, true), (3, false), (4, false), (3, false)];
        for (i, (length, due)) in looks.into_iter().enumerate() {
            assert_eq!(watch.look(stamp(length)), due, "look {i}");
        }
        assert!(!watch.look(None) && !watch.look(None), "gone");
        assert!(!watch.look(stamp(3)) && !watch.look(stamp(3)), "back as it was");
        let other = stamp(3).map(|s| Stamp { inode: 2, ..s });
        assert!(!watch.look(other) && watch.look(other), "another file under its name");
    }
}
