//! A client's socket as the HTTP/2 library sees it: every frame's beginning is looked at, both ways.

use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::frames::{Frames, Kind, farewell};
use super::link::Link;
use crate::socket::Socket;

/// The socket of one client.
pub(super) struct FrameIo {
    io: Socket,
    link: Rc<Link>,
    /// What was read before it was clear which protocol this is.
    early: Vec<u8>,
    from: Frames,
    head: Head,
    to: Frames,
}

/// How far the client is with a head.
enum Head {
    /// Nothing has come but the preface, if that.
    First,
    /// In no head.
    None,
    /// In a frame behind which others must complete the head.
    Open,
    /// In the frame that completes it, or behind that.
    Ending,
}

impl FrameIo {
    pub(super) fn new(io: Socket, early: Vec<u8>, link: &Rc<Link>) -> Self {
        let (from, to) = (Frames::after_preface(), Frames::default());
        FrameIo { io, link: Rc::clone(link), early, from, head: Head::First, to }
    }

    fn read(&mut self, bytes: &[u8]) {
        self.link.tick();
        let (link, head, mut anew) = (&self.link, &mut self.head, false);
        self.from.pass(bytes, |frame| {
            *head = match frame.kind {
                Kind::Headers | Kind::Continuation if frame.whole_head => Head::Ending,
                Kind::Headers | Kind::Continuation => Head::Open,
                _ => Head::None,
            };
            anew |= frame.kind == Kind::Headers;
            link.received(frame);
        });
        let owes = match self.head {
            Head::None => false,
            Head::Ending => self.from.inside(),
            Head::Open | Head::First => true,
        };
        self.link.owes_head(owes, anew);
    }

    fn wrote(&mut self, written: &Poll<std::io::Result<usize>>, bufs: &[IoSlice<'_>]) {
        self.link.wrote(written.is_ready());
        let Poll::Ready(Ok(mut left)) = *written else { return };
        let link = &self.link;
        for buf in bufs {
            let piece = &buf[..buf.len().min(left)];
            left -= piece.len();
            self.to.pass(piece, |frame| link.sent(frame));
        }
    }
}

impl Read for FrameIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        if this.link.flood.get().is_some() {
            // Nothing further is read; the driver ends the connection.
            return Poll::Pending;
        }
        let worker = Rc::clone(&this.link.worker);
        let mut scratch = worker.scratch.borrow_mut();
        let room = buf.remaining().min(scratch.len());
        let read = match this.early.len().min(room) {
            0 => ready!(this.io.poll_fill(cx, &mut scratch[..room]))?,
            early => {
                scratch[..early].copy_from_slice(&this.early[..early]);
                this.early.drain(..early);
                early
            }
        };
        this.read(&scratch[..read]);
        buf.put_slice(&scratch[..read]);
        Poll::Ready(Ok(()))
    }
}

impl Write for FrameIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(&written, &[IoSlice::new(buf)]);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(&written, bufs);
        written
    }
}

/// Whoever is cut off is told why, if the socket takes it at once and no frame is half sent.
impl Drop for FrameIo {
    fn drop(&mut self) {
        if self.link.cut.get() && self.to.between() {
            let mut cx = Context::from_waker(Waker::noop());
            // A courtesy: the connection ends either way.
            let _ = Pin::new(&mut self.io).poll_write(&mut cx, &farewell(self.link.newest()));
            let _ = Pin::new(&mut self.io).poll_flush(&mut cx);
        }
    }
}
