//! The writing thread: the only one that a disk or a pipe can hold up.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use lb_core::Tick;
use prometheus::IntCounter;

use super::super::seldom::Seldom;
use super::queue::{Message, Queue};

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
}

impl Target {
    /// Opens it. A pipe with a name is opened for both directions: else that would wait for a reader.
    pub(super) fn open(&self) -> io::Result<File> {
        match self {
            Target::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Target::Stderr => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
            Target::File(path) => {
                let pipe = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
                let mut options = OpenOptions::new();
                if pipe {
                    options.read(true).write(true)
                } else {
                    options.append(true).create(true)
                };
                options.open(path)
            }
        }
    }
}

/// What the thread works with.
pub(super) struct Sink {
    pub(super) file: File,
    pub(super) queue: Arc<Queue>,
    pub(super) written: IntCounter,
    pub(super) dropped: IntCounter,
    pub(super) now: Arc<dyn Fn() -> Tick + Send + Sync>,
}

impl Sink {
    /// Writes until nobody can tell it anything any more.
    pub(super) fn run(mut self) {
        let (mut trouble, mut torn) = (Seldom::default(), false);
        while let Some(message) = self.queue.next(&*self.now) {
            match message {
                Message::Lines(bytes, lines) => {
                    let (whole, error) = put(&mut self.file, &bytes, &mut torn);
                    drop(bytes);
                    if !self.queue.done() {
                        return;
                    }
                    self.written.inc_by(whole as u64);
                    self.dropped.inc_by(lines.saturating_sub(whole) as u64);
                    if let Some(error) = error
                        && trouble.due((self.now)())
                    {
                        tracing::warn!(%error, "the access log cannot be written");
                    }
                }
                Message::Turn(file) => {
                    torn = torn && same(&self.file, &file);
                    self.file = file;
                }
                // Who asked may have lost patience.
                Message::Flush(done) => drop(done.send(())),
            }
        }
    }
}

/// Writes whole lines as far as they go: how many went, and why no more did. Where one broke off, `torn` says so, and the
/// next write begins a line of its own, so that half a line costs nobody but itself.
fn put(to: &mut impl Write, bytes: &[u8], torn: &mut bool) -> (usize, Option<io::Error>) {
    if *torn {
        if let (_, Some(error)) = push(to, b"\n") {
            return (0, Some(error));
        }
        *torn = false;
    }
    let (went, error) = push(to, bytes);
    let went = &bytes[..went];
    *torn = went.last().is_some_and(|last| *last != b'\n');
    (went.iter().filter(|byte| **byte == b'\n').count(), error)
}

/// Writes as much as goes: how many bytes did, and why no more.
fn push(to: &mut impl Write, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut went = 0;
    while went < bytes.len() {
        match to.write(&bytes[went..]) {
            Ok(0) => return (went, Some(ErrorKind::WriteZero.into())),
            Ok(n) => went += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (went, Some(error)),
        }
    }
    (went, None)
}

/// Whether both are the same file.
fn same(one: &File, other: &File) -> bool {
    let of = |file: &File| file.metadata().map(|known| (known.dev(), known.ino())).ok();
    of(one).is_some_and(|known| of(other) == Some(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that has room for so many bytes more.
    struct Disk(Vec<u8>, usize);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.1).min(4);
            if n == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.0.extend_from_slice(&bytes[..n]);
            self.1 -= n;
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_fills_up_costs_the_lines_that_are_not_on_it() {
        let (mut disk, mut torn) = (Disk(Vec::new(), 8), false);
        let (whole, error) = put(&mut disk, b"one\ntwo\nthree\n", &mut torn);
        assert_eq!((whole, error.unwrap().kind(), torn), (2, ErrorKind::StorageFull, false));
        disk.1 = 3;
        assert_eq!((put(&mut disk, b"four\n", &mut torn).0, torn), (0, true));
        assert_eq!((put(&mut disk, b"five\n", &mut torn).0, torn), (0, true), "full still");
        disk.1 = 100;
        let (whole, error) = put(&mut disk, b"six\nseven\n", &mut torn);
        assert_eq!((whole, error.is_none(), torn), (2, true, false));
        assert_eq!(String::from_utf8(disk.0).unwrap(), "one\ntwo\nfou\nsix\nseven\n");
    }
}
