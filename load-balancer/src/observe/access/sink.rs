//! The writing thread: the only one that a disk or a pipe can hold up.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender};

use lb_core::Tick;
use prometheus::IntCounter;

use super::super::seldom::Seldom;

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

/// What the thread is told.
pub(super) enum Message {
    /// Write these lines.
    Lines(Vec<u8>, usize),
    /// Go on in this file.
    Turn(File),
    /// Say when you are here.
    Flush(Sender<()>),
}

/// What the thread works with.
pub(super) struct Sink {
    pub(super) file: File,
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) written: IntCounter,
    pub(super) dropped: IntCounter,
    pub(super) now: Arc<dyn Fn() -> Tick + Send + Sync>,
}

impl Sink {
    /// Writes until nobody can tell it anything any more.
    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        let mut trouble = Seldom::default();
        while let Ok(message) = inbox.recv() {
            match message {
                Message::Lines(bytes, lines) => {
                    match self.file.write_all(&bytes) {
                        Ok(()) => self.written.inc_by(lines as u64),
                        Err(error) => {
                            self.dropped.inc_by(lines as u64);
                            if trouble.due((self.now)()) {
                                tracing::warn!(%error, "the access log cannot be written");
                            }
                        }
                    }
                    self.waiting.fetch_sub(lines, Relaxed);
                }
                Message::Turn(file) => self.file = file,
                // Who asked may have lost patience.
                Message::Flush(done) => drop(done.send(())),
            }
        }
    }
}
