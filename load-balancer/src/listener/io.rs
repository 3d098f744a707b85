//! A client's socket as hyper sees it: what the [`Gate`] does not let through never reaches hyper. It notices when a request
//! head begins, and gives hyper's own bare refusals (unparsable, too large) the JSON body and the metric that all other
//! errors of the balancer have.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::client::{Client, Phase};
use super::gate::{Gate, Passed};
use crate::error::{Kind, ProxyError};
use crate::http::refusal;
use crate::socket::Socket;
use crate::tls::Stream;
use crate::worker::Worker;

/// What hyper reads in place of what is refused: wrong in every place of a request, and complete. So hyper ends what came
/// before in order, and refuses then.
/// (NUL is wrong everywhere but in a chunk's extension, where only a bare LF is.)
const POISON: &[u8] = b"\0\n\r\n\r\n";

/// Bytes kept that came behind a request for another protocol, before its answer: a WebSocket's first messages.
const EARLY_MOST: usize = 64 << 10;

/// The socket of one client.
pub(super) struct ClientIo {
    io: Socket,
    gate: Gate,
    /// What is left of [`POISON`] to be read, once there was a fault.
    poison: &'static [u8],
    /// What the gate has let through that is still to be read.
    judged: Bytes,
    /// What was read before it was this socket's, or came behind a request that asks for another protocol: the tunnel's, or
    /// else the next requests.
    early: Vec<u8>,
    client: Rc<Client>,
    worker: Rc<Worker>,
    /// What is written in place of hyper's own words.
    instead: Bytes,
    /// The client did not take at once what was written.
    held: bool,
}

impl ClientIo {
    /// `early` was read from the socket already.
    pub(super) fn new(io: Socket, early: Vec<u8>, client: &Rc<Client>, worker: &Rc<Worker>) -> Self {
        let (client, worker) = (Rc::clone(client), Rc::clone(worker));
        ClientIo {
            io,
            gate: Gate::default(),
            poison: &[],
            judged: Bytes::new(),
            early,
            client,
            worker,
            instead: Bytes::new(),
            held: false,
        }
    }

    /// The socket, and what was read from it that hyper has not seen.
    pub(super) fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.io.into_stream(), [&self.judged[..], &self.early].concat())
    }

    /// The same for another hyper: `judged` is what the last one has read and not used.
    pub(super) fn parked(mut self, judged: &[u8]) -> Self {
        self.early.shrink_to_fit();
        // Copied: even where it is empty, what hyper hands out holds its whole buffer.
        ClientIo { judged: Bytes::copy_from_slice(judged), ..self }
    }

    /// Ready where a read would be, with bytes or otherwise; the bytes are kept for it.
    pub(super) fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.judged.is_empty() || !self.early.is_empty() {
            return Poll::Ready(());
        }
        let mut scratch = self.worker.scratch.borrow_mut();
        self.io.poll_fill(cx, &mut scratch).map(|read| {
            // An end, or a fault, is seen again by whoever reads.
            if let Ok(read) = read {
                self.early.extend_from_slice(&scratch[..read]);
            }
        })
    }

    /// Whether hyper itself is speaking: no request came to be that this could answer.
    fn refusing(&self, buf: &[u8]) -> bool {
        matches!(self.client.phase(), Phase::Idle | Phase::Head) && buf.starts_with(b"HTTP/1.")
    }

    /// Gives hyper what is wrong, and then nothing more: neither an end, which would excuse it, nor what the client sends.
    fn poll_poison(&mut self, buf: &mut ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        if self.poison.is_empty() {
            return Poll::Pending;
        }
        let (now, later) = self.poison.split_at(self.poison.len().min(buf.remaining()));
        buf.put_slice(now);
        self.poison = later;
        Poll::Ready(Ok(()))
    }

    /// Keeps what comes before it is clear whose it is; hyper only hears of the end.
    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while self.early.len() < EARLY_MOST {
            let mut scratch = self.worker.scratch.borrow_mut();
            let read = ready!(self.io.poll_fill(cx, &mut scratch[..EARLY_MOST - self.early.len()]))?;
            if read == 0 {
                return Poll::Ready(Ok(()));
            }
            self.early.extend_from_slice(&scratch[..read]);
        }
        // The rest stays in the kernel: hyper looks again when it has answered.
        Poll::Pending
    }

    fn note(&mut self, moved: bool) {
        self.client.moved.set(self.client.moved.get() | moved);
        self.held |= !moved;
    }

    fn poll_refuse(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        if self.instead.is_empty() {
            let status = buf.get(9..12).unwrap_or_default();
            let (kind, detail) = match status {
                _ if let Some(fault) = self.client.refused.get() => (fault.kind, fault.detail),
                b"414" => (Kind::TargetTooLong, "the request target is longer than limits.target_bytes"),
                b"431" => (Kind::HeadersTooLarge, "the head exceeds limits.header_bytes or limits.headers"),
                _ => (Kind::BadRequest, "the request head is not valid HTTP/1.1"),
            };
            self.instead = refusal::on_the_wire(&self.worker, &ProxyError::new(kind, detail));
        }
        while !self.instead.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.instead))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.instead.advance(written);
        }
        Poll::Ready(Ok(buf.len()))
    }
}

/// Something has come: between requests it is the next one's head.
fn hears(client: &Client, worker: &Worker, gate: &mut Gate) {
    if !matches!(client.phase(), Phase::Idle | Phase::Head) {
        return;
    }
    let now = worker.now();
    client.head_at.set(Some(now));
    if client.phase() == Phase::Idle {
        let deadline = now.after(worker.config().timeouts.request_head);
        client.enter(Phase::Head, Some(deadline));
        gate.resume();
    }
}

impl Read for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        if !this.judged.is_empty() {
            let now = this.judged.split_to(this.judged.len().min(buf.remaining()));
            buf.put_slice(&now);
            hears(&this.client, &this.worker, &mut this.gate);
            return Poll::Ready(Ok(()));
        }
        if this.client.refused.get().is_some() {
            return this.poll_poison(&mut buf);
        }
        if this.gate.waits() && this.client.phase() != Phase::Idle {
            return this.poll_early(cx);
        }
        let mut scratch = this.worker.scratch.borrow_mut();
        let room = buf.remaining().min(scratch.len());
        let read = match this.early.len().min(room) {
            0 => ready!(this.io.poll_fill(cx, &mut scratch[..room])),
            early => {
                scratch[..early].copy_from_slice(&this.early[..early]);
                this.early.drain(..early);
                Ok(early)
            }
        };
        hears(&this.client, &this.worker, &mut this.gate);
        let bytes = &scratch[..read?];
        match this.gate.pass(bytes) {
            Passed::All => buf.put_slice(bytes),
            Passed::Kept(at) => {
                buf.put_slice(&bytes[..at]);
                // In front of what is left of what was kept before.
                this.early.splice(..0, bytes[at..].iter().copied());
            }
            Passed::Until(at, fault) => {
                buf.put_slice(&bytes[..at]);
                drop(scratch);
                this.client.refused.set(Some(fault));
                this.poison = POISON;
                return this.poll_poison(&mut buf);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for ClientIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        if self.refusing(buf) {
            return self.poll_refuse(cx, buf);
        }
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(written.is_ready());
        written
    }

    /// hyper flushes when it holds nothing more: a response that was handed over is out then, and the client's turn has
    /// come.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_ready() && self.client.phase() == Phase::Flushing {
            // Who kept us waiting is idle from now on; for all others the time of the handing over will do.
            let late = std::mem::take(&mut self.held).then(|| self.worker.now());
            self.client.rest(late.map(|now| (now, self.worker.config().timeouts.client_idle)));
        }
        flushed
    }

    /// Left to the driver, which may still want to read away what the client is sending, or to carry a tunnel.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match bufs.first() {
            Some(first) if self.refusing(first) => self.poll_refuse(cx, first),
            _ => {
                let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
                self.note(written.is_ready());
                written
            }
        }
    }
}
