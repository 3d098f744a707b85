//! Between the workers and the writing thread: bounded in lines and in bytes, and never waited for by a worker.
//!
//! It knows since when a write has been going on: where one hangs, what waits behind it can go to another writer, and the
//! one that hangs is left to itself.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lb_core::Tick;

/// Bytes that wait at most, whatever the limit in lines allows: lines are as long as clients make them, and 100 000 of the
/// longest would be gigabytes. This is about as many lines of ordinary length as the default lets wait.
pub(super) const MOST_BYTES: usize = 64 << 20;
/// A write that takes this long hangs: a disk that is merely busy takes a fraction of it.
const HANGS: Duration = Duration::from_secs(1);

/// What the writing thread is told.
pub(super) enum Message {
    /// Write these lines.
    Lines(Vec<u8>, usize),
    /// Go on in this file.
    Turn(File),
    /// Say when you are here.
    Flush(Sender<()>),
}

/// What one writing thread still has to do.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    more: Condvar,
}

#[derive(Default)]
struct Inner {
    messages: VecDeque<Message>,
    /// Those being written among them.
    waiting: Size,
    /// Since when what is being written.
    writing: Option<(Tick, Size)>,
    /// Nothing more will come.
    closed: bool,
    /// What it does no longer matters.
    abandoned: bool,
}

#[derive(Default, Clone, Copy)]
struct Size {
    lines: usize,
    bytes: usize,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes lines in; false where they do not fit. One buffer always does, however low the limit.
    pub(super) fn lines(&self, bytes: Vec<u8>, lines: usize, most: usize) -> bool {
        let inner = &mut *self.lock();
        let sum = Size { lines: inner.waiting.lines + lines, bytes: inner.waiting.bytes + bytes.capacity() };
        if inner.waiting.lines > 0 && (sum.lines > most || sum.bytes > MOST_BYTES) {
            return false;
        }
        inner.waiting = sum;
        inner.messages.push_back(Message::Lines(bytes, lines));
        self.more.notify_one();
        true
    }

    /// Takes anything else in.
    pub(super) fn tell(&self, message: Message) {
        self.lock().messages.push_back(message);
        self.more.notify_one();
    }

    /// The next thing to do, which [`Queue::done`] ends; `None` where there will be none.
    pub(super) fn next(&self, now: impl Fn() -> Tick) -> Option<Message> {
        let mut inner = self.lock();
        loop {
            if inner.abandoned {
                return None;
            }
            if let Some(message) = inner.messages.pop_front() {
                if let Message::Lines(bytes, lines) = &message {
                    inner.writing = Some((now(), Size { lines: *lines, bytes: bytes.capacity() }));
                }
                return Some(message);
            }
            if inner.closed {
                return None;
            }
            inner = self.more.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lines have been written, or not; false where they have been counted already.
    pub(super) fn done(&self) -> bool {
        let inner = &mut *self.lock();
        if let Some((_, size)) = inner.writing.take() {
            inner.waiting.lines -= size.lines;
            inner.waiting.bytes -= size.bytes;
        }
        !inner.abandoned
    }

    /// Whether a write hangs.
    pub(super) fn hangs(&self, now: Tick) -> bool {
        self.lock().writing.is_some_and(|(since, _)| now.since(since) >= HANGS)
    }

    /// Hands on what waits, and is never listened to again; returns the lines that are lost in the write that hangs.
    pub(super) fn hand_on(&self, to: &Queue) -> usize {
        let inner = &mut *self.lock();
        inner.abandoned = true;
        let (messages, waiting) = (std::mem::take(&mut inner.messages), std::mem::take(&mut inner.waiting));
        let lost = inner.writing.take().map_or(Size::default(), |(_, size)| size);
        let successor = &mut *to.lock();
        successor.waiting.lines += waiting.lines - lost.lines;
        successor.waiting.bytes += waiting.bytes - lost.bytes;
        // Files that it was told to turn to are overtaken by its successor's.
        successor
            .messages
            .extend(messages.into_iter().filter(|message| !matches!(message, Message::Turn(_))));
        to.more.notify_one();
        lost.lines
    }

    /// Nothing more will come: the writer ends with what there is.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Tick = Tick::from_millis(5_000);

    fn buffer(bytes: usize) -> Vec<u8> {
        vec![b'\n'; bytes]
    }

    #[test]
    fn lines_and_bytes_are_bounded() {
        let queue = Queue::default();
        assert!(queue.lines(buffer(10), 9, 5), "the first always fits");
        assert!(!queue.lines(buffer(10), 1, 5));
        let queue = Queue::default();
        assert!(queue.lines(buffer(MOST_BYTES - 1_000), 1, 1_000));
        assert!(!queue.lines(buffer(1_001), 1, 1_000), "few lines, but long ones");
        assert!(queue.lines(buffer(1_000), 1, 1_000));
        assert!(matches!(queue.next(|| NOW), Some(Message::Lines(_, 1))));
        assert!(!queue.lines(buffer(1_001), 1, 1_000), "what is being written is still held");
        assert!(queue.done() && queue.lines(buffer(1_001), 1, 1_000));
    }

    #[test]
    fn what_waits_behind_a_write_that_hangs_goes_to_the_next_writer() {
        let (old, new) = (Queue::default(), Queue::default());
        assert!(old.lines(buffer(7), 7, 100) && old.lines(buffer(2), 2, 100));
        old.tell(Message::Turn(File::open("/dev/null").unwrap()));
        assert!(old.next(|| NOW).is_some() && !old.hangs(NOW));
        assert!(old.hangs(NOW.after(HANGS)));
        assert_eq!(old.hand_on(&new), 7);
        assert!(!old.done(), "should it end after all, its lines are counted as lost");
        assert!(old.next(|| NOW).is_none() && new.lines(buffer(1), 1, 3));
        assert!(!new.lines(buffer(1), 1, 3), "what was taken over counts");
        for expected in [2, 1] {
            let Some(Message::Lines(_, lines)) = new.next(|| NOW) else { panic!("lines are handed on") };
            assert_eq!((lines, new.done()), (expected, true));
        }
        new.close();
        assert!(new.next(|| NOW).is_none());
    }
}
