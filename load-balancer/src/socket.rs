//! A connection as hyper sees it, with one economy: small writes of several pieces go out as one `send`.
//!
//! hyper keeps a head and its body apart and would write both by `writev`, whose path through the kernel is longer than
//! copying a few hundred bytes. Large pieces are never copied.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;

use crate::tls::Stream;

/// Bytes up to which pieces are copied together: a head and a small body.
const COALESCE: usize = 2_048;

/// A connection, with TLS or without.
pub(crate) struct Socket(TokioIo<Stream>);

impl Socket {
    pub(crate) fn new(stream: Stream) -> Self {
        Socket(TokioIo::new(stream))
    }

    /// Reads into `buf`; 0 bytes at the end of the stream.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<std::io::Result<usize>> {
        let mut buf = tokio::io::ReadBuf::new(buf);
        let read = tokio::io::AsyncRead::poll_read(Pin::new(self.0.inner_mut()), cx, &mut buf);
        read.map_ok(|()| buf.filled().len())
    }

    pub(crate) fn into_stream(self) -> Stream {
        self.0.into_inner()
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        match pieces {
            [one] => return Pin::new(&mut self.0).poll_write(cx, one),
            _ if pieces.iter().map(|p| p.len()).sum::<usize>() > COALESCE => {
                return Pin::new(&mut self.0).poll_write_vectored(cx, pieces);
            }
            _ => {}
        }
        let mut together = [0; COALESCE];
        let mut len = 0;
        for piece in pieces {
            together[len..len + piece.len()].copy_from_slice(piece);
            len += piece.len();
        }
        Pin::new(&mut self.0).poll_write(cx, &together[..len])
    }
}
